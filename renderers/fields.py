"""The door to volume rendering: marching rays through an occupancy grid, and blending what lies on them.

Letters and axes: `h3d.renderers`. All of it happens in a field's unit space: the scene of interest is the cube
[0, 1]^3, cascade c of the grid covers the cube of side 2^c about its centre. Directions are unit vectors, so that t is
a distance. A field is any function `query(positions, directions) -> (density, rgb)`; density is per unit of length.
Source: Max 1995 (the quadrature); Müller et al. 2022, appendix E (grid and steps). The steps are the official code's,
with one difference: a step is represented by its middle, there by its beginning.
All of it happens on the device where the rays, samples or values lie; what else there is comes to them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

from . import backends
from .cancel import CancelFlag
from .shapes import check

GRID_SIDE = 128
"""Cells along each axis of a cascade."""
GRID_CELLS = GRID_SIDE**3
GRID_BYTES = GRID_CELLS // 8
MAX_CASCADES = 8
SMALLEST_STEP = math.sqrt(3) / 1024
"""Length of a step where the cone has not opened it further."""
MAX_CONE_ANGLE = 1.0
MAX_STRIDE = 16.0

Query = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Positions [P, 3] and unit directions [P, 3] to density [P] and rgb [P, 3]."""


@dataclass(frozen=True)
class OccupancyGrid:
    """Which cells of space may hold something. What a cascade holds, the next coarser one must hold too."""

    bits: torch.Tensor  # [cascades, 128^3 / 8] uint8, Morton order, lowest bit first
    cascades: int

    @staticmethod
    def full(cascades: int = 1) -> OccupancyGrid:
        return OccupancyGrid(torch.full((cascades, GRID_BYTES), 255, dtype=torch.uint8), cascades)

    @staticmethod
    def empty(cascades: int = 1) -> OccupancyGrid:
        return OccupancyGrid(torch.zeros(cascades, GRID_BYTES, dtype=torch.uint8), cascades)

    @staticmethod
    def from_values(values, threshold: float) -> OccupancyGrid:  # [cascades, 128^3] float32
        """The cells whose value is above `threshold`."""
        return OccupancyGrid(pack_bits(values, threshold), len(values))


@dataclass(frozen=True)
class Samples:
    """The kept steps of R rays, packed: those of ray r are rows ray_starts[r] up to ray_starts[r] + ray_counts[r]."""

    positions: torch.Tensor  # [S, 3], the middles of the steps
    directions: torch.Tensor  # [S, 3]
    t_starts: torch.Tensor  # [S]
    t_ends: torch.Tensor  # [S]
    ray_starts: torch.Tensor  # [R] int64
    ray_counts: torch.Tensor  # [R] int64


