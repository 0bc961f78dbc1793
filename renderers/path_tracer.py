"""The door to path tracing: scenes of a few dozen spheres and parallelograms that shine, are matt or glossy.

Three tracers share one kind of path, which samples a light and a scattered direction at every vertex and weighs them
against each other: `trace_paths` gives pictures; `trace_prefixes` ends each path where a radiance cache is to be
asked, once it has spread wider than its pixel; `trace_training` says of a path's vertices what such a cache has to
learn. All light is linear. CPU only. R rays, P paths, V vertices of a path, N rows of vertices.
Source: Veach 1997 (light transport, multiple importance sampling); Mueller et al. 2021 (neural radiance caching).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import torch

from .cancel import CancelFlag
from .fields import checked_rays
from .shapes import check

SURFACE_INPUTS = 27
"""Numbers beside the hash features that a cache is told of a point: see `surface_inputs`."""
MAX_BOUNCES = 1024
MIN_ROUGHNESS = 0.05
"""A smoother surface is a mirror, whose light no sample of a lamp can find."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """A scene as arrays. A parallelogram shines on the side that u x v points to, a sphere outwards; all sides scatter.

    A surface scatters albedo of the light evenly (Lambert) and specular of it around the mirror direction (GGX,
    alpha = roughness^2); albedo + specular <= 1, channel by channel.
    """

    spheres: torch.Tensor  # [S, 4] centre, radius
    sphere_materials: torch.Tensor  # [S] int32, rows of the materials
    quads: torch.Tensor  # [Q, 9] corner, sides u and v
    quad_materials: torch.Tensor  # [Q] int32
    materials: torch.Tensor  # [M, 10] albedo, specular, emission (radiance), roughness

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, rule in (
            ("spheres", "[S, 4]"),
            ("sphere_materials", "[S]"),
            ("quads", "[Q, 9]"),
            ("quad_materials", "[Q]"),
            ("materials", "[M, 10]"),
        ):
            check(getattr(self, name), rule, name, sizes)
        for name in ("spheres", "quads", "materials"):
            array = getattr(self, name)
            if array.dtype != torch.float32 or not bool(array.isfinite().all()):
                raise ValueError(f"{name}: must be finite float32")
        for name in ("sphere_materials", "quad_materials"):
            rows = getattr(self, name)
            if rows.dtype != torch.int32 or not bool(((rows >= 0) & (rows < sizes["M"])).all()):
                raise ValueError(f"{name}: must be int32 rows of the {sizes['M']} materials")
        self._check_ranges()

    def _check_ranges(self) -> None:
        if not bool((self.spheres[:, 3] > 0).all()):
            raise ValueError("spheres: a radius is not above 0")
        across = torch.linalg.cross(self.quads[:, 3:6].double(), self.quads[:, 6:9].double()).norm(dim=1)
        if not bool((across > 0).all()):
            raise ValueError("quads: the sides of one are parallel; it has no area")
        scattered = self.materials[:, :3] + self.materials[:, 3:6]
        if not bool((self.materials[:, :9] >= 0).all() and (scattered <= 1 + 1e-6).all()):
            raise ValueError("materials: albedo, specular and emission must be 0 or more, albedo + specular at most 1")
        if not bool(((self.materials[:, 9] >= MIN_ROUGHNESS) & (self.materials[:, 9] <= 1)).all()):
            raise ValueError(f"materials: roughness must be {MIN_ROUGHNESS} to 1")


@dataclass(frozen=True)
class PathOptions:
    """How paths are traced."""

    max_bounces: int = 64
    """Vertices of a path that scatter, at most; the light of longer ones is missing."""
    roulette_from: int = 3
    """Bounce from which on paths of little throughput are ended by chance, without bias."""
    spread: float = 0.01
    """Of a prefix: it ends where it has spread over this share of its pixel's own spread (c of the paper); more asks
    the cache later: less bias, more noise."""
    next_event: bool = True
    """Whether lights are sampled at every vertex, or only met by chance."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_bounces <= MAX_BOUNCES:
            raise ValueError(f"max_bounces {self.max_bounces}: must be 1 to {MAX_BOUNCES}")
        if self.roulette_from < 0:
            raise ValueError(f"roulette_from {self.roulette_from}: must be 0 or more")
        if not 0.0 <= self.spread < float("inf"):
            raise ValueError(f"spread {self.spread}: must be finite and 0 or more")


DEFAULT = PathOptions()


@dataclass(frozen=True)
class FirstHits:
    """What the rays meet first; 0 where they meet nothing."""

    depth: torch.Tensor  # [R] distance along the ray
    normals: torch.Tensor  # [R, 3] towards the eye
    reflectance: torch.Tensor  # [R, 3] albedo + specular


