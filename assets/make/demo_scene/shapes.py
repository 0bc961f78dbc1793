"""Even coverings of shapes: surfaces of revolution, tubes, ellipsoids, flat discs, strokes and hairs.

Surfaces are covered by phyllotaxis: the i-th surfel sits at the i-th equal share of the area, turned by the golden
angle. This is as even as blue noise, needs no relaxation, and has no seam. A surfel's standard deviation is
`COVER` times the spacing sqrt(area / count): less shows holes, more blurs.
Source: Vogel 1979, "A better way to construct the sunflower head".
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from .surfels import unit

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
COVER = 0.62


def spline(points: np.ndarray, count: int) -> np.ndarray:  # [P, D] -> [count, D]
    """A smooth curve through the points, at `count` places of equal arc length."""
    points = np.asarray(points, float)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1))])
    dense = CubicSpline(chord, points)(np.linspace(0, chord[-1], 16 * count))
    return resampled(dense, count)


def resampled(path: np.ndarray, count: int) -> np.ndarray:  # [P, D] -> [count, D]
    """The polyline at places of equal arc length (arc length of its first three columns)."""
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1))])
    places = np.linspace(0, arc[-1], count)
    return np.stack([np.interp(places, arc, column) for column in path.T], axis=1)


def revolved(profile: np.ndarray, count: int):  # [P, 2] radius and height, P >= 2
    """Cover the surface that `profile` sweeps about the z axis; normals lie right of the profile's direction.

    Returns position [N, 3], normal [N, 3], tangent [N, 3] (around), arc [N] along the profile, spacing.
    """
    path = resampled(np.column_stack([profile, np.zeros(len(profile))]), 1000)[:, :2]
    step = np.diff(path, axis=0)
    length = np.linalg.norm(step, axis=1)
    area = np.concatenate([[0], np.cumsum(2 * np.pi * 0.5 * (path[1:, 0] + path[:-1, 0]) * length)])
    arc_at = np.concatenate([[0], np.cumsum(length)])
    index = np.arange(count)
    arc = np.interp((index + 0.5) / count * area[-1], area, arc_at)
    angle = index * GOLDEN_ANGLE
    radius, height = np.interp(arc, arc_at, path[:, 0]), np.interp(arc, arc_at, path[:, 1])
    slope = np.gradient(path, arc_at, axis=0)
    dr, dz = np.interp(arc, arc_at, slope[:, 0]), np.interp(arc, arc_at, slope[:, 1])
    cos, sin = np.cos(angle), np.sin(angle)
    position = np.stack([radius * cos, radius * sin, height], axis=1)
    normal = unit(np.stack([dz * cos, dz * sin, -dr], axis=1))
    tangent = np.stack([-sin, cos, np.zeros(count)], axis=1)
    return position, normal, tangent, arc, float(np.sqrt(area[-1] / count))


def tube(path: np.ndarray, radius: np.ndarray, count: int):  # [P, 3], [P]
    """Cover a bent tube of changing radius.

    Returns position [N, 3], normal [N, 3], tangent [N, 3] (along), share [N] in [0, 1] along the path, spacing.
    """
    along = unit(np.gradient(path, axis=0))
    side, other = _transported(along)
    length = np.linalg.norm(np.diff(path, axis=0), axis=1)
    area = np.concatenate([[0], np.cumsum(np.pi * (radius[1:] + radius[:-1]) * length)])
    index = np.arange(count)
    place = np.interp((index + 0.5) / count * area[-1], area, np.arange(len(path)))

    def at(values):
        return np.stack([np.interp(place, np.arange(len(path)), c) for c in values.T], axis=1)

    angle = (index * GOLDEN_ANGLE)[:, None]
    normal = unit(np.cos(angle) * at(side) + np.sin(angle) * at(other))
    r = np.interp(place, np.arange(len(path)), radius)
    return at(path) + r[:, None] * normal, normal, unit(at(along)), place / (len(path) - 1), np.sqrt(area[-1] / count)


def ellipsoid(radii, count: int):  # [3]
    """Cover an ellipsoid about the origin. Returns position [N, 3], normal [N, 3], spacing."""
    radii = np.asarray(radii, float)
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    ring, angle = np.sqrt(1 - height**2), np.arange(count) * GOLDEN_ANGLE
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    p = 1.6075  # Thomsen's formula for the area, within 1.1 %.
    a, b, c = radii**p
    area = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / p)
    return sphere * radii, unit(sphere / radii), float(np.sqrt(area / count))


def disc(radius: float, count: int, stretch: float = 1.0):
    """Cover a flat disc in the xy plane, spacing `stretch` times wider along x than along y.

    Returns position [N, 3] and the spacing along y.
    """
    # A sunflower on the ellipse that the stretch turns into a circle of the larger radius, cut to the disc.
    total = int(count * stretch)
    index = np.arange(total)
    r = radius * np.sqrt((index + 0.5) / total)
    flat = np.stack([r * np.cos(index * GOLDEN_ANGLE) * stretch, r * np.sin(index * GOLDEN_ANGLE)], axis=1)
    flat = flat[np.linalg.norm(flat, axis=1) <= radius]
    spacing = radius * np.sqrt(np.pi / total)
    return np.column_stack([flat, np.zeros(len(flat))]), float(spacing)


def strokes(path: np.ndarray, step: float):  # [P, 3]
    """A chain along a curve: places [N, 3], directions [N, 3], half-step standard deviation that closes the gaps."""
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    count = max(2, int(np.ceil(length / step)) + 1)
    places = resampled(path, count)
    return places, unit(np.gradient(places, axis=0)), 0.55 * length / (count - 1)


def _transported(along: np.ndarray):  # [P, 3] -> two of [P, 3]
    """Two normals of a curve that do not twist about it (parallel transport)."""
    side = np.empty_like(along)
    side[0] = unit(np.cross(along[0], [0.2, 1.0, 0.1]))
    for k in range(1, len(along)):
        side[k] = unit(side[k - 1] - (side[k - 1] @ along[k]) * along[k])
    return side, np.cross(along, side)
