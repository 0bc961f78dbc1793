"""Looking at a radiance field: crop, slice, level mask, density threshold, normals; in the axes of its data set.

R rays, P points. The world is that of the photos; NGP space is where the field lives (`hash_grid`), or for a field of
another program the space whose unit cube is its box.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import SMALLEST_STEP, FieldOptions, OccupancyGrid, Query, RenderedRays, render_rays
from h3d.renderers.radiance import Radiance, RadianceOptions, render_radiance
from h3d.renderers.threads import one_torch_thread

from .field_view import FieldView

SMALLEST_WEIGHT = 1e-4
"""Samples of a ray that weigh less share a colour: not seen in eight bits."""
QUICK_STOP, QUICK_STRIDE, QUICK_WEIGHT = 1e-2, 2.0, 5e-3
"""While the camera moves: rays end at 1 % of light, steps are twice as long, and faint samples share a colour."""
FAR = 1e9  # any distance in NGP units
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
    @property
    def radiance(self) -> Radiance | None: ...  # as the kernel for hash-grid fields takes it; None = it cannot
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
    with one_torch_thread(), torch.no_grad():
        if view.slice_axis is not None:
            return _slice(field, origins, directions, view, background)
        options = FieldOptions(
            background=background,
            cone_angle=field.cone_angle,
            stride=QUICK_STRIDE if view.quick else 1.0,
            stop_transmittance=max(view.stop_transmittance, QUICK_STOP) if view.quick else view.stop_transmittance,
            max_samples_per_ray=view.max_samples_per_ray,
        )
        spans = _spans(field, origins, directions, view)
        if field.radiance is not None:
            return _fused(field, field.radiance, origins, directions, spans, view, options, cancel)
        query, aabb = _query(field, view), field.aabb
        seen = render_rays(
            query, origins, directions, grid=field.grid, aabb=aabb, spans=spans, options=options, cancel=cancel
        )
        return replace(seen, normals=_normals(query, origins, directions, seen) if view.normals else None)


def _fused(
    field: RadianceField,
    radiance: Radiance,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    spans: torch.Tensor | None,  # [R, 2]
    view: FieldView,
    options: FieldOptions,
    cancel: CancelFlag | None,
) -> RenderedRays:
    """The same of a field that a kernel is there for."""
    more = RadianceOptions(
        level_mask=_levels(field, view),
        density_threshold=view.density_threshold / field.ngp_scale,
        smallest_weight=QUICK_WEIGHT if view.quick else SMALLEST_WEIGHT,
        normals=view.normals,
    )
    # To where the field lies, and back: pictures are put together on the CPU.
    device = radiance.table.device
    rays = (origins.to(device), directions.to(device))
    spans = None if spans is None else spans.to(device)
    seen = render_radiance(radiance, *rays, grid=field.grid, spans=spans, options=options, radiance=more, cancel=cancel)
    return seen.to(origins.device)


def _query(field: RadianceField, view: FieldView) -> Query:
    """The field as the view shows it: levels left out, thin parts gone."""
    threshold, levels = view.density_threshold / field.ngp_scale, _levels(field, view)

    def query(positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        density, rgb = field.query(positions, directions, level_mask=levels)
        return torch.where(density < threshold, 0.0, density), rgb

    return query


def _levels(field: RadianceField, view: FieldView) -> int:
    return view.level_mask & ((1 << field.levels) - 1)


def _spans(
    field: RadianceField,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    view: FieldView,
) -> torch.Tensor | None:  # [R, 2]
    """Where each ray is in the crop box, in NGP units; None where nothing is cropped."""
    low, high = _crop(field, view)
    if not bool(np.isfinite([low, high]).any()):
        return None
    world = torch.linalg.inv(field.ngp_from_world)
    place = origins.double() @ world[:3, :3].T + world[:3, 3]
    along = directions.double() @ world[:3, :3].T
    near, far = torch.zeros(len(place), dtype=torch.float64), torch.full((len(place),), math.inf, dtype=torch.float64)
    for axis in range(3):
        walls = [(float(wall[axis]) - place[:, axis]) / along[:, axis] for wall in (low, high)]
        # A ray along the wall, 0 / 0, is in the box.
        near = torch.maximum(near, torch.minimum(*walls).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf))
        far = torch.minimum(far, torch.maximum(*walls).nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf))
    return torch.stack([near, far.clamp(max=FAR)], dim=1).float()


def _crop(field: RadianceField, view: FieldView) -> tuple[np.ndarray, np.ndarray]:  # [3], [3] in the world
    """Corners of what is drawn. A side that lies on the bounds cuts nothing off: a large scene goes on beyond them."""
    low, high = field.bounds
    share_low, share_high = np.array(view.crop_low), np.array(view.crop_high)
    below = np.where(share_low > 0.0, low + (high - low) * share_low, -np.inf)
    return below, np.where(share_high < 1.0, low + (high - low) * share_high, np.inf)


def _slice(
    field: RadianceField,
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
    inside = (t > 0) & _is_drawn(field, positions, view)
    rows = inside.nonzero()[:, 0]
    alpha, rgb, depth = torch.zeros(len(t)), torch.zeros(len(t), 3), torch.zeros(len(t))
    density, color = _query(field, view)(positions[rows].contiguous(), directions[rows].contiguous())
    alpha[rows] = 1.0 - torch.exp(-density * (SLICE_STEPS * SMALLEST_STEP))
    rgb[rows], depth[rows] = color * alpha[rows, None], t[rows]
    rgb += (1.0 - alpha[:, None]) * torch.tensor(background)
    normals = -torch.sign(away)[:, None] * normal * alpha[:, None] if view.normals else None
    return RenderedRays(rgb, alpha, depth, inside.to(torch.int32), normals=normals)


def _is_drawn(field: RadianceField, positions: torch.Tensor, view: FieldView) -> torch.Tensor:  # [P, 3] -> [P] bool
    """Which places of NGP space lie in the field and in the crop box."""
    world = torch.linalg.inv(field.ngp_from_world)
    placed = positions.double() @ world[:3, :3].T + world[:3, 3]
    low, high = (torch.from_numpy(corner) for corner in _crop(field, view))
    inside = (positions >= field.aabb[0]) & (positions <= field.aabb[1]) & (placed >= low) & (placed <= high)
    return inside.all(dim=1)


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
