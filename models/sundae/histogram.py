"""How responses are spread, and what a cut takes of it, without another look at the rows.

N rows, B bins. Rows are in the order of their ranks, so that a bin is a range of ranks and a cut takes a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cuts import Spectrum

BINS = 60
WIDE = 100.0
"""Largest over least response from which on the axis is logarithmic."""
LOWEST = 0.002
"""Share of the positive responses below the least one of a logarithmic axis; they count in its first bin."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Bins of responses, even on their axis."""

    edges: np.ndarray  # [B + 1] float64, responses
    logarithmic: bool
    firsts: np.ndarray  # [B + 1] int64, the rank that a bin begins with; the last one is N

    @property
    def counts(self) -> np.ndarray:  # [B] int64
        return np.diff(self.firsts)

    def kept(self, low: int, high: int) -> np.ndarray:  # [B] int64
        """How many of each bin stay when the lowest `low` and the highest `high` rows do."""
        ends = self.firsts
        from_low = np.diff(np.minimum(ends, low))
        from_high = np.diff(np.maximum(ends, max(int(ends[-1]) - high, low)))
        return from_low + from_high


def histogram_of(spectrum: Spectrum, bins: int = BINS) -> Histogram:
    """Of all responses; logarithmic where they are positive and far apart."""
    values = np.sort(spectrum.response.numpy().astype(np.float64))
    if len(values) == 0:
        return Histogram(np.linspace(0.0, 1.0, bins + 1), False, np.zeros(bins + 1, np.int64))
    low, high = float(values[0]), float(values[-1])
    positive = values[values > 0.0]
    least = float(np.quantile(positive, LOWEST)) if low >= 0.0 and len(positive) > 0 else 0.0
    if 0.0 < least * WIDE < high:
        edges = np.geomspace(least, high, bins + 1)
        return Histogram(edges, True, _whole(np.searchsorted(values, edges), len(values)))
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    return Histogram(edges, False, _whole(np.searchsorted(values, edges), len(values)))


def _whole(firsts: np.ndarray, count: int) -> np.ndarray:  # [B + 1]
    """With what lies below the axis in the first bin, and the greatest in the last."""
    firsts = firsts.astype(np.int64)
    firsts[0], firsts[-1] = 0, count
    return firsts