@dataclass(frozen=True)
class RenderedRays:
    """What R rays have seen."""

    rgb: torch.Tensor  # [R, 3], background blended in
    alpha: torch.Tensor  # [R]
    depth: torch.Tensor  # [R] expected distance along the ray, 0 where alpha is 0
    counts: torch.Tensor  # [R] int32, samples blended before the ray stopped
    weights: torch.Tensor | None = None  # [S] share of each sample in its ray; None from `render_rays`
    normals: torch.Tensor | None = None  # [R, 3]

    def to(self, device: torch.device) -> RenderedRays:
        """All arrays on `device`."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        moved = {name: array.to(device) for name, array in arrays.items() if array is not None}
        return RenderedRays(**moved)


@dataclass(frozen=True)
class FieldOptions:
    """How `render_rays` looks at a field."""

    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cone_angle: float = 0.0
    """Growth of the steps with distance; 1/256 for scenes larger than the unit cube, 0 = even steps."""
    near: float = 0.0
    """Distance before which nothing is seen."""
    stride: float = 1.0
    """Length of the steps, in usual ones: 2 sees thin things less exactly, in half the samples."""
    max_samples_per_ray: int = 1024
    stop_transmittance: float = 1e-4
    """A ray that lets less than this through is finished, and counts as opaque."""
    samples_per_query: int = 1 << 16
    """Most samples that a call of the field gets; bounds the memory."""


def march(
    origins,  # [R, 3]
    directions,  # [R, 3] unit
    grid: OccupancyGrid,
    *,
    aabb,  # [2, 3] low and high corner
    cone_angle: float,
    near: float = 0.0,
    max_samples_per_ray: int = 1024,
    jitter=None,  # [R] in [0, 1), shift of each ray's steps in steps
    cancel: CancelFlag | None = None,
) -> Samples:
    """The steps of each ray that lie in occupied cells, from where it enters `aabb` to where it leaves it.

    Raises:
        ValueError: an argument has a wrong shape or range; the sentence says which.
        Cancelled: `cancel` was set before it was done.
    """
    options = FieldOptions(cone_angle=cone_angle, near=near, max_samples_per_ray=max_samples_per_ray)
    check_options(options)
    origins, directions = checked_rays(origins, directions)
    if jitter is not None:
        jitter = torch.as_tensor(jitter).detach().to(torch.float32)
        check(jitter, "[R]", "jitter", {"R": len(origins)})
        if len(jitter) > 0 and not bool(((jitter >= 0) & (jitter <= 1)).all()):
            raise ValueError("jitter: a value lies outside [0, 1]; it shifts a ray's steps by a part of a step")
    return _twin(origins).march(
        origins,
        directions,
        checked_grid(grid),
        aabb=checked_aabb(aabb),
        options=options,
        jitter=jitter,
        cancel=cancel,
    )


def composite(
    density,  # [S]
    rgb,  # [S, 3]
    samples: Samples,
    *,
    background,  # [R, 3] or (3,)
    stop_transmittance: float = 1e-4,
) -> RenderedRays:
    """Blends the samples of each ray front to back over the background.

    All outputs but `counts` are differentiable to density, rgb and background. Samples that come after a ray has
    stopped have weight and gradient 0; what is left of its light then is the background's.

    Raises:
        ValueError: an argument has a wrong shape or range; the sentence says which.
    """
    density, rgb = torch.as_tensor(density), torch.as_tensor(rgb)
    sizes: dict[str, int] = {}
    check(density, "[S]", "density", sizes)
    check(rgb, "[S, 3]", "rgb", sizes)
    for name in ("t_starts", "t_ends"):
        check(getattr(samples, name), "[S]", f"samples.{name}", sizes)
    check(samples.ray_starts, "[R]", "samples.ray_starts", sizes)
    check(samples.ray_counts, "[R]", "samples.ray_counts", sizes)
    background = torch.as_tensor(background, dtype=torch.float32)
    check(background, "[3]" if background.ndim == 1 else "[R, 3]", "background", sizes)
    _check_stop(stop_transmittance)
    return _twin(density).composite(density, rgb, samples, background=background, stop_transmittance=stop_transmittance)


def render_rays(
    query: Query,
    origins,  # [R, 3]
    directions,  # [R, 3] unit
    *,
    grid: OccupancyGrid,
    aabb,  # [2, 3] low and high corner
    spans=None,  # [R, 2] between which distances each ray sees anything; None = all along
    options: FieldOptions = FieldOptions(),
    cancel: CancelFlag | None = None,
) -> RenderedRays:
    """What the rays see of any field; without gradients.

    The rays advance in rounds of a few samples each, those that are done make room for the next, and the field is asked
    for at most `samples_per_query` samples at a time. What `query` is given is overwritten after it returns.

    Raises:
        ValueError: an argument has a wrong shape or range, or `query` gave other shapes; the sentence says which.
        Cancelled: `cancel` was set before it was done.
    """
    check_options(options)
    origins, directions = checked_rays(origins, directions)
    with torch.inference_mode():
        return _twin(origins).render_rays(
            query,
            origins,
            directions,
            grid=checked_grid(grid),
            aabb=checked_aabb(aabb),
            spans=checked_spans(spans, len(origins)),
            options=options,
            cancel=cancel,
        )


def pack_bits(values, threshold: float) -> torch.Tensor:  # [cascades, 128^3] float32 in Morton order
    """Bits of the cells above `threshold`, [cascades, 128^3 / 8]; coarser cascades get what the finer ones hold too."""
    values = torch.as_tensor(values).detach().to(torch.float32)
    check(values, f"[C, {GRID_CELLS}]", "values", {})
    _check_cascades(len(values))
    return _twin(values).pack_bits(values, threshold)


def cell_centers(indices, cascade: int, jitter=None) -> torch.Tensor:  # [P] int64; [P, 3] in [0, 1) or None
    """Centres of cells, [P, 3]; with `jitter` a point in each cell instead, 0 its low and 1 its high corner."""
    indices = torch.as_tensor(indices).to(torch.int64)
    sizes: dict[str, int] = {}
    check(indices, "[P]", "indices", sizes)
    if len(indices) > 0 and not 0 <= int(indices.min()) <= int(indices.max()) < GRID_CELLS:
        raise ValueError(
            f"indices: they run from {int(indices.min())} to {int(indices.max())}; cells are 0 to 128^3 - 1"
        )
    if not 0 <= cascade < MAX_CASCADES:
        raise ValueError(f"cascade: {cascade}; must be 0 to {MAX_CASCADES - 1}")
    if jitter is not None:
        jitter = torch.as_tensor(jitter).to(torch.float32)
        check(jitter, "[P, 3]", "jitter", sizes)
    return _twin(indices).cell_centers(indices, cascade, jitter)


def morton_encode(cells: torch.Tensor) -> torch.Tensor:  # [..., 3] integers x, y, z in [0, 128)
    """Morton index of each cell, int64: bit 3 i is bit i of x, then y, then z."""
    bits = cells.to(torch.int64)
    for shift, mask in zip(MORTON_SHIFTS, MORTON_MASKS[1:], strict=True):
        bits = (bits | bits << shift) & mask
    return bits[..., 0] | bits[..., 1] << 1 | bits[..., 2] << 2


def morton_decode(indices: torch.Tensor) -> torch.Tensor:  # [...] integers
    """Cells x, y, z of Morton indices, [..., 3] int64: the inverse of `morton_encode`."""
    indices = indices.to(torch.int64)
    bits = torch.stack([indices, indices >> 1, indices >> 2], dim=-1) & MORTON_MASKS[-1]
    for shift, mask in zip(reversed(MORTON_SHIFTS), reversed(MORTON_MASKS[:-1]), strict=True):
        bits = (bits | bits >> shift) & mask
    return bits


MORTON_SHIFTS = (8, 4, 2)
MORTON_MASKS = (0x7F, 0x700F, 0x430C3, 0x49249)
"""Seven bits, together and as they move apart by the shifts, until two zeros lie between neighbours."""


def _twin(array: torch.Tensor) -> Any:
    """The implementation for the device where `array` lies."""
    return import_module(f"h3d.renderers.{backends.for_device('auto', array.device)}.fields")


def checked_rays(origins, directions) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as float32 [R, 3]."""
    sizes: dict[str, int] = {}
    origins = torch.as_tensor(origins).detach().to(torch.float32)
    directions = torch.as_tensor(directions).detach().to(torch.float32)
    check(origins, "[R, 3]", "origins", sizes)
    check(directions, "[R, 3]", "directions", sizes)
    # In numpy: its one thread is quicker here than waking torch's.
    places, towards = origins.cpu().numpy(), directions.cpu().numpy()
    unit = np.abs(np.einsum("ri,ri->r", towards, towards) - 1) < 1e-3
    if not unit.all():
        rows = int((~unit).sum())
        raise ValueError(f"directions: {rows} of {len(unit)} are not unit vectors; divide them by their length")
    if not np.isfinite(places).all():
        raise ValueError("origins: a value is NaN or infinite; rays must begin at finite places")
    return origins, directions


