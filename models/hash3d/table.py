"""The exact table: what was computed, found again by the cell of camera and timestep, and by nothing else.

Entries keep their keys, so that a change of grid puts what is stored into its new cells. Every bucket belongs to one
cell of one grid and one condition (prompt and image), and is a queue of Q: the oldest leaves. All entries share a
budget in bytes: the least recently used leaves. Source: Hash3D (arXiv 2404.06091), sections 4.2 and 4.3 (AdaptGrid).

AdaptGrid, in its words: M tables of different cell sizes; an insertion goes to all of them; each bucket has a running
cosine similarity s <- gamma s + (1 - gamma) mean_i cos(v, v_i); a query is answered by the bucket with the highest s.
What it leaves open is decided here: gamma = 0.9; the first comparison sets s, an insertion into an empty bucket leaves
it as it is; empty buckets do not stand for choice; one without s yet counts as the mean of its grid (1 before any).
Equals go to the first grid, so name the finest first. A change of grid forgets s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .cells import Cell, Grid
from .ledger import Ledger, Reason
from .query import Key, Query
from .retrieval import Weighting, blended, cosines, squared_distances, weights
from .statistics import Statistics, statistics
from .warp import Sight, warped


@dataclass(eq=False)
class Entry:
    """One element's result of a full pass."""

    key: Key
    condition: int
    latent: Tensor
    """The noisy latent that it was computed from."""
    value: Tensor
    step: int
    """When it was inserted."""
    homes: dict[int, Cell] = field(default_factory=dict)
    """Grid -> the cell whose queue it is in."""
    sight: Sight | None = None
    """What its camera saw, where that was said."""

    @property
    def nbytes(self) -> int:
        return self.latent.nbytes + self.value.nbytes + (0 if self.sight is None else self.sight.nbytes)


@dataclass
class Bucket:
    """The queue of a cell."""

    queue: deque[Entry] = field(default_factory=deque)
    similarity: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a query got."""

    value: Tensor
    entries: tuple[Entry, ...]
    shares: tuple[float, ...]
    """How much each entry counts; together 1."""
    distances: tuple[float, ...]
    """|x - x_i| of the noisy latents."""
    similarity: float | None
    """The bucket's running similarity; None before its second entry."""
    grid: int
    cell: Cell


@dataclass
class Limits:
    """How much is kept."""

    queue: int = 3
    budget_bytes: int = 1 << 30
    max_age: int | None = None
    """Steps after which an entry leaves; None: never."""


