"""What this machine can do at this hour: multiply-adds and copies, on one thread and on all.

Times of another machine, or of this one on a busy day, become comparable when they are divided by what the machine
gives. The multiply-add loop is torch's float32 matrix product, the copy loop a copy between two arrays larger than the
caches (bytes read plus bytes written).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .metrics import Effort, Metric, best_of_blocks, timed

SIDE = 1024
COPY_BYTES = 1 << 27
REFERENCE_GFLOPS, REFERENCE_GB_S = 100.0, 10.0


@dataclass(frozen=True)
class Calibration:
    """Rates on one thread and on all."""

    fma_gflops_1: float
    fma_gflops: float
    copy_gb_s_1: float
    copy_gb_s: float

    @property
    def speed(self) -> float:
        """How many times the reference machine (100 GFLOP/s, 10 GB/s on all threads) this one is: geometric mean."""
        return ((self.fma_gflops / REFERENCE_GFLOPS) * (self.copy_gb_s / REFERENCE_GB_S)) ** 0.5

    def best(self, other: Calibration) -> Calibration:
        """The higher of each rate: the machine when it was least disturbed."""
        return Calibration(
            max(self.fma_gflops_1, other.fma_gflops_1),
            max(self.fma_gflops, other.fma_gflops),
            max(self.copy_gb_s_1, other.copy_gb_s_1),
            max(self.copy_gb_s, other.copy_gb_s),
        )

    def metrics(self) -> list[Metric]:
        return [
            Metric("calibration/fma_1_thread_gflops", self.fma_gflops_1, "GFLOP/s", "higher", 1.0),
            Metric("calibration/fma_gflops", self.fma_gflops, "GFLOP/s", "higher", 1.0),
            Metric("calibration/copy_1_thread_gb_s", self.copy_gb_s_1, "GB/s", "higher", 1.0),
            Metric("calibration/copy_gb_s", self.copy_gb_s, "GB/s", "higher", 1.0),
        ]


def calibrate(effort: Effort) -> Calibration:
    """Measure now; takes about a second."""
    everything = os.cpu_count() or 1
    return Calibration(_gflops(1, effort), _gflops(everything, effort), _gb_s(1, effort), _gb_s(everything, effort))


def _gflops(threads: int, effort: Effort) -> float:
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    with _threads(threads):
        seconds = best_of_blocks(lambda: timed(lambda: torch.mm(a, b, out=out)), effort)
    return 2 * SIDE**3 / seconds / 1e9


def _gb_s(threads: int, effort: Effort) -> float:
    source = torch.zeros(COPY_BYTES // 4)
    target = torch.empty_like(source)
    with _threads(threads):
        seconds = best_of_blocks(lambda: timed(lambda: target.copy_(source)), effort)
    return 2 * COPY_BYTES / seconds / 1e9


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
