"""The cache's book-keeping: what happened in each cell and in total, as arrays that a heatmap can draw at once.

For every cell: tries = hits + misses, and occupancy = insertions + rebinned - evictions of all four reasons. Tries
count once, in the cell that answered (or would have). With several grids (AdaptGrid) an insertion counts in every one,
so that each grid by itself adds up to the total. Cells are forgotten when the grid changes; totals go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .cells import Cell

Reason = Literal["queue", "budget", "age", "invalidation"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class Column(IntEnum):
    """What is counted of a cell."""

    TRIES = 0
    HITS = 1
    MISSES = 2
    INSERTIONS = 3
    REBINNED = 4
    """Entries that a change of grid brought here."""
    EVICTED_BY_QUEUE = 5
    EVICTED_BY_BUDGET = 6
    EVICTED_BY_AGE = 7
    EVICTED_BY_INVALIDATION = 8
    OCCUPANCY = 9
    BYTES = 10
    """Of the entries here; with several grids an entry is in one cell of each."""
    BORN = 11
    """Sum of the steps at which the entries here were inserted."""
    LAST_HIT = 12
    """Step of the last hit, -1 before the first."""
    CHECKS = 13
    """Hits that a full pass was compared with."""
    FOREIGN = 14
    """Hits answered with an entry of another cell: never in the exact table, the rule in the official one."""
    REFUSED = 15
    """Entries larger than the whole budget; not insertions."""


EVICTED: dict[Reason, Column] = {reason: Column[f"EVICTED_BY_{reason.upper()}"] for reason in REASONS}
TOTALLED = tuple(Column)[: Column.EVICTED_BY_INVALIDATION + 1] + (Column.CHECKS, Column.FOREIGN, Column.REFUSED)


@dataclass
class Ledger:
    """Counters that grow with the cells seen."""

    rows: dict[tuple[int, Cell], int] = field(default_factory=dict)
    """(grid, cell) -> row of the arrays."""
    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros((64, 5), np.int64))
    """Grid and cell of every row."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((64, len(Column)), np.int64))
    errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(64))
    """Sum of the measured relative errors."""
    totals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Column), np.int64))

    def row(self, grid: int, cell: Cell) -> int:
        found = self.rows.get((grid, cell))
        return self._new_row(grid, cell) if found is None else found

    def _counts(self, grid: int, cell: Cell) -> NDArray[np.int64]:
        row = self.row(grid, cell)  # First: a new row may replace the array.
        return self.counts[row]

    def _new_row(self, grid: int, cell: Cell) -> int:
        row = len(self.rows)
        if row == len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)])
            self.errors = np.concatenate([self.errors, np.zeros_like(self.errors)])
            self.keys = np.concatenate([self.keys, np.zeros_like(self.keys)])
        self.keys[row] = (grid, *cell)
        self.counts[row, Column.LAST_HIT] = -1
        self.rows[grid, cell] = row
        return row

    def tried(self, grid: int, cell: Cell, *, hit: bool, step: int, foreign: bool = False) -> None:
        counts = self._counts(grid, cell)
        for column in (Column.TRIES, Column.HITS if hit else Column.MISSES):
            counts[column] += 1
            self.totals[column] += 1
        counts[Column.FOREIGN] += foreign
        self.totals[Column.FOREIGN] += foreign
        if hit:
            counts[Column.LAST_HIT] = step

    def placed(self, grid: int, cell: Cell, *, nbytes: int, step: int, rebinned: bool = False) -> None:
        """An entry came into a cell; its insertion counts in total once, by `inserted`."""
        counts = self._counts(grid, cell)
        counts[Column.REBINNED if rebinned else Column.INSERTIONS] += 1
        counts[Column.OCCUPANCY] += 1
        counts[Column.BYTES] += nbytes
        counts[Column.BORN] += step

    def inserted(self) -> None:
        self.totals[Column.INSERTIONS] += 1

    def left(self, grid: int, cell: Cell, reason: Reason, *, nbytes: int, step: int) -> None:
        """An entry, inserted at `step`, is no longer in a cell; its end counts in total once, by `ended`."""
        counts = self._counts(grid, cell)
        counts[EVICTED[reason]] += 1
        counts[Column.OCCUPANCY] -= 1
        counts[Column.BYTES] -= nbytes
        counts[Column.BORN] -= step

    def ended(self, reason: Reason) -> None:
        self.totals[EVICTED[reason]] += 1

    def checked(self, grid: int, cell: Cell, error: float) -> None:
        row = self.row(grid, cell)
        self.counts[row, Column.CHECKS] += 1
        self.totals[Column.CHECKS] += 1
        self.errors[row] += error

    def error(self, grid: int, cell: Cell) -> float:
        """Mean measured error of a cell; nan where nothing was checked."""
        row = self.rows.get((grid, cell))
        if row is None or self.counts[row, Column.CHECKS] == 0:
            return float("nan")
        return float(self.errors[row] / self.counts[row, Column.CHECKS])

    def forget_cells(self) -> None:
        fresh = Ledger()
        self.rows, self.keys, self.counts, self.errors = fresh.rows, fresh.keys, fresh.counts, fresh.errors

    def refused(self, grid: int, cell: Cell) -> None:
        self._counts(grid, cell)[Column.REFUSED] += 1
        self.totals[Column.REFUSED] += 1

    def named_totals(self) -> Mapping[str, int]:
        return {column.name.lower(): int(self.totals[column]) for column in TOTALLED}
