"""What marching cubes ask of fields and of Gaussians: a value above 0 in the solid, and where a surface can be.

A volume has axes of its own, in which its box is even: the unit cube of the fields. B blocks, P points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from h3d.renderers.fields import GRID_SIDE, SMALLEST_STEP, morton_encode

from .field_view import Field
from .gaussian_volume import THRESHOLD, GaussianDensity
from .gaussians import Gaussians
from .hash_grid import THICKNESS_THRESHOLD, HashGridField
from .signed_distance import SignedDistanceField

DENSITY_THRESHOLD = math.exp(2.5)
"""Per length of the unit cube: where Instant-NGP has the surface of a mesh."""
LOG_REACH = 4.0
"""Logarithms of densities are cut this far from the threshold's: what is solid or empty enough is only that."""
DISTANCE_TRUST, DISTANCE_SLACK = 1.3, 0.01
"""A learnt distance may be wrong by this factor, and this much of the unit cube, before a block is overlooked."""
AT_ONCE = 1 << 16

Meshable = Gaussians | Field
"""What may have a surface; which fields do, `volume_of` knows."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One field as marching cubes see it."""

    name: str
    box: np.ndarray  # [2, 3] in the volume's axes
    asset_from_box: np.ndarray  # [4, 4] from the volume's axes to the field's own
    values: Callable[[np.ndarray], np.ndarray]  # [P, 3] float32 -> [P] float32, above 0 in the solid
    occupied: Callable[[np.ndarray, np.ndarray], np.ndarray]  # corners [B, 3], [B, 3] -> [B] bool


def volume_of(
    field: Meshable,
    threshold: float | None,
    crop_low: tuple[float, float, float],
    crop_high: tuple[float, float, float],
) -> Volume:
    """See `MeshingOptions`.

    Raises:
        ValueError: this kind of field has no surface, or the threshold is one that it cannot have.
    """
    if isinstance(field, SignedDistanceField):
        return _of_distances(field, threshold or 0.0, _cropped(field.box.double().numpy(), crop_low, crop_high))
    if isinstance(field, HashGridField):
        low = np.maximum(field.aabb[0].double().numpy(), 0.0)
        high = np.minimum(field.aabb[1].double().numpy(), 1.0)
        return _of_densities(field, threshold, _cropped(np.stack([low, high]), crop_low, crop_high))
    if isinstance(field, Gaussians):
        density = GaussianDensity.of(field)
        return _of_gaussians(density, threshold, _cropped(density.box, crop_low, crop_high))
    kind = type(field).__name__
    raise ValueError(f"a {kind} has no surface to mesh; give Gaussians, a radiance field or a signed distance field")


def _cropped(
    box: np.ndarray, low: tuple[float, float, float], high: tuple[float, float, float]
) -> np.ndarray:  # [2, 3] -> [2, 3]
    return box[0] + (box[1] - box[0]) * np.array([low, high])


def _of_distances(field: SignedDistanceField, threshold: float, box: np.ndarray) -> Volume:
    at = threshold / field.unit_length

    def values(points: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(points).split(AT_ONCE)
        return np.float32(at) - np.concatenate([field.unit_distance(part).numpy() for part in parts])

    def occupied(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        middles = 0.5 * (lows + highs)
        known = np.clip(middles, field.box[0].numpy(), field.box[1].numpy())
        reach = 0.5 * np.linalg.norm(highs - lows, axis=1) + np.linalg.norm(known - middles, axis=1)
        return np.abs(values(known.astype(np.float32))) < DISTANCE_TRUST * reach + DISTANCE_SLACK

    return Volume("the distance field", box, field.asset_from_unit.numpy(), values, occupied)


def _of_densities(field: HashGridField, threshold: float | None, box: np.ndarray) -> Volume:
    matrix = field.ngp_from_world.numpy()
    scale = float(abs(np.linalg.det(matrix[:3, :3])) ** (1 / 3))  # NGP units a unit of the world
    density = DENSITY_THRESHOLD if threshold is None else threshold / scale
    _check_density(density, threshold)
    cells = _solid_cells(field, density)
    level = np.float32(math.log(density))

    def values(points: np.ndarray) -> np.ndarray:
        seen = _cells_at(cells, points)
        out = np.full(len(points), -LOG_REACH, np.float32)
        rows = np.flatnonzero(seen)
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            found = field.density(torch.from_numpy(points[part])).clamp(min=1e-12).log().numpy()
            out[part] = np.clip(found - level, -LOG_REACH, LOG_REACH)
        return out

    def occupied(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        first = np.clip(np.floor(lows * GRID_SIDE).astype(int), 0, GRID_SIDE - 1)
        last = np.clip(np.ceil(highs * GRID_SIDE).astype(int), 1, GRID_SIDE)
        found = [cells[a:d, b:e, c:f].any() for (a, b, c), (d, e, f) in zip(first, last, strict=True)]
        return np.array(found, bool)

    return Volume("the radiance field", box, np.linalg.inv(matrix), values, occupied)


def _of_gaussians(rows: GaussianDensity, threshold: float | None, box: np.ndarray) -> Volume:
    density = THRESHOLD if threshold is None else threshold
    _check_density(density, threshold)
    level = np.float32(math.log(density))

    def values(points: np.ndarray) -> np.ndarray:
        found = np.log(np.maximum(rows.at(points), np.float32(1e-12)))
        return np.clip(found - level, -LOG_REACH, LOG_REACH)

    def occupied(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        return rows.may_reach(lows, highs, density)

    return Volume("the Gaussians", box, np.eye(4), values, occupied)


def _check_density(density: float, threshold: float | None) -> None:
    if not density > 0.0:
        raise ValueError(f"threshold {threshold}: the density at the surface must be above 0")


def _solid_cells(field: HashGridField, density: float) -> np.ndarray:  # [128, 128, 128] bool, axes x y z
    """Cells of the unit cube that may hold the density, and their neighbours.

    What no camera saw and what is empty is not drawn either, whatever the networks make of it.
    """
    from scipy.ndimage import binary_dilation

    least = 0.5 * min(THICKNESS_THRESHOLD, density * SMALLEST_STEP)
    side = torch.arange(GRID_SIDE)
    order = morton_encode(torch.stack(torch.meshgrid(side, side, side, indexing="ij"), dim=-1))
    solid = (field.thickness[0][order] > least).numpy()
    return binary_dilation(solid, np.ones((3, 3, 3), bool))


def _cells_at(cells: np.ndarray, points: np.ndarray) -> np.ndarray:  # [128, 128, 128], [P, 3] -> [P] bool
    x, y, z = np.clip((points * GRID_SIDE).astype(int), 0, GRID_SIDE - 1).T
    return cells[x, y, z]
