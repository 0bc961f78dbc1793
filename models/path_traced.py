"""A path-traced scene as a field: every look is one noisy pass, the mean of passes the picture.

With a cache, paths end where it is asked (`trace_prefixes`): less noise, a little bias, quicker passes. Without one, or
where a view does not want it, they are traced to their ends. Light is linear. R rays.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from h3d.renderers.cameras import Camera, pixel_directions
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays
from h3d.renderers.hash_encoding import HashGridConfig, num_entries
from h3d.renderers.path_tracer import SURFACE_INPUTS, FirstHits, PathOptions, trace_paths, trace_prefixes

from .field_view import WHOLE, FieldView
from .formats.atomic import replacing
from .formats.errors import DAMAGED, FormatError
from .formats.tensors import read_safetensors, write_safetensors
from .radiance_cache import RadianceCache, UnitCube
from .surface_scene import SurfaceScene, read_scene, scene_from

FORMAT = "h3d radiance cache 1"
RAYS_AT_ONCE = 1 << 16
"""Of a pass with a cache: bounds the memory, and lets a cancelled picture end soon."""


@dataclass(frozen=True, eq=False)
class PathTracedScene:
    """A `Field`. Where the view does not say which pass it wants, it is the first."""

    scene: SurfaceScene
    cache: RadianceCache | None = None
    options: PathOptions = PathOptions()
    remark: str = ""

    linear = True
    """Colours are linear light, of any brightness."""

    def passes_of(self, view: FieldView) -> Hashable:
        """Passes of fields with equal values may be added up: of one scene, and of caches of about the same age.

        A cache that has trained twice as long knows better: what the younger one showed is forgotten. Pictures without
        it begin again at the same moment, so that both have had equal time.
        """
        return id(self.scene), view.cached, 0 if self.cache is None else self.cache.step.bit_length()

    @property
    def without_cache(self) -> PathTracedScene:
        """The scene alone."""
        return PathTracedScene(self.scene, options=self.options)

    @property
    def up(self) -> tuple[float, float, float]:
        """Which way is up."""
        return self.scene.up

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        return self.scene.bounds

    @property
    def nbytes(self) -> int:
        surfaces = self.scene.surfaces
        held = sum(tensor.nbytes for tensor in (surfaces.spheres, surfaces.quads, surfaces.materials))
        return held + (0 if self.cache is None else self.cache.nbytes)

    @property
    def facts(self) -> dict[str, str]:
        """See `Field`."""
        surfaces, cache = self.scene.surfaces, self.cache
        facts = {
            "surfaces": f"{len(surfaces.spheres)} spheres, {len(surfaces.quads)} parallelograms",
            "lights": f"{self._lights} of them shine",
        }
        if cache is None:
            return facts
        parameters = cache.table.numel() + sum(matrix.numel() for matrix in cache.weights)
        return facts | {"cache": f"{parameters:,} parameters, {cache.step:,} steps of training"}

    @property
    def _lights(self) -> int:
        surfaces = self.scene.surfaces
        shines = (surfaces.materials[:, 6:9] > 0).any(dim=1)
        return int(shines[surfaces.sphere_materials.long()].sum() + shines[surfaces.quad_materials.long()].sum())

    def render(
        self,
        origins: torch.Tensor,  # [R, 3]
        directions: torch.Tensor,  # [R, 3] unit
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """One pass: linear radiance, any brightness; alpha is 1 where something is met. See `Field`."""
        numbers = ray_numbers(directions)
        if self.cache is None or not view.cached:
            traced = trace_paths(
                self.scene.surfaces,
                origins,
                directions,
                first_sample=view.sample,
                numbers=numbers,
                options=self.options,
                cancel=cancel,
            )
            return _rendered(traced.rgb, traced.first, view)
        parts = [
            self._cached(origins[rows], directions[rows], numbers[rows], view, cancel)
            for rows in (slice(i, i + RAYS_AT_ONCE) for i in range(0, max(len(origins), 1), RAYS_AT_ONCE))
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def mean(
        self,
        origins: torch.Tensor,  # [R, 3]
        directions: torch.Tensor,  # [R, 3] unit
        *,
        first: int,
        samples: int,
        cancel: CancelFlag | None = None,
    ) -> torch.Tensor:  # [R, 3]
        """The mean radiance of passes `first` and on without a cache, in one go."""
        numbers = ray_numbers(directions)
        return trace_paths(
            self.scene.surfaces,
            origins,
            directions,
            samples=samples,
            first_sample=first,
            numbers=numbers,
            options=self.options,
            cancel=cancel,
        ).rgb

    def _cached(
        self,
        origins: torch.Tensor,
        directions: torch.Tensor,
        numbers: torch.Tensor,
        view: FieldView,
        cancel: CancelFlag | None,
    ) -> RenderedRays:
        assert self.cache is not None
        prefixes = trace_prefixes(
            self.scene.surfaces,
            origins,
            directions,
            sample=view.sample,
            numbers=numbers,
            options=self.options,
            cancel=cancel,
        )
        rgb = prefixes.rgb
        asked = torch.nonzero((prefixes.throughput > 0).any(dim=1)).squeeze(1)
        if len(asked) > 0:
            rgb[asked] += prefixes.throughput[asked] * self.cache.scattered(prefixes.points[asked])
        return _rendered(rgb, prefixes.first, view)

    def save(self, path: Path) -> None:
        """Writes scene and cache as one safetensors file; a scene alone is the JSON that it was read from."""
        if self.cache is None:
            with replacing(path) as stream:
                stream.write(self.scene.text.encode())
            return
        cache = self.cache
        header = {
            "format": FORMAT,
            "scene": self.scene.text,
            "encoding": asdict(cache.encoding),
            "cube": asdict(cache.cube),
            "scale": cache.scale,
            "step": cache.step,
            "remark": self.remark,
        }
        tensors = {"table": cache.table} | {f"weights.{i}": matrix for i, matrix in enumerate(cache.weights)}
        with replacing(path) as stream:
            write_safetensors(stream, header, tensors)


def camera_rays(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:  # [H * W, 3], [H * W, 3]
    """Origins and unit directions through the centres of a camera's pixels, row by row."""
    directions = pixel_directions(camera, (0, 0, camera.width, camera.height)).astype(np.float32)
    origins = np.tile(camera.position.astype(np.float32), (len(directions), 1))
    return torch.from_numpy(origins), torch.from_numpy(directions)


