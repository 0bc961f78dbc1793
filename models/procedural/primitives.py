"""Signed distances of simple solids, each about its own origin, upright along z. P points.

Every one changes by no more than the way one goes (its Lipschitz constant is 1), which is what sphere tracing needs:
the value is never more than the true distance. It is the true distance but for ellipsoids and wedges, whose value is
smaller away from the surface. Inside is below 0. Unions, intersections and smooth unions of such functions are such
functions too.
Source: Hart 1996, "Sphere tracing"; the distances follow from the nearest point of each solid's outline.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from typing_extensions import assert_never

Shape = Literal["sphere", "ellipsoid", "box", "cylinder", "capsule", "torus", "cone", "wedge"]


def distance_to(shape: Shape, p: np.ndarray, size: tuple[float, ...]) -> np.ndarray:  # [P, 3] -> [P]
    """Signed distance; what `size` holds stands at each function."""
    if shape == "sphere":
        return sphere(p, *size)
    if shape == "ellipsoid":
        return ellipsoid(p, *size)
    if shape == "box":
        return box(p, *size)
    if shape == "cylinder":
        return cylinder(p, *size)
    if shape == "capsule":
        return capsule(p, *size)
    if shape == "torus":
        return torus(p, *size)
    if shape == "cone":
        return cone(p, *size)
    if shape == "wedge":
        return wedge(p, *size)
    assert_never(shape)


def extent_of(shape: Shape, size: tuple[float, ...]) -> float:
    """Radius of a ball about the origin that holds the solid."""
    if shape == "sphere":
        return size[0]
    if shape == "ellipsoid":
        return max(size)
    if shape in ("box", "wedge"):
        return float(np.linalg.norm(size[:3]))
    if shape in ("capsule", "torus"):
        return size[0] + size[1]
    return float(np.hypot(max(size[0], size[1]) if shape == "cone" else size[0], size[2 if shape == "cone" else 1]))


def sphere(p: np.ndarray, radius: float) -> np.ndarray:
    return _length(p) - radius


def ellipsoid(p: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """Half axes. The ball's distance in stretched space, shrunk by the shortest axis."""
    return (_length(p / np.array([x, y, z], np.float32)) - 1.0) * min(x, y, z)


def box(p: np.ndarray, x: float, y: float, z: float, rounding: float = 0.0) -> np.ndarray:
    """Half sides, and the radius of its edges."""
    q = np.abs(p) - np.array([x - rounding, y - rounding, z - rounding], np.float32)
    return _length(np.maximum(q, 0.0)) + np.minimum(q.max(axis=1), 0.0) - rounding


def cylinder(p: np.ndarray, radius: float, half_height: float, rounding: float = 0.0) -> np.ndarray:
    out = np.hypot(p[:, 0], p[:, 1]) - (radius - rounding)
    up = np.abs(p[:, 2]) - (half_height - rounding)
    return np.hypot(np.maximum(out, 0.0), np.maximum(up, 0.0)) + np.minimum(np.maximum(out, up), 0.0) - rounding


def capsule(p: np.ndarray, radius: float, half_height: float) -> np.ndarray:
    """A ball of `radius` drawn along 2 `half_height` of the z axis."""
    up = np.maximum(np.abs(p[:, 2]) - half_height, 0.0)
    return np.sqrt(p[:, 0] ** 2 + p[:, 1] ** 2 + up**2) - radius


def torus(p: np.ndarray, ring: float, tube: float) -> np.ndarray:
    """Radius of the ring about z, and of the tube."""
    return np.hypot(np.hypot(p[:, 0], p[:, 1]) - ring, p[:, 2]) - tube


def cone(p: np.ndarray, bottom: float, top: float, half_height: float) -> np.ndarray:
    """Radii at both ends, neither below 0."""
    out, z = np.hypot(p[:, 0], p[:, 1]), p[:, 2]
    rim = np.where(z < 0.0, bottom, top).astype(np.float32)
    to_cap = np.hypot(np.maximum(out - rim, 0.0), np.abs(z) - half_height)
    # The slant runs from (bottom, -half_height) to (top, half_height); its nearest point is at a share of the way.
    lean, rise = top - bottom, 2.0 * half_height
    share = np.clip(((out - bottom) * lean + (z + half_height) * rise) / (lean * lean + rise * rise), 0.0, 1.0)
    to_slant = np.hypot(out - (bottom + share * lean), z + half_height - share * rise)
    inside = (np.abs(z) < half_height) & (out < bottom + (z + half_height) * (lean / rise))
    return np.where(inside, -1.0, 1.0).astype(np.float32) * np.minimum(to_cap, to_slant)


def wedge(p: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """A roof: 2x wide and 2y long at the bottom, its ridge along y at the top; the largest of its planes' distances."""
    slope = float(np.hypot(2.0 * z, x))
    side = (2.0 * z * np.abs(p[:, 0]) + x * (p[:, 2] - z)) / slope
    return np.maximum(np.maximum(side, np.abs(p[:, 1]) - y), -z - p[:, 2])


def smooth_union(a: np.ndarray, b: np.ndarray, reach: float) -> np.ndarray:
    """The union, filled where both are nearer to each other than `reach` (a quadratic, so that slopes meet)."""
    overlap = np.maximum(reach - np.abs(a - b), 0.0)
    return np.minimum(a, b) - overlap * overlap * (0.25 / reach)


def _length(p: np.ndarray) -> np.ndarray:  # [P, 3] -> [P]
    return np.sqrt(np.einsum("pk,pk->p", p, p))
