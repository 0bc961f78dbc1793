"""Leaving samples out before the costly part of a step: those too many, those behind what is opaque.

R rays, S samples. Everything keeps the samples packed, ray after ray.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from h3d.renderers.fields import Samples

CROWDED = 64
"""Samples of a ray, on average, from which on they are thinned out."""


def thinned(samples: Samples, generator: torch.Generator) -> Samples:
    """One sample of each `stride` neighbours, with the length of all, where rays have more than `CROWDED` on average.

    Before the occupancy grid knows anything, this lets a step see more rays.
    """
    hit = int((samples.ray_counts > 0).sum())
    stride = int(samples.positions.shape[0] / (CROWDED * max(hit, 1)))
    if stride <= 1:
        return samples
    within = _places(samples)
    phase = int(torch.randint(stride, (), generator=generator))
    counts = (samples.ray_counts - phase + stride - 1).div(stride, rounding_mode="floor").clamp(min=0)
    thin = chosen(samples, (within % stride == phase).nonzero()[:, 0], counts)
    middle, half = 0.5 * (thin.t_starts + thin.t_ends), 0.5 * stride * (thin.t_ends - thin.t_starts)
    return replace(thin, t_starts=middle - half, t_ends=middle + half)


def bounded(samples: Samples, limit: int) -> Samples:
    """The first rays, as many as have at most `limit` samples together: a grid that fills at once is no surprise."""
    if samples.positions.shape[0] <= limit:
        return samples
    ends = samples.ray_starts + samples.ray_counts
    rays = int((ends <= limit).sum())
    rows = torch.arange(int(ends[rays - 1]) if rays > 0 else 0, device=ends.device)
    return chosen(samples, rows, samples.ray_counts[:rays])


def kept(samples: Samples, counts: torch.Tensor) -> Samples:  # [R] -> the first counts[r] samples of each ray r
    """The samples without those behind."""
    counts = counts.to(samples.ray_counts.dtype)
    total = samples.positions.shape[0]
    rows = (_places(samples) < counts.repeat_interleave(samples.ray_counts, output_size=total)).nonzero()[:, 0]
    return chosen(samples, rows, counts)


def _places(samples: Samples) -> torch.Tensor:  # [S] int64
    """Which of its ray's samples each one is, counted from 0."""
    total = samples.positions.shape[0]
    starts = samples.ray_starts.repeat_interleave(samples.ray_counts, output_size=total)
    return torch.arange(total, device=starts.device) - starts


def chosen(samples: Samples, rows: torch.Tensor, counts: torch.Tensor) -> Samples:  # [K], [R]
    """The samples of these rows, in order; `counts` says how many of each ray there are."""
    return Samples(
        positions=samples.positions[rows],
        directions=samples.directions[rows],
        t_starts=samples.t_starts[rows],
        t_ends=samples.t_ends[rows],
        ray_starts=torch.cumsum(counts, 0) - counts,
        ray_counts=counts,
    )
