"""Bytes of memory that a Gaussian costs in the running program, above the program with next to nothing open.

The same program runs twice, once on a file of one Gaussian and once on a million real rows with degree-3 colour (240
bytes each as stored); each time a tab looks and turns until pictures have come. Resident memory is read from the
operating system.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from h3d.models import formats

from . import scenes
from .metrics import MEMORY_TOLERANCE, Effort, Metric, Skipped
from .program import looked_at, running

ROWS = 1_000_000


def bytes_per_gaussian(effort: Effort) -> Iterator[Metric]:
    """Resident after looking, and at its highest (while the file is read)."""
    if sys.platform != "linux":
        raise Skipped("resident memory of another process is read from /proc, which only Linux has")
    asset = scenes.tiled(scenes.biker().with_sh_degree(3), ROWS)
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as folder:
        one, many = Path(folder) / "one.ply", Path(folder) / "many.ply"
        formats.write(one, scenes.synthetic(1).with_sh_degree(3))
        formats.write(many, asset)
        del asset
        resident_one, _ = _after_looking(one)
        resident_many, peak_many = _after_looking(many)
    yield Metric("memory/empty_program_mib", resident_one / 2**20, "MiB", "lower", MEMORY_TOLERANCE)
    for key, held in (("bytes_per_gaussian", resident_many), ("peak_bytes_per_gaussian", peak_many)):
        yield Metric(f"memory/{key}", (held - resident_one) / ROWS, "B", "lower", MEMORY_TOLERANCE)


def _after_looking(scene: Path) -> tuple[int, int]:
    """Resident bytes of h3d-view on a scene after pictures were made: now, and at most so far."""
    with running(scene) as program:
        looked_at(program)
        fields = {}
        for line in Path(f"/proc/{program.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.split()
    return 1024 * int(fields["VmRSS"][0]), 1024 * int(fields["VmHWM"][0])