class Table:
    """Entries by exact cells, in one grid or several."""

    def __init__(self, grids: Sequence[Grid], limits: Limits, weighting: Weighting = "softmax", gamma: float = 0.9):
        self.grids = tuple(grids)
        self.limits = limits
        self.weighting: Weighting = weighting
        self.gamma = gamma
        self.ledger = Ledger()
        self.nbytes = 0
        self.entries: dict[Entry, None] = {}
        """All, the oldest first."""
        self.recent: dict[Entry, None] = {}
        """All, the least recently used first."""
        self.buckets: dict[tuple[int, int, Cell], Bucket] = {}
        self.measured = [(0.0, 0) for _ in self.grids]
        """Sum and number of the similarities measured in each grid."""

    def lookup(self, query: Query, step: int) -> Answer | None:
        """Asks for what was computed in the same cell under the same condition; None is a miss. Counts as one try."""
        chosen, cells = self._found(query, step)
        self.ledger.tried(chosen or 0, cells[chosen or 0], hit=chosen is not None, step=step)
        return None if chosen is None else self._answer(query, chosen, cells[chosen])

    def peek(self, query: Query, step: int) -> Answer | None:
        """As `lookup`, and counts as no try."""
        chosen, cells = self._found(query, step)
        return None if chosen is None else self._answer(query, chosen, cells[chosen])

    def insert(self, query: Query, value: Tensor, step: int) -> None:
        """Stores what a full pass gave. Tensors are kept, not copied: they must not be parts of larger ones."""
        entry = Entry(query.key, query.condition, query.latent, value, step, sight=query.sight)
        cells = [grid.cell(query.key) for grid in self.grids]
        if entry.nbytes > self.limits.budget_bytes:
            self.ledger.refused(0, cells[0])
            return
        self._shrink(self.limits.budget_bytes - entry.nbytes)
        self._update_similarities(entry, cells)
        self.ledger.inserted()
        self.nbytes += entry.nbytes
        self.entries[entry] = self.recent[entry] = None
        for grid, cell in enumerate(cells):
            self._place(entry, grid, cell)

    def expire(self, step: int) -> None:
        """Drops what is older than the age limit."""
        while self.limits.max_age is not None and len(self.entries) > 0:
            oldest = next(iter(self.entries))
            if step - oldest.step <= self.limits.max_age:
                return
            self._drop(oldest, "age")

    def invalidate(self, condition: int | None = None) -> None:
        """Drops all entries of a condition, or all."""
        for entry in [e for e in self.entries if condition is None or e.condition == condition]:
            self._drop(entry, "invalidation")

    def regrid(self, grids: Sequence[Grid]) -> None:
        """Puts what is stored into the cells of other grids. Cells' counters begin anew, totals go on."""
        self.grids = tuple(grids)
        self.buckets.clear()
        self.ledger.forget_cells()
        self.measured = [(0.0, 0) for _ in self.grids]
        stored = list(self.entries)
        for entry in stored:
            entry.homes.clear()
        for entry in stored:
            for index, grid in enumerate(self.grids):
                self._place(entry, index, grid.cell(entry.key), rebinned=True)

    def limit(self, limits: Limits, step: int) -> None:
        """Changes the limits and drops at once what exceeds them."""
        self.limits = limits
        for (grid, _, _), bucket in list(self.buckets.items()):
            while len(bucket.queue) > limits.queue:
                self._leave(bucket.queue[0], grid, "queue")
        self._shrink(limits.budget_bytes)
        self.expire(step)

    def checked(self, grid: int, cell: Cell, error: float) -> None:
        """Records the relative error of a hit in this cell."""
        self.ledger.checked(grid, cell, error)

    def statistics(self, step: int) -> Statistics:
        sums: dict[int, list[float]] = {}
        for (grid, _, cell), bucket in self.buckets.items():
            if bucket.similarity is not None:
                sums.setdefault(self.ledger.row(grid, cell), []).append(bucket.similarity)
        similarities = {row: sum(values) / len(values) for row, values in sums.items()}
        return statistics(
            self.ledger,
            self.grids,
            similarities,
            step=step,
            entries=len(self.entries),
            nbytes=self.nbytes,
            budget_bytes=self.limits.budget_bytes,
        )

    def _found(self, query: Query, step: int) -> tuple[int | None, list[Cell]]:
        """Which grid answers, and the query's cell in each."""
        self.expire(step)
        cells = [grid.cell(query.key) for grid in self.grids]
        return self._most_similar(query.condition, cells), cells

    def _answer(self, query: Query, grid: int, cell: Cell) -> Answer:
        bucket = self.buckets[grid, query.condition, cell]
        entries = tuple(bucket.queue)
        for entry in entries:
            self._touch(entry)
        squared = squared_distances(query.latent, [entry.latent for entry in entries])
        shares = weights(squared, self.weighting)
        pairs = zip(entries, shares, strict=True)
        value = blended([_moved(entry, query.sight) if share > 0.0 else entry.value for entry, share in pairs], shares)
        return Answer(value, entries, tuple(shares), tuple(squared.sqrt().tolist()), bucket.similarity, grid, cell)

    def _most_similar(self, condition: int, cells: Sequence[Cell]) -> int | None:
        """Which grid answers; None where all its buckets are empty."""
        best, highest = None, -float("inf")
        for grid, cell in enumerate(cells):
            bucket = self.buckets.get((grid, condition, cell))
            if bucket is None:
                continue
            total, count = self.measured[grid]
            expected = total / count if count > 0 else 1.0
            similarity = expected if bucket.similarity is None else bucket.similarity
            if similarity > highest:
                best, highest = grid, similarity
        return best

    def _update_similarities(self, entry: Entry, cells: Sequence[Cell]) -> None:
        """Eq. 7 of the paper, with cosines computed once for entries that several grids share."""
        known: dict[Entry, float] = {}
        for grid, cell in enumerate(cells):
            bucket = self.buckets.get((grid, entry.condition, cell))
            if bucket is None:
                continue
            new = [other for other in bucket.queue if other not in known]
            known |= zip(new, cosines(entry.value, [other.value for other in new]), strict=True)
            mean = sum(known[other] for other in bucket.queue) / len(bucket.queue)
            before = mean if bucket.similarity is None else bucket.similarity
            bucket.similarity = self.gamma * before + (1.0 - self.gamma) * mean
            total, count = self.measured[grid]
            self.measured[grid] = (total + mean, count + 1)

    def _place(self, entry: Entry, grid: int, cell: Cell, rebinned: bool = False) -> None:
        bucket = self.buckets.setdefault((grid, entry.condition, cell), Bucket())
        bucket.queue.append(entry)
        entry.homes[grid] = cell
        self.ledger.placed(grid, cell, nbytes=entry.nbytes, step=entry.step, rebinned=rebinned)
        if len(bucket.queue) > self.limits.queue:
            self._leave(bucket.queue[0], grid, "queue")

    def _leave(self, entry: Entry, grid: int, reason: Reason) -> None:
        """Takes an entry out of a queue; out of its last one, out of the table."""
        cell = entry.homes.pop(grid)
        bucket = self.buckets[grid, entry.condition, cell]
        bucket.queue.remove(entry)
        if len(bucket.queue) == 0:
            del self.buckets[grid, entry.condition, cell]
        self.ledger.left(grid, cell, reason, nbytes=entry.nbytes, step=entry.step)
        if len(entry.homes) == 0:
            del self.entries[entry], self.recent[entry]
            self.nbytes -= entry.nbytes
            self.ledger.ended(reason)

    def _drop(self, entry: Entry, reason: Reason) -> None:
        for grid in list(entry.homes):
            self._leave(entry, grid, reason)

    def _shrink(self, nbytes: int) -> None:
        while self.nbytes > nbytes:
            self._drop(next(iter(self.recent)), "budget")

    def _touch(self, entry: Entry) -> None:
        del self.recent[entry]
        self.recent[entry] = None


def _moved(entry: Entry, sight: Sight | None) -> Tensor:
    """Its value as another camera sees it, where both say what they see."""
    return entry.value if sight is None or entry.sight is None else warped(entry.value, entry.sight, sight)
