"""Path tracing on the CPU: arrays for the C++ kernels of path_tracer.cpp and surface_inputs.cpp.

The door, `renderers/path_tracer.py`, has checked the arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.backends import kernels
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.path_tracer import (
    SURFACE_INPUTS,
    FirstHits,
    PathOptions,
    Prefixes,
    SurfacePoints,
    Surfaces,
    TracedRays,
    TrainingPaths,
)

from .fields import NEVER, ready

Chance = tuple[int, int, int]
"""Seed, first sample, samples."""


def trace_paths(
    surfaces: Surfaces,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    numbers: torch.Tensor | None,  # [R]
    chance: Chance,
    *,
    options: PathOptions,
    cancel: CancelFlag | None,
) -> TracedRays:
    """See the door."""
    seen = TracedRays(torch.empty(len(origins), 3), _first_hits(len(origins)))
    done = kernels().trace_paths(
        _held(surfaces),
        ready(origins).numpy(),
        ready(directions).numpy(),
        _settings(options, chance),
        seen.rgb.numpy(),
        _first_record(seen.first),
        numbers=_rows(numbers),
        cancel_address=(cancel or NEVER).address,
    )
    if not done:
        raise Cancelled
    return seen


def trace_prefixes(
    surfaces: Surfaces,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    numbers: torch.Tensor | None,  # [R]
    chance: Chance,
    *,
    options: PathOptions,
    cancel: CancelFlag | None,
) -> Prefixes:
    """See the door."""
    rays = len(origins)
    seen = Prefixes(torch.empty(rays, 3), torch.empty(rays, 3), _points(rays), _first_hits(rays))
    done = kernels().trace_prefixes(
        _held(surfaces),
        ready(origins).numpy(),
        ready(directions).numpy(),
        _settings(options, chance),
        seen.rgb.numpy(),
        seen.throughput.numpy(),
        _point_record(seen.points),
        _first_record(seen.first),
        numbers=_rows(numbers),
        cancel_address=(cancel or NEVER).address,
    )
    if not done:
        raise Cancelled
    return seen


def trace_training(
    surfaces: Surfaces,
    origins: torch.Tensor,  # [P, 3]
    directions: torch.Tensor,  # [P, 3]
    cut: tuple[int, int],  # vertices, whole paths
    chance: Chance,
    *,
    options: PathOptions,
    cancel: CancelFlag | None,
) -> TrainingPaths:
    """See the door."""
    paths, (vertices, whole) = len(origins), cut
    found = TrainingPaths(
        _points(paths * (vertices + 1)),
        torch.empty(paths, vertices, 3),
        torch.empty(paths, vertices, 3),
        torch.empty(paths, dtype=torch.int32),
        torch.empty(paths, dtype=torch.bool),
    )
    done = kernels().trace_training(
        _held(surfaces),
        ready(origins).numpy(),
        ready(directions).numpy(),
        _settings(options, chance),
        _point_record(found.points),
        found.gathered.numpy(),
        found.carried.numpy(),
        found.counts.numpy(),
        found.open.view(torch.uint8).numpy(),
        whole=whole,
        cancel_address=(cancel or NEVER).address,
    )
    if not done:
        raise Cancelled
    return found


def surface_inputs(hashed: torch.Tensor, points: SurfacePoints) -> torch.Tensor:  # [N, W] -> [N, W + 27]
    """See the door."""
    return _SurfaceInputs.apply(hashed, points)  # type: ignore[reportReturnType]


class _SurfaceInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hashed: torch.Tensor, points: SurfacePoints) -> torch.Tensor:
        hashed = ready(hashed)
        out = torch.empty(hashed.shape[0], hashed.shape[1] + SURFACE_INPUTS)
        told = (points.directions, points.normals, points.albedo, points.specular, points.roughness)
        kernels().surface_inputs(hashed.numpy(), *(ready(array).numpy() for array in told), out.numpy())
        ctx.width = hashed.shape[1]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        return grad_outputs[0][:, : ctx.width].contiguous(), None


def _held(surfaces: Surfaces):
    return kernels().Surfaces(*(_plain(getattr(surfaces, name)) for name in surfaces.__dataclass_fields__))


def _plain(array: torch.Tensor):
    """As the kernels take it, of its own type."""
    return array.detach().contiguous().numpy()


def _rows(numbers: torch.Tensor | None):
    return None if numbers is None else _plain(numbers)


def _first_hits(rays: int) -> FirstHits:
    # Rays that meet nothing are not written.
    return FirstHits(torch.zeros(rays), torch.zeros(rays, 3), torch.zeros(rays, 3))


def _first_record(first: FirstHits):
    return kernels().FirstHits(first.depth.numpy(), first.normals.numpy(), first.reflectance.numpy())


def _points(rows: int) -> SurfacePoints:
    return SurfacePoints(
        positions=torch.empty(rows, 3),
        directions=torch.empty(rows, 3),
        normals=torch.empty(rows, 3),
        albedo=torch.empty(rows, 3),
        specular=torch.empty(rows, 3),
        roughness=torch.empty(rows),
    )


def _point_record(points: SurfacePoints):
    return kernels().PathVertices(*(getattr(points, name).numpy() for name in points.__dataclass_fields__))


def _settings(options: PathOptions, chance: Chance):
    settings = kernels().PathSettings()
    settings.seed, settings.first_sample, settings.samples = chance
    settings.max_bounces, settings.roulette_from = options.max_bounces, options.roulette_from
    settings.spread, settings.next_event = options.spread, options.next_event
    return settings