def checked_grid(grid: OccupancyGrid) -> OccupancyGrid:
    _check_cascades(grid.cascades)
    check(grid.bits, f"[{grid.cascades}, {GRID_BYTES}]", "grid.bits", {})
    if grid.bits.dtype != torch.uint8:
        raise ValueError(f"grid.bits: they are {grid.bits.dtype}; must be torch.uint8, eight cells a byte")
    return grid


def checked_aabb(aabb) -> torch.Tensor:
    aabb = torch.as_tensor(aabb).detach().to(torch.float32)
    check(aabb, "[2, 3]", "aabb", {})
    if not bool((aabb[0] < aabb[1]).all() & torch.isfinite(aabb).all()):
        raise ValueError(f"aabb: {aabb.tolist()}; must be a finite low corner below a finite high corner")
    return aabb


def checked_spans(spans, rays: int) -> torch.Tensor | None:
    """As float32 [R, 2]."""
    if spans is None:
        return None
    spans = torch.as_tensor(spans).detach().to(torch.float32)
    check(spans, "[R, 2]", "spans", {"R": rays})
    return spans


def _check_cascades(cascades: int) -> None:
    if not 1 <= cascades <= MAX_CASCADES:
        raise ValueError(f"cascades: {cascades}; must be 1 to {MAX_CASCADES}")


def _check_stop(stop: float) -> None:
    if not 0 <= stop < 1:
        raise ValueError(f"stop_transmittance: {stop}; must be at least 0 and below 1")


def check_options(options: FieldOptions) -> None:
    _check_stop(options.stop_transmittance)
    if not 0 <= options.cone_angle <= MAX_CONE_ANGLE:
        raise ValueError(f"cone_angle: {options.cone_angle}; must be 0 to {MAX_CONE_ANGLE}, such as 1/256")
    if not 1 <= options.stride <= MAX_STRIDE:
        raise ValueError(f"stride: {options.stride}; must be 1 to {MAX_STRIDE}, in usual steps")
    if not 0 <= options.near < math.inf:
        raise ValueError(f"near: {options.near}; must be 0 or more")
    for name in ("max_samples_per_ray", "samples_per_query"):
        if not 1 <= getattr(options, name) <= 1 << 24:
            raise ValueError(f"{name}: {getattr(options, name)}; must be 1 to 2^24")
