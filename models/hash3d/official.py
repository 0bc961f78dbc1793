"""The table of the published code, as it behaves, to be compared with: its answers come from unrelated cameras.

What it does (threestudio-hash3d/threestudio/utils/hash_table.py at cc48922, and the guidances that call it): keys are
(timestep, elevation, azimuth, distance) but the cell sizes that divide them are meant for another order, so azimuth is
cut at 0.1 degrees and distance at 10; the cell is hashed to one of 200 buckets of 3; a bucket answers whatever was put
into it, for the key is never compared; weights are softmax(-|x - x_i|); a batch is answered as a whole or not at all;
nothing is ever dropped but by the queue. Our counters sit on top: each query and entry is counted in its true cell,
and a hit with entries from another cell counts as foreign.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .cells import Grid
from .ledger import Ledger
from .query import Key, Query
from .retrieval import blended, squared_distances, weights
from .statistics import Statistics, statistics
from .table import Answer, Entry

BUCKETS, QUEUE = 200, 3
MULTIPLIERS = (1, 73856093, 19349669, 83492791)
SIZES = (20.0, 20.0, 0.1, 10.0)
"""Of the cells of timestep, elevation, azimuth and distance, in this order."""


def bucket_of(key: Key) -> int:
    """Where a key (azimuth in degrees, elevation in degrees, radius, timestep) is hashed to."""
    azimuth, elevation, radius, timestep = key
    values = np.array([timestep, elevation, azimuth, radius], np.float32)
    index = np.floor(values / np.array(SIZES, np.float32)).astype(np.int64)
    return int((index * np.array(MULTIPLIERS, np.int64)).sum() % BUCKETS)


class OfficialTable:
    """Entries by the published hash; cells of `grid` only for the counters."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self.ledger = Ledger()
        self.buckets: list[deque[Entry]] = [deque() for _ in range(BUCKETS)]

    @property
    def entries(self) -> list[Entry]:
        return sorted((e for bucket in self.buckets for e in bucket), key=lambda e: e.step)

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for bucket in self.buckets for entry in bucket)

    def lookup(self, queries: Sequence[Query], step: int) -> list[Answer] | None:
        """Answers to a whole batch, or None where one of its buckets is empty. Each element counts as one try."""
        hit = all(len(self.buckets[bucket_of(query.key)]) > 0 for query in queries)
        answers = [self._answer(query) for query in queries] if hit else None
        for i, query in enumerate(queries):
            cell = self.grid.cell(query.key)
            foreign = answers is not None and any(entry.homes[0] != cell for entry in answers[i].entries)
            self.ledger.tried(0, cell, hit=hit, step=step, foreign=foreign)
        return answers

    def _answer(self, query: Query) -> Answer:
        entries = tuple(self.buckets[bucket_of(query.key)])
        squared = squared_distances(query.latent, [entry.latent for entry in entries])
        shares = weights(squared, "softmax_unsquared")
        value = blended([entry.value for entry in entries], shares)
        return Answer(value, entries, tuple(shares), tuple(squared.sqrt().tolist()), None, 0, self.grid.cell(query.key))

    def insert(self, query: Query, value: Tensor, step: int) -> None:
        """Stores a full pass; tensors are kept, not copied."""
        entry = Entry(query.key, 0, query.latent, value, step, {0: self.grid.cell(query.key)})
        bucket = self.buckets[bucket_of(query.key)]
        if len(bucket) == QUEUE:
            old = bucket.popleft()
            self.ledger.left(0, old.homes[0], "queue", nbytes=old.nbytes, step=old.step)
            self.ledger.ended("queue")
        bucket.append(entry)
        self.ledger.inserted()
        self.ledger.placed(0, entry.homes[0], nbytes=entry.nbytes, step=step)

    def invalidate(self) -> None:
        """Drops everything. The published code never does; here it keeps tensors of another shape from being mixed."""
        for bucket in self.buckets:
            for entry in bucket:
                self.ledger.left(0, entry.homes[0], "invalidation", nbytes=entry.nbytes, step=entry.step)
                self.ledger.ended("invalidation")
            bucket.clear()

    def regrid(self, grid: Grid) -> None:
        """Counts by other cells from now on; what is stored and where stays."""
        self.grid = grid
        self.ledger.forget_cells()
        for entry in self.entries:
            entry.homes[0] = grid.cell(entry.key)
            self.ledger.placed(0, entry.homes[0], nbytes=entry.nbytes, step=entry.step, rebinned=True)

    def checked(self, grid: int, cell: tuple[int, int, int, int], error: float) -> None:
        self.ledger.checked(grid, cell, error)

    def statistics(self, step: int) -> Statistics:
        count, nbytes = sum(map(len, self.buckets)), self.nbytes
        return statistics(self.ledger, (self.grid,), {}, step=step, entries=count, nbytes=nbytes, budget_bytes=nbytes)
