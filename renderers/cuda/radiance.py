"""Rays through hash-grid radiance fields on a GPU: the kernels of the encoding, torch's products, in rounds.

What differs from `renderers/cpu/radiance.py`: every sample that weighs anything gets a colour of its own, so that
`smallest_weight` has nothing to save. The door, `renderers/radiance.py`, has checked the arguments.
R rays, S samples, K of them that weigh something.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from h3d.renderers import harmonics
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import FieldOptions, OccupancyGrid, RenderedRays
from h3d.renderers.hash_encoding import hash_encode
from h3d.renderers.mlp import mlp
from h3d.renderers.radiance import Radiance, RadianceOptions

from .march import NEVER
from .rounds import Rounds, rendered_in_parts

SAMPLES = 1 << 19
"""Samples of a round, at least: a GPU needs many at a time."""


def render_radiance(
    field: Radiance,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    *,
    grid: OccupancyGrid,
    aabb: torch.Tensor,  # [2, 3]
    spans: torch.Tensor | None,  # [R, 2]
    options: FieldOptions,
    radiance: RadianceOptions,
    cancel: CancelFlag | None,
) -> RenderedRays:
    """See the door."""
    box = aabb.to(origins.device)
    options = replace(options, samples_per_query=max(options.samples_per_query, SAMPLES))
    with torch.no_grad():
        return rendered_in_parts(
            lambda rounds: _look(field, box, rounds, radiance, cancel or NEVER),
            origins,
            directions,
            grid=grid,
            aabb=aabb,
            spans=spans,
            options=options,
            cancel=cancel,
            channels=6,
        )


def _look(
    field: Radiance, box: torch.Tensor, rounds: Rounds, radiance: RadianceOptions, cancel: CancelFlag
) -> RenderedRays:
    """What the rays of one part see; the sums are of colours and of normals. Raises `Cancelled`."""
    while (samples := rounds.next()) is not None:
        features = _features(field, box, samples.positions, radiance.level_mask)
        density = torch.exp(features[:, 0])
        weights = rounds.blend(torch.where(density < radiance.density_threshold, 0.0, density))
        rows = (weights != 0.0).nonzero()[:, 0]  # NaN too: it gets a colour, and shows.
        values, along = torch.zeros(len(weights), 6, device=weights.device), samples.directions[rows]
        values[rows, :3] = _colors(field, features[rows], along) * weights[rows, None]
        if radiance.normals:
            normals = _normals(field, box, samples.positions[rows], along, radiance.level_mask)
            values[rows, 3:] = normals * weights[rows, None]
        rounds.add(values)
        if cancel.is_set():
            raise Cancelled
    seen = rounds.rendered()
    if not radiance.normals:
        return seen
    return replace(seen, normals=torch.nn.functional.normalize(rounds.sums[:, 3:], dim=1) * seen.alpha[:, None])


def _features(field: Radiance, box: torch.Tensor, positions: torch.Tensor, level_mask: int | None) -> torch.Tensor:
    """The density network's outputs [S, 16] at positions [S, 3]."""
    warped = (positions - box[0]) / (box[1] - box[0])
    return mlp(hash_encode(warped, field.table, field.encoding, level_mask=level_mask), field.density_weights)


def _colors(field: Radiance, features: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:  # [K, 16], [K, 3]
    raw = mlp(torch.cat([features, harmonics.basis(directions, 3)], dim=1), field.rgb_weights)
    return torch.sigmoid(raw) if field.rgb_activation == "logistic" else torch.exp(raw)


def _normals(
    field: Radiance,
    box: torch.Tensor,  # [2, 3]
    positions: torch.Tensor,  # [K, 3]
    directions: torch.Tensor,  # [K, 3]
    level_mask: int | None,
) -> torch.Tensor:  # [K, 3]
    """Against the slope of the density, to the side that the ray comes from; unit, 0 where there is no slope."""
    with torch.enable_grad():
        places = positions.detach().requires_grad_()
        log_density = _features(field, box, places, level_mask)[:, 0]
        (slope,) = torch.autograd.grad(log_density.sum(), places)
    normals = torch.nn.functional.normalize(slope, dim=1, eps=1e-30)
    return torch.where((normals * directions).sum(1, keepdim=True) > 0, -normals, normals)
