"""Patches of the sphere of camera cells as triangles: each a curved tile by itself, with a small gap to its neighbours.

P patches, V vertices, F faces. The sphere has radius 1; where there are several grids their tiles lie on shells that
differ a little, the finest nearest to the eye, so that small cells are drawn over the large ones around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sphere import Patches, directions

STEP_DEGREES = 5.0
"""A tile is divided until its edges are no longer than this."""
GAP_SHARE, MOST_GAP_DEGREES = 0.02, 0.3
"""What is left free at each edge of a tile: of its width, and at most."""
RIM_SHARE, MOST_RIM_DEGREES = 0.1, 1.0
"""How wide a rim is: of the tile's width, and at most."""
SHELL = 0.004
"""Between two grids, in radii, and between tiles and rims."""


@dataclass(frozen=True, eq=False)
class SphereMesh:
    """Triangles, counterclockwise from where they are seen."""

    vertices: NDArray[np.float32]  # [V, 3]
    faces: NDArray[np.uint32]  # [F, 3]
    patch: NDArray[np.int64]  # [V] whose value colours the vertex


def sphere_mesh(patches: Patches, *, inward: bool = False) -> SphereMesh:
    """Tiles of all patches that have a value, to be seen from outside the sphere, or (`inward`) from inside."""
    known = np.flatnonzero(np.isfinite(patches.values))
    bounds, grid = shrunk(patches.bounds[known]), patches.grid[known]
    coarseness = grid.max(initial=0) - grid  # 0 for the coarsest.
    radii = 1.0 + SHELL * (grid if inward else coarseness)
    # Tiles of one division are made at once, the coarsest grid's first: what is seen through mixes in this order.
    divisions = np.ceil((bounds[..., 1] - bounds[..., 0]) / STEP_DEGREES).astype(np.int64)  # [K, 2]
    kinds, kind = np.unique(np.column_stack([coarseness, divisions]), axis=0, return_inverse=True)
    vertices, faces, owners, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)], 0
    for i, (_, across, up) in enumerate(kinds.tolist()):
        chosen = np.flatnonzero(kind.reshape(-1) == i)
        points = _tile_points(bounds[chosen], across, up) * radii[chosen, None, None]
        starts = count + np.arange(len(chosen)) * points.shape[1]
        vertices.append(points.reshape(-1, 3))
        faces.append((starts[:, None, None] + _tile_faces(across, up, inward=inward)).reshape(-1, 3))
        owners.append(np.repeat(known[chosen], points.shape[1]))
        count += len(chosen) * points.shape[1]
    return SphereMesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.uint32),
        np.concatenate(owners),
    )


def rim_mesh(patches: Patches, chosen: NDArray[np.intp], *, inward: bool = False) -> SphereMesh:
    """Strips along the inner edges of chosen patches, nearer to the eye than all tiles."""
    outer = outlines(patches.bounds[chosen])
    inner = outlines(shrunk(patches.bounds[chosen], RIM_SHARE, MOST_RIM_DEGREES))
    lines = np.stack([outer, inner], axis=1)  # [K, 2, E, 2]
    grids = int(patches.grid.max(initial=0)) + 1
    radius = 1.0 - SHELL if inward else 1.0 + SHELL * grids
    edge = lines.shape[2]
    template = _tile_faces(edge - 1, 1, inward=inward)
    starts = np.arange(len(chosen))[:, None, None] * (2 * edge)
    return SphereMesh(
        (radius * directions(lines[..., 0], lines[..., 1])).reshape(-1, 3).astype(np.float32),
        (starts + template).reshape(-1, 3).astype(np.uint32),
        np.repeat(chosen, 2 * edge),
    )


def outlines(bounds: NDArray[np.float64]) -> NDArray[np.float64]:  # [K, 2, 2] -> [K, E, 2]
    """Closed lines of azimuth and elevation around tiles, counterclockwise, divided as finely for all of them."""
    tiles = shrunk(bounds)
    pieces = max(1, int(np.ceil((tiles[..., 1] - tiles[..., 0]).max(initial=0.0) / STEP_DEGREES)))
    there, back = np.linspace(0.0, 1.0, pieces + 1), np.linspace(1.0, 0.0, pieces + 1)
    low, high = np.zeros(pieces + 1), np.ones(pieces + 1)
    along = np.stack([np.concatenate([there, high, back, low]), np.concatenate([low, there, high, back])], axis=-1)
    return tiles[:, None, :, 0] + along[None] * (tiles[:, None, :, 1] - tiles[:, None, :, 0])


def shrunk(  # [K, 2, 2] -> [K, 2, 2]
    bounds: NDArray[np.float64], share: float = GAP_SHARE, most_degrees: float = MOST_GAP_DEGREES
) -> NDArray[np.float64]:
    """Tiles without the gap around them: at each edge this share of the width, at most so many degrees."""
    gap = np.minimum(share * (bounds[..., 1] - bounds[..., 0]), most_degrees)
    return np.stack([bounds[..., 0] + gap, bounds[..., 1] - gap], axis=-1)


def _tile_points(bounds: NDArray[np.float64], across: int, up: int) -> NDArray[np.float64]:  # [K, 2, 2]
    """Unit vectors [K, (up + 1) (across + 1), 3], row by row from the lower edge."""
    low, size = bounds[..., 0], bounds[..., 1] - bounds[..., 0]
    azimuths = low[:, 0, None] + size[:, 0, None] * np.linspace(0.0, 1.0, across + 1)
    elevations = low[:, 1, None] + size[:, 1, None] * np.linspace(0.0, 1.0, up + 1)
    return directions(azimuths[:, None, :], elevations[:, :, None]).reshape(len(bounds), -1, 3)


def _tile_faces(across: int, up: int, *, inward: bool) -> NDArray[np.int64]:  # [2 across up, 3]
    """Triangles of one tile. Azimuth grows to the right for who looks at the sphere from outside."""
    corner = (np.arange(up)[:, None] * (across + 1) + np.arange(across)).reshape(-1)
    right, above = corner + 1, corner + across + 1
    lower, upper = np.stack([corner, right, above + 1], axis=1), np.stack([corner, above + 1, above], axis=1)
    faces = np.concatenate([lower, upper])
    return faces[:, ::-1] if inward else faces
