"""Rays through hash-grid radiance fields on the CPU: arrays for the fused kernel of radiance.cpp.

The door, `renderers/radiance.py`, has checked the arguments.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from h3d.renderers.backends import kernels
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import FieldOptions, OccupancyGrid, RenderedRays
from h3d.renderers.radiance import Radiance, RadianceOptions

from .fields import NEVER, march_settings, ready
from .hash_encoding import level_grid


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
    rays = len(origins)
    seen = RenderedRays(
        rgb=torch.empty(rays, 3),
        alpha=torch.empty(rays),
        depth=torch.empty(rays),
        counts=torch.empty(rays, dtype=torch.int32),
        normals=torch.empty(rays, 3) if radiance.normals else None,
    )
    done = kernels().render_radiance(
        _held(field, aabb, radiance.level_mask),
        ready(origins).numpy(),
        ready(directions).numpy(),
        ready(grid.bits).numpy(),
        _settings(aabb, options, radiance),
        spans=None if spans is None else ready(spans).numpy(),
        **{name: getattr(seen, name).numpy() for name in ("rgb", "alpha", "depth", "counts")},
        normals=None if seen.normals is None else seen.normals.numpy(),
        cancel_address=(cancel or NEVER).address,
    )
    if not done:
        raise Cancelled
    if not any(options.background):
        return seen
    return replace(seen, rgb=seen.rgb + (1 - seen.alpha)[:, None] * torch.tensor(options.background))


def _held(field: Radiance, aabb: torch.Tensor, level_mask: int | None):
    mask = (1 << field.encoding.levels) - 1 if level_mask is None else level_mask
    networks = ([ready(matrix).numpy() for matrix in weights] for weights in (field.density_weights, field.rgb_weights))
    return kernels().RadianceField(
        level_grid(field.encoding, mask),
        ready(field.table).numpy(),
        *networks,
        aabb.flatten().tolist(),
        field.rgb_activation == "exponential",
    )


def _settings(aabb: torch.Tensor, options: FieldOptions, radiance: RadianceOptions):
    settings = kernels().RadianceSettings()
    settings.march = march_settings(aabb, options, options.max_samples_per_ray)
    settings.stop = options.stop_transmittance
    settings.smallest_weight = radiance.smallest_weight
    settings.density_threshold = radiance.density_threshold
    return settings
