"""The graphs of the paper and of its official code: all pairs within one radius, weights on one scale.

Both take the radius from the closest pair of points, so that in captures, where some points nearly coincide, most rows
have no neighbour at all. They are here to be compared with; `local` is ours.

paper (arXiv 2405.00676, eq. 3 to 6): tau = 10 m with m the smallest nearest-neighbour distance; A_ij =
exp(-d^2 / (2 sigma^2)) for d < tau, divided by its spectral norm; response_i = |((I - A) x)_i|. The paper compares d^2
with tau, and calls sigma the variance of the distances; here both have the units that they need: d is compared, and
sigma^2 is the variance over the graph's edges. An isolated row responds with its distance from the origin, as the
formula has it.

official (what its code does): with m and the largest nearest-neighbour distance M, R^2 = min(10 m, 2 M), or 10 m where
m = M; pairs with d < R, of which each row keeps, among those of larger number, the 100 nearest;
A_ij = exp(-d^4 / (2 Var(d^2))); response_i = |((D - A) x)_i|. An isolated row responds with 0.

For m and M distances of 1e-5 or less do not count, as in the code: pairs that coincide would leave no edge at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from scipy.spatial import KDTree

from h3d.models.neighbours import curve_order, nearest
from h3d.renderers import num_threads

MOST_PAIRS = 50_000_000
CHUNK_PAIRS = 4_000_000
SKIPPED_DISTANCE = 1e-5
MOST_OF_A_ROW = 100
DENSE_ROWS = 64

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""i < j [E] int32, points as they were given, and d [E] float64."""


@dataclass(frozen=True, eq=False)
class RadiusGraph:
    """A symmetric graph by its upper triangle."""

    upper: csr_array  # [N, N] float64, above the diagonal
    laplacian: bool
    """Whether the filter is D - A, else I - A / |A|."""

    @property
    def degrees(self) -> np.ndarray:  # [N] edges
        rows = np.diff(self.upper.indptr)
        return rows + np.bincount(self.upper.indices, minlength=len(rows))

    def times(self, values: np.ndarray) -> np.ndarray:  # [N] or [N, F] float64 -> A values
        return self.upper @ values + self.upper.T @ values

    def high_pass(self, signal: np.ndarray) -> np.ndarray:  # [N, F] float64 -> [N] float32
        """The length of every row's response."""
        around = self.times(signal)
        if self.laplacian:
            degrees = self.times(np.ones(len(signal)))
            return np.linalg.norm(degrees[:, None] * signal - around, axis=1).astype(np.float32)
        return np.linalg.norm(signal - around / self.norm(), axis=1).astype(np.float32)

    def norm(self) -> float:
        """The spectral norm, which is the largest eigenvalue; 1 for a graph without edges."""
        rows = np.flatnonzero(self.degrees)
        if len(rows) == 0:
            return 1.0
        upper = self.upper[rows][:, rows]
        symmetric = upper + upper.T
        if len(rows) <= DENSE_ROWS:
            return float(np.linalg.eigvalsh(symmetric.toarray())[-1])
        # No weight is negative, so a vector of ones has a part in the eigenvector that is looked for.
        options: dict[str, Any] = {"v0": np.ones(len(rows)), "tol": 1e-9, "return_eigenvectors": False}
        try:
            found = eigsh(symmetric, k=1, which="LA", **options)
        except ArpackNoConvergence as error:
            raise ValueError(f"the norm of the paper's graph was not found ({error}); use the variant local") from error
        return float(found[0])


def paper_graph(points: np.ndarray, *, cached: bool = True) -> RadiusGraph:  # [N, 3] float32
    """Raises: ValueError, the graph has too many edges."""
    tau = 10.0 * _closest(points, cached)[0]
    i, j, d = _joined(_pairs_within(points, tau, "paper"))
    variance = float(np.var(d)) if len(d) > 0 else 0.0
    # Edges of one length have no variance: then all weigh alike.
    weights = np.exp(-0.5 * np.square(d) / variance) if variance > 0.0 else np.ones_like(d)
    return RadiusGraph(_upper(len(points), i, j, weights), laplacian=False)


def official_graph(points: np.ndarray, *, cached: bool = True) -> RadiusGraph:  # [N, 3] float32
    """Raises: ValueError, the graph has too many edges."""
    least, greatest = _closest(points, cached)
    radius = math.sqrt(10.0 * least if least == greatest else min(10.0 * least, 2.0 * greatest))
    i, j, d = _joined(_pairs_within(points, radius, "official"))
    order = np.lexsort((j, d, i))
    i, j, d = i[order], j[order], d[order]
    place = np.arange(len(i)) - np.searchsorted(i, i)
    near = place < MOST_OF_A_ROW
    i, j, squared = i[near], j[near], np.square(d[near])
    variance = float(np.var(squared)) if len(squared) > 0 else 0.0
    weights = np.exp(-0.5 * np.square(squared) / variance) if variance > 0.0 else np.ones_like(squared)
    return RadiusGraph(_upper(len(points), i, j, weights), laplacian=True)


def _closest(points: np.ndarray, cached: bool) -> tuple[float, float]:  # [N, 3]
    """The smallest and the largest distance of a point to its nearest; 0 where all coincide."""
    distances = nearest(points, 1, cached=cached).distances
    apart = distances[distances > SKIPPED_DISTANCE]
    return (float(apart.min()), float(apart.max())) if len(apart) > 0 else (0.0, 0.0)


def _upper(count: int, i: np.ndarray, j: np.ndarray, weights: np.ndarray) -> csr_array:
    return csr_array((weights, (i, j)), shape=(count, count))


def _joined(parts: Iterator[Pairs]) -> Pairs:
    found = list(parts)
    i, j, d = ([part[n] for part in found] for n in range(3))
    none = np.zeros(0, np.int32)
    return np.concatenate([none, *i]), np.concatenate([none, *j]), np.concatenate([np.zeros(0), *d])


def _pairs_within(points: np.ndarray, radius: float, variant: str) -> Iterator[Pairs]:  # [N, 3]
    """All pairs nearer than the radius, a few million at a time.

    Raises:
        ValueError: there are more than fit into memory.
    """
    if radius <= 0.0:
        return
    order = curve_order(points, 1)
    places = points[order].astype(np.float64)
    tree = KDTree(places, balanced_tree=False)
    total = (int(tree.count_neighbors(tree, radius)) - len(points)) // 2
    if total > MOST_PAIRS:
        rule = f"the graph of the variant {variant} has {total:,} pairs within {radius:.4g}"
        raise ValueError(f"{rule}, more than the {MOST_PAIRS:,} that are worked on; use the variant local")
    sizes = np.cumsum(tree.query_ball_point(places, radius, workers=num_threads(), return_length=True))
    cuts = np.searchsorted(sizes, np.arange(CHUNK_PAIRS, sizes[-1], CHUNK_PAIRS)) + 1
    for start, stop in zip([0, *cuts], [*cuts, len(places)], strict=True):
        if start == stop:
            continue
        found = KDTree(places[start:stop]).sparse_distance_matrix(tree, radius, output_type="ndarray")
        i, j = order[found["i"] + start], order[found["j"]]
        wanted = (i < j) & (found["v"] < radius)
        yield i[wanted].astype(np.int32), j[wanted].astype(np.int32), found["v"][wanted]
