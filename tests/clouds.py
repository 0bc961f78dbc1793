"""Clouds of points on which neighbour searches and graphs go wrong: even, clustered, flat, on a line, coinciding."""

from __future__ import annotations

import numpy as np

CLOUDS = ("even", "clustered", "planar", "line", "doubled", "crowded", "far", "one place", "lattice")


def cloud(kind: str, count: int, seed: int = 0) -> np.ndarray:  # -> [N, 3] float32
    """`count` points of a kind."""
    rng = np.random.default_rng(seed)
    even = rng.uniform(-1.0, 1.0, (count, 3))
    if kind == "even":
        points = even
    elif kind == "clustered":
        points = rng.normal(size=(max(count // 20, 1), 3))[rng.integers(0, max(count // 20, 1), count)] + 0.01 * even
    elif kind == "planar":
        points = even * [1.0, 1.0, 0.0] + [0.0, 0.0, 3.0]
    elif kind == "line":
        points = even * [1.0, 0.0, 0.0]
    elif kind == "doubled":
        points = np.repeat(even, 2, axis=0)[:count]
    elif kind == "crowded":  # More in one place than anybody asks neighbours of.
        points = np.where(np.arange(count)[:, None] % 3 == 0, 0.25, even)
    elif kind == "far":  # One point so far away that the rest lies in one cell of the curve.
        points = np.concatenate([even[: count - 1], [[1e7, 0.0, 0.0]]])[:count]
    elif kind == "one place":
        points = np.full((count, 3), 0.5)
    elif kind == "lattice":
        side = int(np.ceil(count ** (1.0 / 3.0)))
        points = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:count]
    else:
        raise ValueError(kind)
    return points.astype(np.float32)[rng.permutation(count)]
