"""The nearest neighbours of every point among all points, exact, of millions of points.

N points, k neighbours. Points are searched and numbered along a space-filling curve: neighbours in space then lie side
by side in memory, which makes the search and all that works on its result several times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from h3d.renderers import num_threads

from .array_cache import Arrays, key_of, remembered
from .formats.spatial_order import morton_codes

VERSION = 1
CHUNK = 1 << 16
"""Rows searched at once: the search answers in float64 and int64, three times the size of what is kept."""
CACHED_ROWS = 20_000
"""Fewer points than these are searched sooner than the disk is asked."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Rows r follow the curve: r stands for the point `order[r]`."""

    order: np.ndarray  # [N] int32
    indices: np.ndarray  # [N, k] int32 rows r, nearest first, never r itself
    distances: np.ndarray  # [N, k] float32

    def __len__(self) -> int:
        return len(self.order)

    def by_point(self, values: np.ndarray) -> np.ndarray:  # [N, ...] of rows -> [N, ...] of points
        """The values in the order in which the points were given."""
        found = np.empty_like(values)
        found[self.order] = values
        return found


def nearest(points: np.ndarray, k: int, *, cached: bool = True) -> Neighbours:  # [N, 3]
    """The k nearest other points of each point, or all others where there are fewer.

    Points that coincide are neighbours at distance 0. `cached`: results of many points are kept on the disk.

    Raises:
        ValueError: the points are not [N, 3] or not finite, or k is below 1.
    """
    points = checked_points(points)
    if k < 1:
        raise ValueError(f"k: {k} neighbours; there must be at least 1")
    count = len(points)
    k = min(k, max(count - 1, 0))
    if not cached or count < CACHED_ROWS:
        return Neighbours(**_search(points, k))
    name = f"neighbours-{key_of(points, f'{VERSION}:{k}')}"
    layout = {"order": ((count,), "int32"), "indices": ((count, k), "int32"), "distances": ((count, k), "float32")}
    return Neighbours(**remembered(name, layout, lambda: _search(points, k)))


def checked_points(points: np.ndarray) -> np.ndarray:  # [N, 3] -> [N, 3] float32
    """Raises: ValueError, they are not [N, 3] or not finite."""
    points = np.ascontiguousarray(points, np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: their shape is {list(points.shape)}; it must be [N, 3]")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise ValueError(f"points: {int((~finite).sum()):,} of {len(points):,} are not finite; leave them out")
    if len(points) >= 2**31:
        raise ValueError(f"points: there are {len(points):,}; at most 2^31 - 1 can be numbered")
    return points


def curve_order(points: np.ndarray, crowd: int) -> np.ndarray:  # [N, 3] -> [N] int64
    """Points along the curve; of more than `crowd` in one of its cells, those that coincide side by side."""
    if len(points) == 0:
        return np.zeros(0, np.int64)
    codes = morton_codes(points)
    order = np.argsort(codes, kind="stable")
    lengths = _run_lengths(codes[order][1:] != codes[order][:-1])
    crowded = np.repeat(lengths > crowd, lengths)
    if crowded.any():
        rows = order[crowded]
        x, y, z = points[rows].T
        order[crowded] = rows[np.lexsort((z, y, x, codes[rows]))]
    return order


def _search(points: np.ndarray, k: int) -> Arrays:  # [N, 3]
    """As `Neighbours`.

    A search whose nearest k are among thousands of points in one place would look at each of them. So only k + 1 of
    such a crowd are searched among, enough to be anybody's k nearest, and its own members need no search.
    """
    count = len(points)
    order = curve_order(points, k + 1)
    places = points[order].astype(np.float64)
    lengths = _run_lengths((places[1:] != places[:-1]).any(axis=1)) if count > 0 else np.zeros(0, np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    within = np.arange(count) - starts
    of_crowd = np.repeat(lengths > k + 1, lengths)
    indices, distances = np.zeros((count, k), np.int32), np.zeros((count, k), np.float32)
    if k > 0:
        members = np.flatnonzero(of_crowd)
        for part in np.array_split(members, 1 + len(members) // CHUNK):
            others = (within[part, None] + np.arange(1, k + 1)) % np.repeat(lengths, lengths)[part, None]
            indices[part] = starts[part, None] + others
        _search_tree(places, np.flatnonzero(~of_crowd), np.flatnonzero(within <= k), indices, distances)
    return {"order": order.astype(np.int32), "indices": indices, "distances": distances}


def _search_tree(
    places: np.ndarray,  # [N, 3] float64
    rows: np.ndarray,  # whose neighbours are wanted
    among: np.ndarray,  # rows searched among, ascending, all of `rows` included
    indices: np.ndarray,  # [N, k] to be filled at `rows`
    distances: np.ndarray,  # [N, k]
) -> None:
    k, threads = indices.shape[1], num_threads()
    everyone = len(among) == len(places)
    tree = KDTree(places if everyone else places[among], leafsize=16, balanced_tree=False)
    most = np.finfo(np.float32).max
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        far, found = tree.query(places[part], k=k + 1, workers=threads)
        found = np.asarray(found) if everyone else among[found]
        # A point is told from its neighbours by its number: where several coincide it need not be found first.
        other = found != part[:, None]
        other[other.all(axis=1), -1] = False
        indices[part] = found[other].reshape(-1, k)
        distances[part] = np.minimum(far[other].reshape(-1, k), most)


def _run_lengths(changes: np.ndarray) -> np.ndarray:  # [N - 1] bool -> lengths of the runs of N rows
    ends = np.append(np.flatnonzero(changes) + 1, len(changes) + 1)
    return np.diff(ends, prepend=0)
