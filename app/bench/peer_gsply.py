"""gsply, a library of readers of splat files, against ours on the same files.

gsply hands out views into the file where it can; a renderer needs each array in one piece, so both are timed until
every field lies contiguous in memory. Ours also checks every value on the way (finite, quaternions not zero).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from h3d.models import formats

from . import scenes
from .metrics import Effort, Metric, Skipped, in_turns, ratio

logger = logging.getLogger(__name__)

ROWS = 125_000


def gsply(effort: Effort) -> Iterator[Metric]:
    """Speed-up over gsply for .ply, .compressed.ply and .spz."""
    try:
        import gsply as peer
    except ImportError as error:
        raise Skipped(f"gsply does not load ({error}); pip install 'gsply>=0.4.6'") from error
    try:
        asset = scenes.playbot()
    except Skipped:
        asset = scenes.synthetic(ROWS)
    readers: dict[str, Callable[[str], Any]] = {".ply": peer.plyread, ".compressed.ply": peer.plyread}
    readers[".spz"] = peer.read_spz
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as folder:
        for suffix, reader in readers.items():
            path = Path(folder) / f"scene{suffix}"
            formats.write(path, asset)
            try:
                _contiguous(reader(str(path)))
            except (ImportError, ValueError, RuntimeError) as error:
                logger.warning("gsply cannot read the %s it is to be compared on: %s", suffix, error)
                continue
            ours, theirs = in_turns(
                lambda path=path: formats.read(path),
                lambda path=path, reader=reader: _contiguous(reader(str(path))),
                effort,
            )
            yield ratio(f"peers/gsply/{suffix[1:].replace('.', '_')}_read_speedup", theirs / ours)


def _contiguous(data: Any) -> list[np.ndarray]:
    fields = (data.means, data.scales, data.quats, data.opacities, data.sh0, data.shN)
    return [np.array(field, np.float32, order="C") for field in fields if field is not None]