@dataclass(frozen=True)
class SurfacePoints:
    """Places where a cache is asked, and what it is told of them. Directions go to where the light is wanted."""

    positions: torch.Tensor  # [N, 3]
    directions: torch.Tensor  # [N, 3]
    normals: torch.Tensor  # [N, 3]
    albedo: torch.Tensor  # [N, 3]
    specular: torch.Tensor  # [N, 3]
    roughness: torch.Tensor  # [N]

    def __getitem__(self, rows) -> SurfacePoints:
        """Some of them, by anything that picks rows of a tensor."""
        return SurfacePoints(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class TracedRays:
    """Radiance along rays."""

    rgb: torch.Tensor  # [R, 3] linear
    first: FirstHits


@dataclass(frozen=True)
class Prefixes:
    """Paths up to the vertex where the cache is asked: radiance = rgb + throughput * what that vertex scatters."""

    rgb: torch.Tensor  # [R, 3]
    throughput: torch.Tensor  # [R, 3], 0 where there is nothing to ask and the point is a made-up one
    points: SurfacePoints  # [R]
    first: FirstHits


@dataclass(frozen=True)
class TrainingPaths:
    """What the first V vertices of P paths scatter: S_v = gathered_v + carried_v S_(v+1), in expectation.

    Vertex v of path p is row p (V + 1) + v of the points. Past its last vertex a path carries 0. Where `open` is true
    the row after the last holds the vertex whose S is still to be added, by a cache.
    """

    points: SurfacePoints  # [P (V + 1)]
    gathered: torch.Tensor  # [P, V, 3]
    carried: torch.Tensor  # [P, V, 3]
    counts: torch.Tensor  # [P] int32
    open: torch.Tensor  # [P] bool


def trace_paths(
    surfaces: Surfaces,
    origins,  # [R, 3]
    directions,  # [R, 3] unit
    *,
    samples: int = 1,
    first_sample: int = 0,
    seed: int = 0,
    numbers: torch.Tensor | None = None,  # [R] int32
    options: PathOptions = DEFAULT,
    cancel: CancelFlag | None = None,
) -> TracedRays:
    """The mean radiance of `samples` paths a ray, free of bias but for paths longer than `max_bounces`.

    What a ray's paths draw depends on seed, sample and the ray's number alone (none given: its row), so that samples
    0 to 9 are the same in one call or in ten, at every number of threads.

    Raises:
        ValueError: an argument has a wrong shape or range; the sentence says which.
        Cancelled: `cancel` was set before it was done.
    """
    origins, directions = checked_rays(origins, directions)
    _check_chance(samples, first_sample, seed, numbers, len(origins))
    return _twin().trace_paths(
        surfaces, origins, directions, numbers, (seed, first_sample, samples), options=options, cancel=cancel
    )


def trace_prefixes(
    surfaces: Surfaces,
    origins,  # [R, 3]
    directions,  # [R, 3] unit
    *,
    sample: int = 0,
    seed: int = 0,
    numbers: torch.Tensor | None = None,  # [R] int32
    options: PathOptions = DEFAULT,
    cancel: CancelFlag | None = None,
) -> Prefixes:
    """One path a ray, up to where a radiance cache will do; chance and errors as with `trace_paths`."""
    origins, directions = checked_rays(origins, directions)
    _check_chance(1, sample, seed, numbers, len(origins))
    return _twin().trace_prefixes(
        surfaces, origins, directions, numbers, (seed, sample, 1), options=options, cancel=cancel
    )


def trace_training(
    surfaces: Surfaces,
    origins,  # [P, 3]
    directions,  # [P, 3] unit
    *,
    vertices: int,
    whole: int = 0,
    sample: int = 0,
    seed: int = 0,
    options: PathOptions = DEFAULT,
    cancel: CancelFlag | None = None,
) -> TrainingPaths:
    """One path a ray, cut after `vertices` vertices; of the first `whole` paths the rest is traced and gathered too."""
    origins, directions = checked_rays(origins, directions)
    _check_chance(1, sample, seed, None, len(origins))
    if vertices < 1:
        raise ValueError(f"vertices {vertices}: must be 1 or more")
    if not 0 <= whole <= len(origins):
        raise ValueError(f"whole {whole}: must be 0 to the number of paths, {len(origins)}")
    return _twin().trace_training(
        surfaces, origins, directions, (vertices, whole), (seed, sample, 1), options=options, cancel=cancel
    )


def surface_inputs(hashed: torch.Tensor, points: SurfacePoints) -> torch.Tensor:  # [N, W] -> [N, W + 27]
    """What a cache's network is told: hash features of the place, and all else there is to know of the point.

    Nine spherical harmonics of the direction, eight of the normal, the roughness as four bumps, albedo and specular.
    Differentiable in `hashed`. Source: Mueller et al. 2021, table 1, with harmonics in place of one-blob encodings.
    """
    sizes: dict[str, int] = {}
    check(hashed, "[N, W]", "hashed", sizes)
    for name in ("directions", "normals", "albedo", "specular"):
        check(getattr(points, name), "[N, 3]", name, sizes)
    check(points.roughness, "[N]", "roughness", sizes)
    return _twin().surface_inputs(hashed, points)


def _twin():
    return import_module("h3d.renderers.cpu.path_tracer")


def _check_chance(samples: int, first: int, seed: int, numbers: torch.Tensor | None, rays: int) -> None:
    if samples < 1:
        raise ValueError(f"samples {samples}: must be 1 or more")
    if not (0 <= first and first + samples <= 1 << 32):
        raise ValueError(f"sample {first}: must be 0 to 2^32 - 1")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed {seed}: must be 0 to 2^64 - 1")
    if numbers is not None:
        check(numbers, "[R]", "numbers", {"R": rays})
        if numbers.dtype != torch.int32:
            raise ValueError(f"numbers: they are {numbers.dtype}; must be torch.int32")
