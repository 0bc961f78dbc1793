"""Looking at a radiance field: crop, slice, level mask, density threshold, normals; in the axes of its data set.

R rays, P points. The world is that of the photos; NGP space is where the field lives (`hash_grid`), or for a field of
another program the space whose unit cube is its box.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import SMALLEST_STEP, FieldOptions, OccupancyGrid, Query, RenderedRays, render_rays
from h3d.renderers.threads import one_torch_thread

from .field_view import FieldView

QUICK_STOP, QUICK_CONE = 1e-2, 1.0 / 256.0
"""While the camera moves: rays end at 1 % of light, and steps grow with the distance in small scenes too."""
SLICE_STEPS = 16
"""A slice is as opaque as a sheet of the field that is this many of the smallest steps thick."""
NORMAL_STEP = 1.0 / 256.0
"""Half the distance over which the density is compared for normals, in NGP units: half a grid cell."""
SOLID = 0.05  # rays with less alpha have no normal


class RadianceField(Protocol):
    """What a field must have to be looked at so."""

    @property
    def levels(self) -> int: ...
    @property
    def aabb(self) -> torch.Tensor: ...  # [2, 3] in NGP space
    @property
    def ngp_from_world(self) -> torch.Tensor: ...  # [4, 4] float64
    @property
    def ngp_scale(self) -> float: ...
    @property
    def bounds(self) -> np.ndarray: ...  # [2, 3] in the world
    @property
    def cone_angle(self) -> float: ...
    @property
    def grid(self) -> OccupancyGrid: ...
    def query(
        self, positions: torch.Tensor, directions: torch.Tensor, *, level_mask: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


def world_bounds(ngp_from_world: torch.Tensor) -> np.ndarray:  # [4, 4] -> [2, 3]
    """The unit cube of NGP space, which holds what a scene is about, in the world."""
    corners = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]), axis=-1).reshape(-1, 3)
    matrix = np.linalg.inv(ngp_from_world.numpy())
    placed = corners @ matrix[:3, :3].T + matrix[:3, 3]
    return np.stack([placed.min(axis=0), placed.max(axis=0)])


def render_in_world(
    field: RadianceField,
    origins: torch.Tensor,  # [R, 3] in the world
    directions: torch.Tensor,  # [R, 3] unit, in the world
    view: FieldView,
    background: tuple[float, float, float],
    cancel: CancelFlag | None,
) -> RenderedRays:
    """What the rays see, depth and normals in the world too. Raises `Cancelled`."""
    seen = look(field, *rays_to_ngp(field.ngp_from_world, origins, directions), view, background, cancel)
    normals = seen.normals
    if normals is not None:
        normals = normals @ (field.ngp_from_world[:3, :3] / field.ngp_scale).float()
    return replace(seen, depth=seen.depth / field.ngp_scale, normals=normals)


def rays_to_ngp(
    ngp_from_world: torch.Tensor,  # [4, 4]
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
) -> tuple[torch.Tensor, torch.Tensor]:
    """World rays in NGP space, directions unit, float32."""
    matrix = ngp_from_world.to(torch.float64)
    moved = origins.to(torch.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    turned = torch.nn.functional.normalize(directions.to(torch.float64) @ matrix[:3, :3].T, dim=1)
    return moved.float(), turned.float()


def look(
    field: RadianceField,
    origins: torch.Tensor,  # [R, 3] in NGP space
    directions: torch.Tensor,  # [R, 3] unit
    view: FieldView,
    background: tuple[float, float, float],
    cancel: CancelFlag | None,
) -> RenderedRays:
    """What the rays see; depth in NGP units, normals in NGP axes. Raises `Cancelled`."""
    query, aabb = _query(field, view), _aabb(field, view)
    with one_torch_thread(), torch.no_grad():
        if view.slice_axis is not None:
            return _slice(field, query, origins, directions, view, background)
        options = FieldOptions(
            background=background,
            cone_angle=max(field.cone_angle, QUICK_CONE) if view.quick else field.cone_angle,
            stop_transmittance=max(view.stop_transmittance, QUICK_STOP) if view.quick else view.stop_transmittance,
            max_samples_per_ray=view.max_samples_per_ray,
        )
        seen = render_rays(query, origins, directions, grid=field.grid, aabb=aabb, options=options, cancel=cancel)
        if not view.normals:
            return seen
        return replace(seen, normals=_normals(query, origins, directions, seen))


def _query(field: RadianceField, view: FieldView) -> Query:
    """The field as the view shows it: levels left out, thin parts and what lies outside the box gone."""
    cropped, threshold = _is_cropped(view), view.density_threshold / field.ngp_scale
    low, high = (torch.from_numpy(corner).float() for corner in _box(field, view))
    levels = view.level_mask & ((1 << field.levels) - 1)
    world = torch.linalg.inv(field.ngp_from_world).float()

    def query(positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        density, rgb = field.query(positions, directions, level_mask=levels)
        if threshold > 0.0:
            density = torch.where(density < threshold, 0.0, density)
        if cropped:
            placed = positions @ world[:3, :3].T + world[:3, 3]
            density = torch.where(((placed >= low) & (placed <= high)).all(dim=1), density, 0.0)
        return density, rgb

    return query


def _is_cropped(view: FieldView) -> bool:
    return view.crop_low != (0.0, 0.0, 0.0) or view.crop_high != (1.0, 1.0, 1.0)


def _box(field: RadianceField, view: FieldView) -> np.ndarray:  # [2, 3] in the world
    low, high = field.bounds
    return np.stack([low + (high - low) * np.array(view.crop_low), low + (high - low) * np.array(view.crop_high)])


def _aabb(field: RadianceField, view: FieldView) -> torch.Tensor:  # [2, 3] in NGP space
    """Where rays need to be marched: all of the field, or around the box."""
    if not _is_cropped(view):
        return field.aabb
    low, high = _box(field, view)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
    matrix = field.ngp_from_world.numpy()
    placed = torch.from_numpy(corners @ matrix[:3, :3].T + matrix[:3, 3]).float()
    margin = 1e-4
    return torch.stack(
        [
            torch.maximum(placed.amin(dim=0) - margin, field.aabb[0]),
            torch.minimum(placed.amax(dim=0) + margin, field.aabb[1]),
        ]
    )


def _slice(
    field: RadianceField,
    query: Query,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    view: FieldView,
    background: tuple[float, float, float],
) -> RenderedRays:
    """Each ray sees the field where it passes the plane, and nothing else."""
    low, high = field.bounds
    axis = "xyz".index(view.slice_axis or "x")
    height = float(low[axis] + view.slice_at * (high[axis] - low[axis]))
    # The plane n . world = height in NGP axes: a rotation times a scale maps normals as it maps directions.
    matrix = field.ngp_from_world
    normal = (matrix[:3, axis] / field.ngp_scale).float()
    point = (matrix[:3, axis] * height + matrix[:3, 3]).float()
    away = directions @ normal
    t = ((point - origins) @ normal) / torch.where(away.abs() > 1e-6, away, 1e-6)
    positions = origins + t[:, None] * directions
    inside = (t > 0) & ((positions >= field.aabb[0]) & (positions <= field.aabb[1])).all(dim=1)
    rows = inside.nonzero()[:, 0]
    alpha, rgb, depth = torch.zeros(len(t)), torch.zeros(len(t), 3), torch.zeros(len(t))
    density, color = query(positions[rows].contiguous(), directions[rows].contiguous())
    alpha[rows] = 1.0 - torch.exp(-density * (SLICE_STEPS * SMALLEST_STEP))
    rgb[rows], depth[rows] = color * alpha[rows, None], t[rows]
    rgb += (1.0 - alpha[:, None]) * torch.tensor(background)
    normals = None
    if view.normals:
        facing = -torch.sign(away)[:, None] * normal
        normals = facing * alpha[:, None]
    return RenderedRays(rgb, alpha, depth, inside.to(torch.int32), normals=normals)


def _normals(
    query: Query,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    seen: RenderedRays,
) -> torch.Tensor:  # [R, 3]
    """Against the slope of the density at the expected depth, times alpha."""
    normals = torch.zeros_like(origins)
    rows = (seen.alpha > SOLID).nonzero()[:, 0]
    at, along = origins[rows] + seen.depth[rows, None] * directions[rows], directions[rows].contiguous()
    for axis in range(3):
        offset = torch.zeros(3)
        offset[axis] = NORMAL_STEP
        # Of the logarithm: densities of a surface run over decades, and the largest must not speak alone.
        high, low = (query((at + sign * offset).contiguous(), along)[0] for sign in (1.0, -1.0))
        normals[rows, axis] = torch.log(low + 1.0) - torch.log(high + 1.0)
    return torch.nn.functional.normalize(normals, dim=1) * seen.alpha[:, None]
