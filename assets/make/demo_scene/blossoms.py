"""What the tree carries and sheds: blossoms, buds, young leaves, and petals on the board and in the air.

Directions: `axis` points out of a flower, `thin` is a petal's shortest axis, `out` runs along a petal to its tip.
M flowers.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from .surfels import Material, Surfels, joined, make, unit


def flowers(rng: np.random.Generator, places: np.ndarray, centers: np.ndarray, detail: float) -> Surfels:
    """Blossoms, buds and young leaves at evenly thinned places; two of [M, 3]."""
    chosen = thinned(rng, places, 0.0362 / np.sqrt(np.clip(detail, 0.05, 1.0)))
    outward = unit((places[chosen] - centers[chosen]) * [1, 1, 2.2])
    axis = unit(outward + 0.45 * rng.normal(size=(len(chosen), 3)) + [0, 0, 0.25])
    kind = rng.random(len(chosen))
    position = places[chosen] + 0.012 * axis
    bloom, bud, leaf = kind < 0.80, (kind >= 0.80) & (kind < 0.90), kind >= 0.84
    size = 0.0300 * (0.82 + 0.36 * rng.random(len(chosen)))
    return joined(
        [
            blossoms(rng, position[bloom], axis[bloom], size[bloom]),
            _buds(position[bud], axis[bud]),
            _leaves(rng, position[leaf], axis[leaf]),
        ]
    )


def thinned(rng: np.random.Generator, points: np.ndarray, distance: float) -> np.ndarray:  # [M, 3] -> indices
    """Points picked at random so that no two are nearer than `distance` (dart throwing)."""
    neighbours = KDTree(points).query_ball_point(points, distance)
    free = np.ones(len(points), bool)
    chosen = []
    for k in rng.permutation(len(points)):
        if free[k]:
            chosen.append(k)
            free[neighbours[k]] = False
    return np.sort(chosen)


def blossoms(rng, center: np.ndarray, axis: np.ndarray, size: np.ndarray, open_degrees: float = 24.0) -> Surfels:
    """Five notched petals a flower, deep pink at the heart, and a tuft of stamens; [M, 3], [M, 3], [M]."""
    count = len(center)
    side = unit(np.cross(axis, unit(rng.normal(size=(count, 3)))))
    blush = rng.random(count)[:, None]
    tip = np.array([0.94, 0.70, 0.75]) * (1 - blush) + np.array([0.92, 0.45, 0.57]) * blush
    tip *= 0.90 + 0.16 * rng.random((count, 1))
    heart = np.array([0.72, 0.13, 0.24]) * np.ones_like(tip)
    parts = []
    for petal in range(5):
        turn = 2 * np.pi * petal / 5 + 0.12 * rng.normal(size=(count, 1))
        lift = np.radians(open_degrees) + 0.22 * rng.normal(size=(count, 1))
        flat = np.cos(turn) * side + np.sin(turn) * np.cross(axis, side)
        out = np.cos(lift) * flat + np.sin(lift) * axis
        thin = unit(np.cos(lift) * axis - np.sin(lift) * flat)
        across = np.cross(thin, out)
        shade = 0.9 + 0.2 * rng.random((count, 1))
        for reach, shift, long, wide, color in (
            (0.34, 0.0, 0.16, 0.130, 0.45 * heart + 0.55 * tip),
            (0.62, 0.145, 0.125, 0.120, tip * shade),
            (0.62, -0.145, 0.125, 0.120, tip * shade),
            (0.83, 0.145, 0.086, 0.104, tip * shade),  # The two lobes beside the notch.
            (0.83, -0.145, 0.086, 0.104, tip * shade),
        ):
            place = center + size[:, None] * (reach * out + shift * across)
            sigma = size[:, None] * np.array([long, wide, 0.02])
            parts.append(make(place, thin, out, sigma, Material(color, translucency=0.38), opacity=0.93))
    return joined([*parts, _stamens(rng, center, axis, side, size)])


def _stamens(rng, center: np.ndarray, axis: np.ndarray, side: np.ndarray, size: np.ndarray) -> Surfels:
    """The calyx and four anthers."""
    eye = Material((0.55, 0.10, 0.16), translucency=0.2)
    parts = [make(center + 0.05 * size[:, None] * axis, axis, side, size[:, None] * [0.09, 0.09, 0.05], eye)]
    anther = Material((0.95, 0.68, 0.16), translucency=0.2)
    for k in range(4):
        turn = k * np.pi / 2 + rng.normal(size=(len(center), 1)) * 0.4
        out = np.cos(turn) * side + np.sin(turn) * np.cross(axis, side)
        place = center + size[:, None] * (0.24 * out + 0.26 * axis)
        parts.append(make(place, axis, side, size[:, None] * [0.036, 0.036, 0.036], anther))
    return joined(parts)


def _buds(center: np.ndarray, axis: np.ndarray) -> Surfels:
    """Closed flowers: a deep pink drop on a green calyx."""
    drop = Material((0.72, 0.14, 0.27), specular=0.03, roughness=0.4, translucency=0.25)
    calyx = Material((0.16, 0.11, 0.03), translucency=0.15)
    return joined(
        [
            make(
                center + 0.008 * axis,
                np.cross(axis, [0.3, 0.8, 0.1]),
                axis,
                [0.0048, 0.0034, 0.0034],
                drop,
                normal=axis,
            ),
            make(center, np.cross(axis, [0.3, 0.8, 0.1]), axis, [0.0034, 0.0022, 0.0022], calyx, normal=axis),
        ]
    )


def _leaves(rng, center: np.ndarray, axis: np.ndarray) -> Surfels:
    """Young bronze-green leaves, folded along the midrib: two halves of three Gaussians."""
    flat = unit(np.cross(axis, unit(rng.normal(size=center.shape))))
    out = unit(flat + 0.35 * axis)
    thin = unit(np.cross(out, np.cross(axis, out)))
    across = np.cross(thin, out)
    young = rng.random((len(center), 1))
    color = np.array([0.14, 0.24, 0.035]) * (1 - young) + np.array([0.30, 0.14, 0.045]) * young
    leaf = Material(color, specular=0.035, roughness=0.35, translucency=0.42)
    parts = []
    for sign in (-1.0, 1.0):
        tilt = unit(thin - 0.45 * sign * across)
        for reach, wide in ((0.010, 0.0030), (0.020, 0.0038), (0.030, 0.0024)):
            place = center + reach * out + sign * 0.75 * wide * across
            parts.append(make(place, tilt, out, [0.0056, wide, 0.0005], leaf))
    return joined(parts)


def fallen(rng: np.random.Generator, count: int, inner: float, outer: float) -> Surfels:
    """Single petals that lie about on the board, more of them under the left branch."""
    angle = rng.normal(-2.3, 1.15, count)
    r = inner + (outer - inner) * rng.random(count) ** 0.8
    center = np.stack([r * np.cos(angle), r * np.sin(angle), np.zeros(count)], axis=1)
    up = unit(np.array([0, 0, 1.0]) + 0.22 * rng.normal(size=(count, 3)))
    return petals(rng, center + [0, 0, 0.004], up)


def falling(rng: np.random.Generator, count: int) -> Surfels:
    """Petals on their way down, under the crown."""
    center = np.stack(
        [rng.uniform(-0.85, 0.75, count), rng.uniform(-0.45, 0.35, count), rng.uniform(0.12, 0.75, count)], 1
    )
    return petals(rng, center, unit(rng.normal(size=(count, 3))))


def petals(rng: np.random.Generator, center: np.ndarray, up: np.ndarray) -> Surfels:  # two of [M, 3]
    """Loose petals: a heart of three Gaussians each."""
    out = unit(np.cross(up, unit(rng.normal(size=center.shape))))
    across = np.cross(up, out)
    blush = rng.random((len(center), 1))
    color = np.array([0.93, 0.70, 0.74]) * (1 - blush) + np.array([0.90, 0.46, 0.56]) * blush
    parts = []
    for reach, shift, tint in ((-0.005, 0.0, np.array([0.9, 0.6, 0.68])), (0.003, 0.0032, 1.0), (0.003, -0.0032, 1.0)):
        petal = Material(color * tint, translucency=0.3)
        parts.append(
            make(center + reach * out + shift * across, up, out, [0.0048, 0.0036, 0.0006], petal, opacity=0.95)
        )
    return joined(parts)
