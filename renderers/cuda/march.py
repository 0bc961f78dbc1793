"""Marching rays through the occupancy grid in torch: which steps of each ray lie in cells that hold something.

The steps of a ray stand on a lattice: all of them are tested at once, rays by steps, where the CPU walks over what is
empty. Which are kept is said in `cpu/march.h`. R rays, S samples, K steps.
"""

from __future__ import annotations

import math

import torch

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import (
    GRID_CELLS,
    GRID_SIDE,
    SMALLEST_STEP,
    FieldOptions,
    OccupancyGrid,
    Samples,
    morton_encode,
)

LARGEST_STEP = math.sqrt(3)
NEVER = CancelFlag()
TESTED = 1 << 22
"""Steps that are tested at once; bounds the memory."""


def march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    grid: OccupancyGrid,
    *,
    aabb: torch.Tensor,  # [2, 3]
    options: FieldOptions,
    jitter: torch.Tensor | None,  # [R]
    cancel: CancelFlag | None,
    spans: torch.Tensor | None = None,  # [R, 2]
) -> Samples:
    """All kept steps of the rays. Raises `Cancelled`."""
    lattice = StepLattice(options.cone_angle, options.stride)
    enter, leave = _clipped(origins, directions, grid.cascades, aabb, options.near, spans)
    first = lattice.n_of(enter) + (0.0 if jitter is None else jitter.double())
    met = leave > -math.inf
    # One more for the step that a ray is in the midst of, one for rounding.
    steps = torch.where(met, (lattice.n_of(leave) - first).clamp(min=0.0).ceil() + 2.0, 0.0)
    most = int(steps.max()) if len(steps) > 0 else 0
    rays = max(1, TESTED // max(most, 1))
    bits = grid.bits.to(origins.device)
    found: list[tuple[torch.Tensor, ...]] = []
    for begin in range(0, max(len(origins), 1), rays):
        if (cancel or NEVER).is_set():
            raise Cancelled
        part = slice(begin, begin + rays)
        ends = (first[part], leave[part])
        found.append(_kept(origins[part], directions[part], *ends, most, lattice, bits, options.max_samples_per_ray))
    t_starts, t_ends, counts = (torch.cat(column) for column in zip(*found, strict=True))
    ray = torch.repeat_interleave(counts, output_size=len(t_starts))
    t = 0.5 * (t_starts + t_ends)
    along = directions[ray]
    return Samples(origins[ray] + t[:, None] * along, along, t_starts, t_ends, counts.cumsum(0) - counts, counts)


class StepLattice:
    """Where steps begin: t(n) and its inverse, float64; linear, exponential, linear (`cpu/march.h`)."""

    def __init__(self, cone_angle: float, stride: float) -> None:
        # The kernels take settings in float32.
        cone, self.stride = float(torch.tensor(cone_angle, dtype=torch.float32)), stride
        self.power = math.log1p(cone)
        if self.power > 0.0:
            self.t_low, self.t_high = SMALLEST_STEP / self.power, LARGEST_STEP / self.power
            self.n_low, self.n_high = math.log(self.t_low) / self.power, math.log(self.t_high) / self.power

    def t_of(self, n: torch.Tensor) -> torch.Tensor:
        n = n * self.stride
        if self.power == 0.0:
            return n * SMALLEST_STEP
        low = self.t_low + (n - self.n_low) * SMALLEST_STEP
        high = self.t_high + (n - self.n_high) * LARGEST_STEP
        middle = torch.exp(n.clamp(self.n_low, self.n_high) * self.power)
        return torch.where(n <= self.n_low, low, torch.where(n <= self.n_high, middle, high))

    def n_of(self, t: torch.Tensor) -> torch.Tensor:
        if self.power == 0.0:
            return t / (SMALLEST_STEP * self.stride)
        low = self.n_low + (t - self.t_low) / SMALLEST_STEP
        high = self.n_high + (t - self.t_high) / LARGEST_STEP
        middle = torch.log(t.clamp(self.t_low, self.t_high)) / self.power
        return torch.where(t <= self.t_low, low, torch.where(t <= self.t_high, middle, high)) / self.stride


def _clipped(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    cascades: int,
    aabb: torch.Tensor,  # [2, 3]
    near: float,
    spans: torch.Tensor | None,  # [R, 2]
) -> tuple[torch.Tensor, torch.Tensor]:  # [R], [R] float64
    """Where each ray enters the box and the outermost cascade and where it leaves them: 0 and -inf where it misses."""
    half = 2.0 ** (cascades - 2)
    low = aabb[0].double().clamp(min=0.5 - half).to(origins.device)
    high = aabb[1].double().clamp(max=0.5 + half).to(origins.device)
    place, along = origins.double(), directions.double()
    flat = along == 0.0
    walls = (torch.stack([low, high])[:, None] - place) / torch.where(flat, 1.0, along)
    # A ray along a wall is between it and the other one all the way, or never.
    between = (low <= place) & (place <= high)
    nearer = torch.where(flat, -math.inf, walls.amin(0)).amax(1)
    farther = torch.where(flat, torch.where(between, math.inf, -math.inf), walls.amax(0)).amin(1)
    enter, leave = nearer.clamp(min=near), farther
    if spans is not None:
        enter, leave = torch.maximum(enter, spans[:, 0].double()), torch.minimum(leave, spans[:, 1].double())
    met = (enter < leave) & torch.isfinite(enter + leave)
    return torch.where(met, enter, 0.0), torch.where(met, leave, -math.inf)


def _kept(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    first: torch.Tensor,  # [R] float64, where on the lattice each ray's steps begin
    leave: torch.Tensor,  # [R] float64
    steps: int,
    lattice: StepLattice,
    bits: torch.Tensor,  # [cascades, 128^3 / 8]
    most: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # [S], [S], [R]
    """Begin and end of the steps in occupied cells, ray after ray, and how many each ray has."""
    borders = lattice.t_of(first[:, None] + torch.arange(steps + 1, device=first.device))
    t_starts, t_ends = borders[:, :-1], borders[:, 1:]
    middle = 0.5 * (t_starts + t_ends)
    kept = (middle < leave[:, None]) & _is_occupied(origins, directions, middle, t_ends - t_starts, bits)
    if most < steps:
        kept &= kept.cumsum(1) <= most
    return t_starts[kept].float(), t_ends[kept].float(), kept.sum(1)


def _is_occupied(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    t: torch.Tensor,  # [R, K] float64
    size: torch.Tensor,  # [R, K] of the steps
    bits: torch.Tensor,  # [cascades, 128^3 / 8]
) -> torch.Tensor:  # [R, K] bool
    """Whether the cell is set in the finest cascade that holds a place and whose cells are not below half its step."""
    axes = range(3)
    away = [origins[:, axis, None].double() + t * directions[:, axis, None].double() - 0.5 for axis in axes]
    reach = torch.maximum(torch.maximum(away[0].abs(), away[1].abs()), away[2].abs())
    cascade = torch.zeros(t.shape, dtype=torch.int64, device=t.device)
    for finer in range(len(bits) - 1):
        # A step that is longer than half a cell belongs to a coarser cascade.
        cascade += (reach >= 0.5 * 2.0**finer) | (size >= 0.5 / GRID_SIDE * 2.0**finer)
    cells = torch.ldexp(torch.full_like(t, GRID_SIDE), -cascade)
    index = torch.stack([(cells * a + 0.5 * GRID_SIDE).clamp(0, GRID_SIDE - 1) for a in away], dim=-1)
    cell = morton_encode(index) + GRID_CELLS * cascade
    return (bits.flatten()[cell >> 3] >> (cell & 7) & 1).bool()
