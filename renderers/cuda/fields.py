"""Volume rendering on a GPU in torch: names, signatures and meaning of `renderers/cpu/fields.py`.

The functions work on any device that torch has, which is how they are tested. The door, `renderers/fields.py`, has
checked the arguments. R rays, S samples, P cells.
"""

from __future__ import annotations

from typing import Any

import torch

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import (
    GRID_BYTES,
    GRID_CELLS,
    GRID_SIDE,
    FieldOptions,
    OccupancyGrid,
    Query,
    RenderedRays,
    Samples,
    morton_decode,
    morton_encode,
)
from h3d.renderers.shapes import check

from .march import NEVER, march
from .packed import blended, per_ray, ray_of_each, sums_behind
from .rounds import Rounds, rendered_in_parts

__all__ = ["cell_centers", "composite", "march", "pack_bits", "render_rays"]


def composite(
    density: torch.Tensor,  # [S]
    rgb: torch.Tensor,  # [S, 3]
    samples: Samples,
    *,
    background: torch.Tensor,  # [R, 3] or [3]
    stop_transmittance: float,
) -> RenderedRays:
    """Blends the samples of each ray; differentiable."""
    _check_packed(samples)
    color, alpha, moment, weights, counts = _Composite.apply(density.float(), rgb.float(), samples, stop_transmittance)
    # The background lets through what the samples leave: autograd carries its gradient to alpha.
    over = color + (1 - alpha)[:, None] * background.to(color.device)
    seen = alpha > 0
    depth = torch.where(seen, moment / torch.where(seen, alpha, 1.0), 0.0)
    return RenderedRays(over, alpha, depth, counts, weights)


def _check_packed(samples: Samples) -> None:
    ends = samples.ray_counts.cumsum(0)
    gaps = (ends - samples.ray_counts != samples.ray_starts).sum() + (ends[-1:] != len(samples.t_starts)).sum()
    if int(gaps) > 0:
        raise ValueError("samples: a ray's do not begin where those of the ray before end; cuda takes packed ones only")


class _Composite(torch.autograd.Function):
    """Density and rgb to the sums of w rgb, w, w t, the weights, and how many samples were blended."""

    @staticmethod
    def forward(ctx: Any, density: torch.Tensor, rgb: torch.Tensor, samples: Samples, stop: float) -> Any:
        ray = ray_of_each(samples)
        part = blended(density, samples, ray, torch.ones(len(samples.ray_counts), device=density.device), stop)
        t = 0.5 * (samples.t_starts + samples.t_ends)
        values = torch.cat([rgb, torch.ones_like(rgb[:, :1]), t[:, None]], dim=1)
        color, alpha, moment = per_ray(part.weights[:, None] * values, samples).split((3, 1, 1), dim=1)
        ctx.save_for_backward(rgb, part.weights, part.after, part.seen, ray)
        ctx.samples = samples
        ctx.mark_non_differentiable(part.used)
        ctx.set_materialize_grads(False)
        return color, alpha[:, 0], moment[:, 0], part.weights, part.used

    @staticmethod
    def backward(ctx: Any, *of: torch.Tensor | None) -> Any:
        rgb, weights, after, seen, ray = ctx.saved_tensors
        samples = ctx.samples
        of_color, of_alpha, of_moment, of_weights, _ = of
        slope = torch.zeros_like(weights) if of_weights is None else of_weights
        if of_color is not None:
            slope = slope + (of_color[ray] * rgb).sum(1)
        if of_alpha is not None:
            slope = slope + of_alpha[ray]
        if of_moment is not None:
            slope = slope + of_moment[ray] * (0.5 * (samples.t_starts + samples.t_ends))
        behind = sums_behind((slope * weights).double(), samples, ray).float()
        to_density = torch.where(seen, (samples.t_ends - samples.t_starts) * (after * slope - behind), 0.0)
        to_rgb = torch.zeros_like(rgb) if of_color is None else weights[:, None] * of_color[ray]
        return to_density, to_rgb, None, None


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

    def look(rounds: Rounds) -> RenderedRays:
        while (samples := rounds.next()) is not None:
            density, rgb = query(samples.positions, samples.directions)
            sizes = {"P": len(samples.positions)}
            check(density, "[P]", "density from query", sizes)
            check(rgb, "[P, 3]", "rgb from query", sizes)
            rounds.add(rounds.blend(density.float())[:, None] * rgb.float())
            if (cancel or NEVER).is_set():
                raise Cancelled
        return rounds.rendered()

    return rendered_in_parts(
        look, origins, directions, grid=grid, aabb=aabb, spans=spans, options=options, cancel=cancel
    )


def pack_bits(values: torch.Tensor, threshold: float) -> torch.Tensor:  # [cascades, 128^3]
    """Bits of the cells above the threshold, pooled into the coarser cascades."""
    # The CPU's kernel has the threshold in float32.
    held = values > torch.tensor(threshold, dtype=torch.float32, device=values.device)
    side = GRID_SIDE // 4
    octants = torch.tensor([[x, y, z] for z in (1, 2) for y in (1, 2) for x in (1, 2)], device=values.device) * side
    run = GRID_CELLS // 64  # An octant of the finer cube is one run of cells of the coarser one.
    cells = morton_encode(octants)[:, None] + torch.arange(run, device=values.device)
    for cascade in range(len(held) - 1):
        held[cascade + 1, cells] |= held[cascade].view(8, run, 8).any(-1)
    powers = 2 ** torch.arange(8, device=values.device)
    return (held.view(len(held), GRID_BYTES, 8) * powers).sum(-1).to(torch.uint8)


def cell_centers(indices: torch.Tensor, cascade: int, jitter: torch.Tensor | None) -> torch.Tensor:  # [P], [P, 3]
    """A point in each cell."""
    inside = 0.5 if jitter is None else jitter
    return (0.5 - 0.5 * 2.0**cascade) + 2.0**cascade / GRID_SIDE * (morton_decode(indices).float() + inside)
