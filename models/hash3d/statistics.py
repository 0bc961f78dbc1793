"""What the cache knows of itself at one moment: arrays by cell, for panels, figures and CSV. Nothing in it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cells import NAMES, Grid
from .ledger import Column, Ledger


@dataclass(frozen=True)
class Statistics:
    """N cells that were asked or filled since the grid last changed."""

    step: int
    grids: tuple[Grid, ...]
    grid: NDArray[np.int64]  # [N] which of the grids
    cells: NDArray[np.int64]  # [N, 4]
    bounds: NDArray[np.float64]  # [N, 4, 2] lower and upper end of azimuth, elevation, radius, timestep
    counts: NDArray[np.int64]  # [N, columns of `Column`]
    error: NDArray[np.float64]  # [N] mean relative error of checked hits, nan where none was
    similarity: NDArray[np.float64]  # [N] running cosine similarity of what was inserted, nan before the second entry
    totals: Mapping[str, int]
    """Of the whole life of the cache, grids that are gone included."""
    entries: int
    nbytes: int
    budget_bytes: int

    def column(self, column: Column) -> NDArray[np.int64]:
        return self.counts[:, column]

    @property
    def hit_rate(self) -> NDArray[np.float64]:
        """Hits per try [N], nan where nothing was tried."""
        return ratio(self.column(Column.HITS), self.column(Column.TRIES))

    @property
    def mean_age(self) -> NDArray[np.float64]:
        """Steps since what is there was inserted [N], nan where nothing is."""
        return self.step - ratio(self.column(Column.BORN), self.column(Column.OCCUPANCY))

    def table(self) -> dict[str, NDArray[np.generic]]:
        """Every column by name, one value a cell: what a CSV file holds."""
        columns: dict[str, NDArray[np.generic]] = {"grid": self.grid}
        for i, name in enumerate(NAMES):
            columns[f"{name}_from"], columns[f"{name}_to"] = self.bounds[:, i, 0], self.bounds[:, i, 1]
        for column in Column:
            if column is not Column.BORN:
                columns[column.name.lower()] = self.column(column)
        columns |= {"mean_age": self.mean_age, "similarity": self.similarity, "error": self.error}
        return columns


def statistics(
    ledger: Ledger,
    grids: tuple[Grid, ...],
    similarities: Mapping[int, float],
    *,
    step: int,
    entries: int,
    nbytes: int,
    budget_bytes: int,
) -> Statistics:
    """A copy of what a table counts; `similarities` are by row of the ledger."""
    n = len(ledger.rows)
    keys, counts = ledger.keys[:n].copy(), ledger.counts[:n].copy()
    bounds = np.zeros((n, 4, 2))
    for i, grid in enumerate(grids):
        bounds[keys[:, 0] == i] = grid.bounds(keys[keys[:, 0] == i, 1:])
    similarity = np.full(n, np.nan)
    similarity[list(similarities)] = list(similarities.values())
    return Statistics(
        step=step,
        grids=grids,
        grid=keys[:, 0],
        cells=keys[:, 1:],
        bounds=bounds,
        counts=counts,
        error=ratio(ledger.errors[:n], counts[:, Column.CHECKS]),
        similarity=similarity,
        totals=ledger.named_totals(),
        entries=entries,
        nbytes=nbytes,
        budget_bytes=budget_bytes,
    )


def ratio(a: NDArray[np.generic], b: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """a / b [N], nan where b is 0."""
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0, dtype=np.float64)
