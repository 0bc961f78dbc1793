"""Sums along rays whose samples are packed, in torch, and the blending that they make.

Running sums go through all samples in float64 and leave out what came before each ray: to 1e-7 of a ray's own, as long
as no sample counts for more than `OPAQUE`. Nothing is summed by atomics, so that the same samples give the same bits.
R rays, S samples. Mathematics: `cpu/composite.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from h3d.renderers.fields import Samples

OPAQUE = 100.0
"""Optical thickness beyond which nothing changes: exp(-100) is 0 in float32."""


@dataclass(frozen=True)
class Blended:
    """What front-to-back blending makes of the samples' densities."""

    weights: torch.Tensor  # [S] share in the ray; 0 behind where it has stopped
    after: torch.Tensor  # [S] light that is left after the sample
    seen: torch.Tensor  # [S] bool, whether the ray had not stopped before
    light: torch.Tensor  # [R] light that is left after all of the ray's
    used: torch.Tensor  # [R] int32, samples that were seen


def ray_of_each(samples: Samples) -> torch.Tensor:  # [S] int64
    """Which ray each sample is of."""
    return torch.repeat_interleave(samples.ray_counts, output_size=len(samples.t_starts))


def blended(
    density: torch.Tensor,  # [S]
    samples: Samples,
    ray: torch.Tensor,  # [S]
    light: torch.Tensor,  # [R], what comes to the ray's first sample
    stop: float,
) -> Blended:
    """The samples' weights; NaN from a sample that is NaN on, in its own ray."""
    thickness = (density * (samples.t_ends - samples.t_starts)).clamp(max=OPAQUE)
    lost = thickness.isnan()
    passed = torch.where(lost, 0.0, thickness).double()
    before = light[ray] * torch.exp(-_sums_before(passed, samples, ray)).float()
    before = torch.where(_sums_before(lost.double(), samples, ray) > 0.0, torch.nan, before)
    seen = ~(before < stop)
    weights = torch.where(seen, before * -torch.expm1(-thickness), 0.0)
    used = per_ray(seen[:, None].double(), samples)[:, 0]
    after = before * torch.exp(-thickness)
    # What is left after the last sample that was seen: they are the first ones of the ray.
    last = (samples.ray_starts + used.long() - 1).clamp(min=0)
    left = torch.where(used > 0.0, after[last], light) if len(after) > 0 else light
    return Blended(weights, after, seen, left, used.to(torch.int32))


def per_ray(values: torch.Tensor, samples: Samples) -> torch.Tensor:  # [S, C] -> [R, C]
    """The sums of each ray's samples."""
    if len(values) == 0:
        return values.new_zeros(len(samples.ray_counts), values.shape[1])
    return torch.segment_reduce(values, "sum", lengths=samples.ray_counts, axis=0, unsafe=True, initial=0.0)


def sums_behind(values: torch.Tensor, samples: Samples, ray: torch.Tensor) -> torch.Tensor:  # [S] float64, [S] -> [S]
    """For each sample the sum over those behind it in its ray."""
    through = values.cumsum(0)
    ends = samples.ray_starts + samples.ray_counts
    return through[ends[ray] - 1] - through


def _sums_before(values: torch.Tensor, samples: Samples, ray: torch.Tensor) -> torch.Tensor:  # [S] float64 -> [S]
    """For each sample the sum over those before it in its ray."""
    before = values.cumsum(0) - values
    return before - before[samples.ray_starts[ray]]
