"""A measured number, and how a time is taken on a machine that others share: the best of blocks, each a median.

A median forgets the odd interruption within a block, the best block forgets a neighbour that was loud for seconds.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Direction = Literal["lower", "higher"]

TIME_TOLERANCE = 1.0
"""Shared machines vary by a factor of two between runs; a time is worse when it has more than doubled."""
RATIO_TOLERANCE = 0.6
"""Two things timed in turns in one run: most of the machine's mood cancels."""
MEMORY_TOLERANCE = 0.15
EXACT = 0.0


@dataclass(frozen=True)
class Metric:
    """One number with what it needs to be compared."""

    key: str
    """A path, from the part of the program to the case: gaussians/frame/biker_640x360_ms."""
    value: float
    unit: str
    direction: Direction
    """Which way is better."""
    tolerance: float
    """How much worse than the baseline still passes: lower is better up to base * (1 + tolerance), higher down to
    base / (1 + tolerance)."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"metric {self.key}: its value is {self.value}; it must be finite")


class Skipped(Exception):
    """A workload or peer cannot run here; the sentence says what is missing and how to get it."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    blocks: int
    repeats: int
    """Timed calls in a block."""
    moves: int
    """Camera moves sent to the viewer."""
    seconds: float
    """How long something that runs by itself is watched."""

    @property
    def quick(self) -> bool:
        return self == QUICK


QUICK = Effort(blocks=3, repeats=3, moves=15, seconds=2.0)
FULL = Effort(blocks=3, repeats=11, moves=75, seconds=8.0)


def milliseconds(key: str, value: float, tolerance: float = TIME_TOLERANCE) -> Metric:
    return Metric(key, value, "ms", "lower", tolerance)


def ratio(key: str, value: float) -> Metric:
    """How many times as fast as a peer: above 1 this program is quicker."""
    return Metric(key, value, "x", "higher", RATIO_TOLERANCE)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_of_blocks(work: Callable[[], float], effort: Effort) -> float:
    """The smallest of the blocks' medians of what `work` returns; one call before the first is not counted."""
    work()
    return min(statistics.median(work() for _ in range(effort.repeats)) for _ in range(effort.blocks))


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], effort: Effort) -> tuple[float, float]:
    """Seconds of two pieces of work timed alternately, so that both meet the same machine: best of blocks of each.

    Each is timed right after an untimed call of its own: neither pays for what the other left in caches and threads.
    """

    def warm(work: Callable[[], object]) -> float:
        work()
        return timed(work)

    blocks: list[tuple[float, float]] = []
    for _ in range(effort.blocks):
        pairs = [(warm(ours), warm(theirs)) for _ in range(effort.repeats)]
        blocks.append((statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)))
    return min(a for a, _ in blocks), min(b for _, b in blocks)


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def write_json(path: Path, metrics: Iterable[Metric]) -> None:
    """A list of {key, value, unit, direction, tolerance}; the file appears whole or not at all."""
    write_text(path, json.dumps([asdict(metric) for metric in metrics], indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, path)
