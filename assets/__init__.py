"""Files that the program brings along, and where they lie on this machine."""

from __future__ import annotations

from pathlib import Path


def path(name: str | Path) -> Path:
    """The place of a bundled file, `name` relative to the folder of assets (an absolute path stays as it is)."""
    return Path(__file__).parent / name


DEMO_SCENE = path("scenes/demo.sog")
DEMO_CAMERA = path("scenes/demo.json")  # the view that shows it best, in the layout of `camera_from_json`