def ray_numbers(directions: torch.Tensor) -> torch.Tensor:  # [R, 3] float32 -> [R] int32
    """A number of each ray that its direction alone decides, so that a part of a picture is as it is in the whole."""
    bits = directions.contiguous().view(torch.int32).to(torch.int64)
    mixed = (bits * torch.tensor([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D])).sum(dim=1)
    return (mixed ^ (mixed >> 29)).to(torch.int32)


def read_scene_field(path: Path) -> PathTracedScene:
    """The scene of a `.scene.json`, without a cache. Raises: FormatError, OSError."""
    return PathTracedScene(read_scene(path))


def load(path: Path) -> PathTracedScene:
    """The scene and cache that `save` wrote.

    Raises:
        FormatError: the file is not such a field, is damaged, or its arrays do not fit together.
        OSError: it cannot be read.
    """
    header, tensors = read_safetensors(path, FORMAT)
    try:
        scene = scene_from(path, header["scene"])
        encoding, (x, y, z) = HashGridConfig(**header["encoding"]), header["cube"]["low"]
        count = sum(name.startswith("weights.") for name in tensors)
        cache = RadianceCache(
            encoding,
            tensors["table"],
            tuple(tensors[f"weights.{i}"] for i in range(count)),
            UnitCube((float(x), float(y), float(z)), float(header["cube"]["side"])),
            float(header["scale"]),
            int(header["step"]),
        )
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"something is missing or of the wrong kind: {error!r}", DAMAGED) from error
    _check(path, cache)
    return PathTracedScene(scene, cache, remark=str(header.get("remark", "")))


def _check(path: Path, cache: RadianceCache) -> None:
    expected = (num_entries(cache.encoding), cache.encoding.features)
    if cache.encoding.dims != 3 or tuple(cache.table.shape) != expected:
        rule = f"its shape is {list(cache.table.shape)}, it must be {list(expected)} of a grid in 3 dimensions"
        raise FormatError(path, "table", rule, DAMAGED)
    sizes = [cache.encoding.width + SURFACE_INPUTS, *(int(matrix.shape[0]) for matrix in cache.weights)]
    fits = all(matrix.ndim == 2 for matrix in cache.weights) and len(cache.weights) > 0 and sizes[-1] == 3
    if not fits or any(matrix.shape[1] != size for matrix, size in zip(cache.weights, sizes, strict=False)):
        shapes = [list(matrix.shape) for matrix in cache.weights]
        raise FormatError(path, "weights", f"the matrices {shapes} do not lead from {sizes[0]} to 3 values", DAMAGED)
    if any(tensor.dtype != torch.float32 for tensor in (cache.table, *cache.weights)):
        raise FormatError(path, "arrays", "some are not float32", DAMAGED)
    if not (0.0 < cache.scale < float("inf") and 0.0 < cache.cube.side < float("inf")):
        raise FormatError(path, "header", "scale or cube are not above 0", DAMAGED)


def _rendered(rgb: torch.Tensor, first: FirstHits, view: FieldView) -> RenderedRays:
    met = first.depth > 0
    return RenderedRays(
        rgb=rgb,
        alpha=met.float(),
        depth=first.depth,
        counts=met.to(torch.int32),
        normals=first.normals if view.normals else None,
    )


def _joined(parts: list[RenderedRays]) -> RenderedRays:
    normals = [part.normals for part in parts if part.normals is not None]
    return RenderedRays(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth", "counts")),
        normals=torch.cat(normals) if len(normals) > 0 else None,
    )
