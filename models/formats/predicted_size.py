"""How large a file of so many Gaussians of a scene will be, in every format that is written.

Two samples of the rows are written, and a line is drawn through their sizes. Formats that store a row in a fixed number
of bytes come out exact; of those that compress, larger files come out a little smaller than predicted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from h3d.models.gaussians import Gaussians

SAMPLES = (2048, 8192)
COMPRESSED = (".spz", ".sog")
SEED = 0


@dataclass(frozen=True)
class FileSize:
    """Bytes of a file as a line in the number of its rows."""

    fixed: float
    per_row: float
    exact: bool
    """Whether rows have a size of their own; else what is said of another number of rows is an estimate."""

    def of(self, rows: int) -> int:
        """Bytes of a file of so many rows."""
        return round(self.fixed + self.per_row * rows)


def file_sizes(gaussians: Gaussians) -> Mapping[str, FileSize]:
    """By suffix, for files of rows like these; empty where there are none."""
    from . import WRITABLE, file_bytes, write

    total = len(gaussians)
    if total == 0:
        return {}
    order = torch.randperm(total, generator=torch.Generator().manual_seed(SEED))
    counts = sorted({min(count, total) for count in SAMPLES})
    found = {}
    with tempfile.TemporaryDirectory(prefix="h3d-sizes-") as folder:
        for suffix in (suffix for suffix in WRITABLE if suffix != "meta.json"):
            sizes = []
            for count in counts:
                mask = torch.zeros(total, dtype=torch.bool)
                mask[order[:count]] = True
                path = Path(folder) / f"{count}{suffix}"
                write(path, gaussians.keep(mask))
                sizes.append(file_bytes(path))
            per_row = (sizes[-1] - sizes[0]) / (counts[-1] - counts[0]) if len(counts) > 1 else sizes[0] / counts[0]
            found[suffix] = FileSize(sizes[0] - per_row * counts[0], per_row, suffix not in COMPRESSED)
    return found
