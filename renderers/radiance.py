"""The door to rays through hash-grid radiance fields: what `fields.render_rays` sees of such a field, in one kernel.

Density is exp of the first of 16 outputs of the density network, colour the logistic (or exp) of a network of those 16
and the 16 harmonics of the direction. E entries, F features, L levels, R rays; space and rules of the march: `fields`.
Source: Mueller et al. 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, get_args

import torch

from . import backends
from .cancel import CancelFlag
from .fields import (
    FieldOptions,
    OccupancyGrid,
    RenderedRays,
    check_options,
    checked_aabb,
    checked_grid,
    checked_rays,
    checked_spans,
)
from .hash_encoding import HashGridConfig, num_entries
from .shapes import check

DENSITY_FEATURES = 16
HARMONICS = 16

RgbActivation = Literal["logistic", "exponential"]


@dataclass(frozen=True, eq=False)
class Radiance:
    """A field as arrays."""

    encoding: HashGridConfig  # of 3 dimensions
    table: torch.Tensor  # [E, F] float32 or float16
    density_weights: Sequence[torch.Tensor]  # [H, L * F], ..., [16, H]
    rgb_weights: Sequence[torch.Tensor]  # [H, 32], ..., [3, H]
    aabb: torch.Tensor  # [2, 3] the box that the encoding covers
    rgb_activation: RgbActivation = "logistic"
    """What makes colours of the colour network's outputs; exponential for fields that learnt from HDR photos."""


@dataclass(frozen=True)
class RadianceOptions:
    """How `render_radiance` looks at a field, beside what every field has."""

    level_mask: int | None = None
    """Bit l set: level l takes part; None = all do."""
    density_threshold: float = 0.0
    """Density below it counts as none."""
    smallest_weight: float = 1e-4
    """Samples that weigh less in their ray share a colour with the next ones."""
    normals: bool = False
    """Whether normals are worked out: unit vectors against the slope of the density, times alpha."""


PLAIN, AS_IT_IS = FieldOptions(), RadianceOptions()


def render_radiance(
    field: Radiance,
    origins,  # [R, 3]
    directions,  # [R, 3] unit
    *,
    grid: OccupancyGrid,
    spans=None,  # [R, 2] between which distances each ray sees anything; None = all along
    options: FieldOptions = PLAIN,
    radiance: RadianceOptions = AS_IT_IS,
    cancel: CancelFlag | None = None,
    backend: Literal["auto", "cpu", "cuda"] = "auto",
) -> RenderedRays:
    """What the rays see of the field; without gradients. On the CPU the same bits at every number of threads.

    Rays, field and grid lie on one device, where it is worked out; another `backend` than that device's is refused.

    Raises:
        ValueError: an argument has a wrong shape, type or range; the sentence says which.
        Cancelled: `cancel` was set before it was done.
        RuntimeError: the backend does not work on this machine; the sentence says why.
    """
    check_options(options)
    origins, directions = checked_rays(origins, directions)
    _check_field(field)
    if field.table.device != origins.device:
        raise ValueError(
            f"table: it is on {field.table.device}, origins are on {origins.device}; must be on one device"
        )
    _check_radiance(radiance, field.encoding.levels)
    twin = import_module(f"h3d.renderers.{backends.for_device(backend, origins.device)}.radiance")
    return twin.render_radiance(
        field,
        origins,
        directions,
        grid=checked_grid(grid),
        aabb=checked_aabb(field.aabb),
        spans=checked_spans(spans, len(origins)),
        options=options,
        radiance=radiance,
        cancel=cancel,
    )


def _check_field(field: Radiance) -> None:
    if field.encoding.dims != 3:
        raise ValueError(f"encoding: it has {field.encoding.dims} dimensions; a field needs 3")
    if field.rgb_activation not in get_args(RgbActivation):
        raise ValueError(f"rgb_activation: {field.rgb_activation}; must be one of {', '.join(get_args(RgbActivation))}")
    check(field.table, "[E, F]", "table", {"E": num_entries(field.encoding), "F": field.encoding.features})
    if field.table.dtype not in (torch.float32, torch.float16):
        raise ValueError(f"table: it is {field.table.dtype}; must be torch.float32 or torch.float16")
    ends = {
        "density_weights": (field.density_weights, field.encoding.width, DENSITY_FEATURES),
        "rgb_weights": (field.rgb_weights, DENSITY_FEATURES + HARMONICS, 3),
    }
    for name, (weights, inputs, outputs) in ends.items():
        sizes = {"I": inputs}
        for index, matrix in enumerate(weights):
            check(matrix, "[O, I]", f"{name}[{index}]", {"I": sizes["I"]})
            if matrix.dtype != torch.float32:
                raise ValueError(f"{name}[{index}]: it is {matrix.dtype}; must be torch.float32")
            sizes["I"] = int(matrix.shape[0])
        if len(weights) == 0 or sizes["I"] != outputs:
            raise ValueError(f"{name}: they end in {sizes['I']} values; must end in {outputs}")


def _check_radiance(radiance: RadianceOptions, levels: int) -> None:
    if radiance.level_mask is not None and not 0 <= radiance.level_mask < 1 << levels:
        raise ValueError(f"level_mask: {radiance.level_mask}; must have {levels} bits, 0 to {(1 << levels) - 1}")
    if not 0 <= radiance.smallest_weight < 1:
        raise ValueError(f"smallest_weight: {radiance.smallest_weight}; must be at least 0 and below 1")
    if not 0 <= radiance.density_threshold < float("inf"):
        raise ValueError(f"density_threshold: {radiance.density_threshold}; must be finite and 0 or more")
