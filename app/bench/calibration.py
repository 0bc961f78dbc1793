"""What this machine can do at this hour: multiply-adds and copies, on one thread and on all.

Times of another machine, or of this one on a busy day, become comparable when they are divided by what the machine
gives. The multiply-add loop is torch's float32 matrix product, the copy loop a copy between two arrays larger than the
caches (bytes read plus bytes written).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    """Measure now; takes about two seconds."""
    everything, before = os.cpu_count() or 1, torch.get_num_threads()
    try:
        return Calibration(_gflops(1, effort), _gflops(everything, effort), _gb_s(1, effort), _gb_s(everything, effort))
    finally:
        torch.set_num_threads(before)  # What a thread sets counts for the whole process.


def _gflops(threads: int, effort: Effort) -> float:
    def loop() -> Callable[[], object]:
        a, b, out = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE), torch.empty(SIDE, SIDE)
        return lambda: torch.mm(a, b, out=out)

    return threads * 2 * SIDE**3 / _seconds(loop, threads, effort) / 1e9


def _gb_s(threads: int, effort: Effort) -> float:
    def loop() -> Callable[[], object]:
        source = torch.zeros(COPY_BYTES // 4)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    return threads * 2 * COPY_BYTES / _seconds(loop, threads, effort) / 1e9


def _seconds(make: Callable[[], Callable[[], object]], threads: int, effort: Effort) -> float:
    """Seconds until every thread has run its own loop once.

    The threads are ours, each of them with torch on one: torch's own would wait for each other actively and fall far
    behind what the machine gives as soon as another program runs.
    """
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        loops = [make() for _ in range(threads)]
        return best_of_blocks(lambda: timed(lambda: list(pool.map(lambda loop: loop(), loops))), effort)
