"""Files that the program brings along: `path(DEMO_SCENE)` is where one of them lies on this machine."""

from __future__ import annotations

from pathlib import Path

DEMO_SCENE = "scenes/demo.sog"
DEMO_CAMERA = "scenes/demo.json"


def path(name: str) -> Path:
    """The place of a bundled file, `name` relative to the folder of assets, with forward slashes."""
    return Path(__file__).parent / name
