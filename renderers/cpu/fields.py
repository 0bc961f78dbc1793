"""Volume rendering on the CPU: makes the arrays, hands them to the C++ kernels, and ties the gradient to torch.

The door, `renderers/fields.py`, has checked the arguments; the mathematics is in march.h, composite.h, occupancy.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from h3d.renderers.backends import kernels
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import GRID_BYTES, FieldOptions, OccupancyGrid, Query, RenderedRays, Samples
from h3d.renderers.shapes import check

NEVER = CancelFlag()


def march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    grid: OccupancyGrid,
    *,
    aabb: torch.Tensor,  # [2, 3]
    options: FieldOptions,
    jitter: torch.Tensor | None,  # [R]
    cancel: CancelFlag | None,
) -> Samples:
    """All kept steps of the rays. Raises `Cancelled`."""
    settings = march_settings(aabb, options, options.max_samples_per_ray)
    return _march(ready(origins), ready(directions), ready(grid.bits), settings, cancel or NEVER, jitter=jitter)


def composite(
    density: torch.Tensor,  # [S]
    rgb: torch.Tensor,  # [S, 3]
    samples: Samples,
    *,
    background: torch.Tensor,  # [R, 3] or [3]
    stop_transmittance: float,
) -> RenderedRays:
    """Blends the samples of each ray; differentiable."""
    color, alpha, moment, weights, counts = _Composite.apply(density.float(), rgb.float(), samples, stop_transmittance)
    # The background lets through what the samples leave: autograd carries its gradient to alpha.
    over = color + (1 - alpha)[:, None] * background
    return RenderedRays(over, alpha, _mean_depth(moment, alpha), counts, weights)


def render_rays(
    query: Query,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    *,
    grid: OccupancyGrid,
    aabb: torch.Tensor,  # [2, 3]
    spans: torch.Tensor | None,  # [R, 2]
    options: FieldOptions,
    cancel: CancelFlag | None,
) -> RenderedRays:
    """What the rays see of a field, in rounds. Raises `Cancelled`."""
    cancel = cancel or NEVER
    rays = (ready(origins), ready(directions), ready(grid.bits))
    sums = RaySums.begin(len(origins))
    # In numpy: a round's few thousand rays are too little work for torch's threads.
    steps = np.zeros(len(origins), dtype=np.int32)
    # Each ray to its first sample: most rays of a picture end here.
    _march(*rays, march_settings(aabb, options, 0), cancel, steps=steps, spans=spans)
    waiting = np.flatnonzero(steps >= 0)
    per_round = _samples_per_round(options)
    settings = march_settings(aabb, options, per_round)
    room = _empty_samples(options.samples_per_query)
    live = waiting[:0]
    while len(live) + len(waiting) > 0:
        fresh = options.samples_per_query // per_round - len(live)
        live, waiting = np.concatenate([live, waiting[:fresh]]), waiting[fresh:]
        samples = _march(*rays, settings, cancel, steps=steps, rows=live, spans=spans, room=room)
        density, rgb = _asked(query, samples)
        sums.blend(density, rgb, samples, options.stop_transmittance, cancel, rows=live)
        unfinished = (steps[live] >= 0) & (sums.transmittance.numpy()[live] >= options.stop_transmittance)
        live = live[unfinished & (sums.counts.numpy()[live] < options.max_samples_per_ray)]
    return sums.rendered(options)


def _samples_per_round(options: FieldOptions) -> int:
    """Samples of a ray between two looks at whether it is opaque: at most 8, and a divisor of what it may take."""
    most = min(8, options.samples_per_query)
    return max(n for n in range(1, most + 1) if options.max_samples_per_ray % n == 0)


@dataclass(frozen=True)
class RaySums:
    """What each ray has seen so far; the kernels add to it."""

    rgb: torch.Tensor  # [R, 3]
    alpha: torch.Tensor  # [R]
    depth: torch.Tensor  # [R] sum of w t
    transmittance: torch.Tensor  # [R]
    counts: torch.Tensor  # [R] int32

    @staticmethod
    def begin(rays: int) -> RaySums:
        zeros = torch.zeros(rays)
        counts = torch.zeros(rays, dtype=torch.int32)
        return RaySums(torch.zeros(rays, 3), zeros, zeros.clone(), torch.ones(rays), counts)

    def blend(
        self,
        density: torch.Tensor,  # [S]
        rgb: torch.Tensor,  # [S, 3]
        samples: Samples,
        stop: float,
        cancel: CancelFlag,
        *,
        rows: np.ndarray | None = None,  # [R] the samples' rays here; None = all in order
        weights: torch.Tensor | None = None,  # [S]
    ) -> None:
        """Adds the samples. Raises `Cancelled`."""
        done = kernels().composite(
            *_packed(density, rgb, samples),
            stop,
            *(a.numpy() for a in (self.rgb, self.alpha, self.depth, self.transmittance, self.counts)),
            rows=rows,
            weights=None if weights is None else weights.numpy(),
            cancel_address=cancel.address,
        )
        if not done:
            raise Cancelled

    def rendered(self, options: FieldOptions) -> RenderedRays:
        # What a stopped ray would still have met is taken to look like what it has met. In numpy, see `render_rays`.
        seen = self.alpha.numpy()
        alpha = np.where(self.transmittance.numpy() < options.stop_transmittance, np.float32(1), seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            grown = np.where(seen > 0, alpha / seen, np.float32(0))
            depth = np.where(seen > 0, self.depth.numpy() / seen, np.float32(0))
        background = np.asarray(options.background, dtype=np.float32)
        color = self.rgb.numpy() * grown[:, None] + (1 - alpha)[:, None] * background
        color, alpha, depth = (torch.from_numpy(array) for array in (color, alpha, depth))
        return RenderedRays(color, alpha, depth, self.counts)


class _Composite(torch.autograd.Function):
    """Density and rgb to the sums of w rgb, w, w t, the weights, and how many samples were blended."""

    @staticmethod
    def forward(ctx: Any, density: torch.Tensor, rgb: torch.Tensor, samples: Samples, stop: float) -> Any:
        density, rgb = ready(density), ready(rgb)
        sums = RaySums.begin(len(samples.ray_starts))
        weights = torch.empty_like(density)
        sums.blend(density, rgb, samples, stop, NEVER, weights=weights)
        ctx.save_for_backward(density, rgb, weights, sums.transmittance, sums.counts)
        ctx.samples = samples
        ctx.mark_non_differentiable(sums.counts)
        ctx.set_materialize_grads(False)
        return sums.rgb, sums.alpha, sums.depth, weights, sums.counts

    @staticmethod
    def backward(ctx: Any, *of: torch.Tensor | None) -> Any:
        density, rgb, weights, transmittance, counts = ctx.saved_tensors
        rays = len(transmittance)
        shapes = ((rays, 3), (rays,), (rays,))
        of_sums = [torch.zeros(s) if g is None else ready(g) for g, s in zip(of[:3], shapes, strict=True)]
        to_density, to_rgb = torch.empty_like(density), torch.empty_like(rgb)
        kernels().composite_backward(
            *_packed(density, rgb, ctx.samples),
            *(a.numpy() for a in (weights, transmittance, counts, *of_sums)),
            of_weights=None if of[3] is None else ready(of[3]).numpy(),
            to_density=to_density.numpy(),
            to_rgb=to_rgb.numpy(),
        )
        return to_density, to_rgb, None, None


def pack_bits(values: torch.Tensor, threshold: float) -> torch.Tensor:  # [cascades, 128^3]
    """Bits of the cells above the threshold, pooled into the coarser cascades."""
    bits = torch.empty(len(values), GRID_BYTES, dtype=torch.uint8)
    kernels().pack_bits(ready(values).numpy(), threshold, bits.numpy())
    return bits


def cell_centers(indices: torch.Tensor, cascade: int, jitter: torch.Tensor | None) -> torch.Tensor:  # [P], [P, 3]
    """A point in each cell."""
    centers = torch.empty(len(indices), 3)
    offsets = None if jitter is None else ready(jitter).numpy()
    kernels().cell_centers(ready(indices).numpy(), cascade, offsets, centers.numpy())
    return centers


def march_settings(aabb: torch.Tensor, options: FieldOptions, max_samples: int) -> Any:
    settings = kernels().MarchSettings()
    settings.aabb = aabb.flatten().tolist()
    settings.cone_angle, settings.near_plane, settings.max_samples = options.cone_angle, options.near, max_samples
    settings.stride = options.stride
    return settings


def _march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    bits: torch.Tensor,  # [cascades, 128^3 / 8]
    settings: Any,
    cancel: CancelFlag,
    *,
    jitter: torch.Tensor | None = None,  # [R]
    steps: np.ndarray | None = None,  # [R] int32, moved on
    rows: np.ndarray | None = None,  # [R'] int64, the rays to march; None = all
    spans: torch.Tensor | None = None,  # [R, 2] where each ray is marched; None = all along
    room: tuple[torch.Tensor, ...] | None = None,  # Where to write; None = new arrays
) -> Samples:
    marched = kernels().march(
        origins.numpy(),
        directions.numpy(),
        bits.numpy(),
        settings,
        jitter=None if jitter is None else ready(jitter).numpy(),
        steps=steps,
        rows=rows,
        spans=None if spans is None else ready(spans).numpy(),
        cancel_address=cancel.address,
    )
    if marched is None:
        raise Cancelled
    total, rays = marched.total, len(origins) if rows is None else len(rows)
    runs = [torch.empty(rays, dtype=torch.int64) for _ in range(2)]
    arrays = [array[:total] for array in room or _empty_samples(total)] + runs
    if not marched.write(*(array.numpy() for array in arrays), cancel.address):
        raise Cancelled
    return Samples(*arrays)


def _empty_samples(total: int) -> tuple[torch.Tensor, ...]:
    return torch.empty(total, 3), torch.empty(total, 3), torch.empty(total), torch.empty(total)


def _asked(query: Query, samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    density, rgb = query(samples.positions, samples.directions)
    sizes = {"P": len(samples.positions)}
    check(density, "[P]", "density from query", sizes)
    check(rgb, "[P, 3]", "rgb from query", sizes)
    return ready(density.float()), ready(rgb.float())


def _packed(density: torch.Tensor, rgb: torch.Tensor, samples: Samples) -> tuple[Any, ...]:
    runs = (samples.ray_starts.to(torch.int64), samples.ray_counts.to(torch.int64))
    arrays = (density, rgb, samples.t_starts.float(), samples.t_ends.float(), *runs)
    return tuple(ready(array).numpy() for array in arrays)


def _mean_depth(moment: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:  # [R], [R]
    seen = alpha > 0
    return torch.where(seen, moment / torch.where(seen, alpha, 1.0), 0.0)


def ready(array: torch.Tensor) -> torch.Tensor:
    """As the kernels can read it; a copy only where it must be one."""
    return array.detach().cpu().contiguous()
