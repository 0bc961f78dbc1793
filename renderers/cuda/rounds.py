"""Looking along rays in rounds of a few samples each, so that no field is asked for what lies behind opaque places.

All rays of a part have given equally many samples; the fewer are left, the more each gives in the next round.
R rays of the part, L of them live, S samples of a round, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import FieldOptions, OccupancyGrid, RenderedRays, Samples

from .march import march
from .packed import blended, per_ray, ray_of_each

FEWEST = 8
"""Samples that a ray gives in a round, at least, where the field may be asked for so many."""


class Rounds:
    """Some rays on their way; `samples`, `blend` and `add` are called in turn until there are no more samples."""

    def __init__(self, samples: Samples, options: FieldOptions, channels: int) -> None:
        rays, device = len(samples.ray_counts), samples.t_starts.device
        self._all, self._options, self._taken = samples, options, 0
        self.light, self.alpha, self.depth = torch.ones(rays, device=device), *torch.zeros(2, rays, device=device)
        self.counts = torch.zeros(rays, dtype=torch.int32, device=device)
        self.sums = torch.zeros(rays, channels, device=device)
        self._live = samples.ray_counts.nonzero()[:, 0]

    def next(self) -> Samples | None:
        """The next samples of the rays that go on; None when there are none."""
        live = self._live
        if len(live) == 0:
            return None
        each = max(self._options.samples_per_query // len(live), 1)
        counts = (self._all.ray_counts[live] - self._taken).clamp(max=each)
        starts = counts.cumsum(0) - counts
        total = int(counts.sum())
        shift = self._all.ray_starts[live] + self._taken - starts
        rows = torch.arange(total, device=live.device) + shift.repeat_interleave(counts, output_size=total)
        self._taken += each
        every = self._all
        places = (every.positions[rows], every.directions[rows])
        self._samples = Samples(*places, every.t_starts[rows], every.t_ends[rows], starts, counts)
        return self._samples

    def blend(self, density: torch.Tensor) -> torch.Tensor:  # [S] -> [S]
        """The weights of the samples; rays that have become opaque end."""
        live, samples = self._live, self._samples
        part = blended(density, samples, ray_of_each(samples), self.light[live], self._options.stop_transmittance)
        t = 0.5 * (samples.t_starts + samples.t_ends)
        weight, moment = per_ray(torch.stack([part.weights, part.weights * t], dim=1), samples).unbind(1)
        self.alpha[live] += weight
        self.depth[live] += moment
        self.light[live] = part.light
        self.counts[live] += part.used
        self._weighed = live
        go_on = (self._all.ray_counts[live] > self._taken) & ~(part.light < self._options.stop_transmittance)
        self._live = live[go_on]
        return part.weights

    def add(self, values: torch.Tensor) -> None:  # [S, C], multiplied by the weights
        """Adds the samples' values to the sums of their rays."""
        self.sums[self._weighed] += per_ray(values, self._samples)

    def rendered(self) -> RenderedRays:
        """What was seen, of the first three sums as colours."""
        # What a stopped ray would still have met is taken to look like what it has met.
        alpha = torch.where(self.light < self._options.stop_transmittance, 1.0, self.alpha)
        some = torch.where(self.alpha > 0, self.alpha, torch.where(self.alpha.isnan(), torch.nan, torch.inf))
        behind = torch.tensor(self._options.background, device=alpha.device)
        color = self.sums[:, :3] * (alpha / some)[:, None] + (1 - alpha)[:, None] * behind
        return RenderedRays(color, alpha, self.depth / some, self.counts)


def rendered_in_parts(
    look: Callable[[Rounds], RenderedRays],
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    *,
    grid: OccupancyGrid,
    aabb: torch.Tensor,  # [2, 3]
    spans: torch.Tensor | None,  # [R, 2]
    options: FieldOptions,
    cancel: CancelFlag | None,
    channels: int = 3,
) -> RenderedRays:
    """What `look` sees in the rounds of each part of the rays, put together. Raises `Cancelled`, between parts too."""
    rays = max(1, options.samples_per_query // FEWEST)
    seen = []
    for first in range(0, max(len(origins), 1), rays):
        part = slice(first, first + rays)
        samples = march(
            origins[part],
            directions[part],
            grid,
            aabb=aabb,
            options=options,
            jitter=None,
            cancel=cancel,
            spans=None if spans is None else spans[part],
        )
        seen.append(look(Rounds(samples, options, channels)))
    return joined(seen)


def joined(parts: list[RenderedRays]) -> RenderedRays:
    """Rays after rays."""
    rgb, alpha, depth, counts = (torch.cat([getattr(p, n) for p in parts]) for n in ("rgb", "alpha", "depth", "counts"))
    normals = [part.normals for part in parts if part.normals is not None]
    whole = RenderedRays(rgb, alpha, depth, counts)
    return replace(whole, normals=torch.cat(normals)) if len(normals) > 0 else whole
