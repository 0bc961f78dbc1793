"""What a cache shows of itself between two steps: immutable copies, for panels, figures and CSV files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cache import Hash3D, Looked
from .config import Config
from .passes import Passes
from .statistics import Statistics


@dataclass(frozen=True, eq=False)
class Stored:
    """The E entries that there are, the oldest first."""

    keys: NDArray[np.float64]  # [E, 4] azimuth and elevation in degrees, radius, timestep, as they were asked
    steps: NDArray[np.int64]  # [E] when each was inserted


@dataclass(frozen=True, eq=False)
class CacheView:
    """One cache at one moment."""

    config: Config
    statistics: Statistics
    passes: Passes
    last: tuple[Looked, ...]
    """Elements of the last call: where they looked from, and whether they hit."""
    stored: Stored


def view_of(cache: Hash3D) -> CacheView:
    """Copies; later steps leave them as they are."""
    entries = list(cache.table.entries)
    keys = np.array([entry.key for entry in entries], np.float64).reshape(-1, 4)
    stored = Stored(keys, np.array([entry.step for entry in entries], np.int64))
    return CacheView(cache.config, cache.statistics(), cache.passes, cache.last, stored)
