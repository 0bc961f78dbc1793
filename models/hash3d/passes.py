"""How many passes of each kind the UNet made, and the time they took, measured without making a GPU wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

Kind = Literal["full", "hit"]
PENDING = 1000
"""Events that wait to be read, at most."""


@dataclass(frozen=True)
class Passes:
    """Counts and seconds since the beginning."""

    calls: int = 0
    """Of the UNet, those that the cache let through untouched included."""
    bypassed: int = 0
    """Calls let through: paused, or gradients wanted."""
    full_passes: int = 0
    hit_passes: int = 0
    full_elements: int = 0
    """Elements of batches that ran in full, those that checked a hit included."""
    hit_elements: int = 0
    full_rows: int = 0
    hit_rows: int = 0
    spared_rows: int = 0
    """Unconditional rows, of elements that ran in full, that were taken from the cache; they are hit rows too."""
    full_seconds: float = 0.0
    hit_seconds: float = 0.0
    total_seconds: float = 0.0
    """Of whole calls by the clock of the CPU: on a CPU, what is beyond full and hit seconds is the cache's own."""

    @property
    def full_share(self) -> float:
        """Elements that ran in full, of all; 1 before the first."""
        elements = self.full_elements + self.hit_elements
        return self.full_elements / elements if elements > 0 else 1.0

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of one pass of each kind that there was, by name."""
        kinds = {
            "full pass": (self.full_seconds, self.full_passes),
            "hit pass": (self.hit_seconds, self.hit_passes),
        }
        return {name: 1e3 * seconds / count for name, (seconds, count) in kinds.items() if count > 0}


class Stopwatch:
    """Adds up passes. On CUDA times come from events, read when they are asked for."""

    def __init__(self) -> None:
        self._passes = Passes()
        self._pending: list[tuple[Kind, Any, Any]] = []

    def read(self) -> Passes:
        for kind, start, end in self._pending:
            end.synchronize()
            self._add(**{f"{kind}_seconds": start.elapsed_time(end) / 1e3})
        self._pending.clear()
        return self._passes

    def restore(self, passes: Passes) -> None:
        self._passes = passes
        self._pending.clear()

    def call(self, seconds: float, *, bypassed: bool = False) -> None:
        self._add(calls=1, bypassed=int(bypassed), total_seconds=seconds)

    def spared(self, rows: int) -> None:
        self._add(spared_rows=rows)

    @contextmanager
    def measured(self, kind: Kind, elements: int, rows: int, device: torch.device) -> Iterator[None]:
        """A pass over `rows` rows, which is all that `elements` elements wait for, or the last of it."""
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._pending.append((kind, start, end))
            if len(self._pending) > PENDING:
                self.read()
            seconds = 0.0
        else:
            began = time.perf_counter()
            yield
            seconds = time.perf_counter() - began
        counts = {"passes": 1, "elements": elements, "rows": rows, "seconds": seconds}
        self._add(**{f"{kind}_{name}": count for name, count in counts.items()})

    def _add(self, **more: float) -> None:
        self._passes = replace(self._passes, **{name: getattr(self._passes, name) + n for name, n in more.items()})
