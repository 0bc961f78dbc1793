"""How long reading a scene from disk takes, for every format that the program reads and writes.

The file was just written, so the disk's cache holds it: what is measured is decoding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from h3d.models import formats

from . import scenes
from .metrics import Effort, Metric, Skipped, best_of_blocks, milliseconds, timed

SUFFIXES = (".ply", ".compressed.ply", ".splat", ".spz", ".sog")
HARMONICS_SUFFIXES = SUFFIXES[:-1]  # To write the SOG palette of harmonics takes half a minute; a capture comes as SOG.
SYNTHETIC_ROWS = 60_000


def formats_read(effort: Effort) -> Iterator[Metric]:
    """Both captures in all formats, or made-up rows where there are no captures."""
    captures = {}
    try:
        captures = {"biker": scenes.biker(), "playbot": scenes.playbot()}
        yield _read_metric("playbot_sog_folder", scenes.data_file("playbot_sog"), effort)
    except Skipped:
        captures = {"synthetic": scenes.synthetic(SYNTHETIC_ROWS)}
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as folder:
        for name, asset in captures.items():
            for suffix in SUFFIXES if asset.sh_degree == 0 else HARMONICS_SUFFIXES:
                path = Path(folder) / f"{name}{suffix}"
                formats.write(path, asset)
                yield _read_metric(f"{name}{suffix.replace('.', '_')}", path, effort)


def _read_metric(name: str, path: Path, effort: Effort) -> Metric:
    seconds = best_of_blocks(lambda: timed(lambda: formats.read(path)), effort)
    return milliseconds(f"formats/read/{name}_ms", 1e3 * seconds)
