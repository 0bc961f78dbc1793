"""Instant-NGP radiance fields as frozen values: hash table, two small networks without biases, occupancy grid.

A field lives in NGP space: the unit cube holds the scene, larger scenes a cube of side `aabb_scale` about its centre;
`ngp_from_world` maps the world of the photos to it. Optical thickness in the grid is density times the finest step.
E entries, F features, L levels, P points, R rays. Density is exp of the first of 16 density features, per unit of NGP
length; colour is logistic of a network of those 16 features and 16 spherical harmonics of the direction, sRGB (exp of
it where instant-ngp learnt from HDR photos: sRGB's curve goes on beyond 1).
Source: Mueller, Evans, Schied, Keller 2022, "Instant Neural Graphics Primitives".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors.torch
import torch

from h3d.renderers import harmonics
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import GRID_CELLS, OccupancyGrid, RenderedRays
from h3d.renderers.hash_encoding import HashGridConfig
from h3d.renderers.mlp import mlp
from h3d.renderers.radiance import Radiance, RgbActivation
from h3d.renderers.threads import one_torch_thread

from .encodings import Encoding, describe, encode, encoding_from, encoding_header, table_shape
from .field_view import WHOLE, FieldView
from .formats.atomic import replacing
from .formats.errors import DAMAGED, FormatError
from .formats.tensors import read_safetensors
from .hash_grid_view import render_in_world, world_bounds

THICKNESS_THRESHOLD = 0.01
DENSITY_FEATURES = 16
FORMAT = "h3d hash grid field 1"

Weights = tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class HashGridField:
    """One trained field. All floats are float32 unless said otherwise."""

    encoding: Encoding
    table: torch.Tensor  # [E, F]
    density_weights: Weights  # [H, encoding.width], ..., [16, H]
    rgb_weights: Weights  # [H, 32], ..., [3, H]
    thickness: torch.Tensor  # [cascades, 128^3] Morton order, optical thickness, below 0 = no camera sees the cell
    aabb: torch.Tensor  # [2, 3] in NGP space
    ngp_from_world: torch.Tensor  # [4, 4] float64, a rotation times a uniform scale, and a translation
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)  # which way is up in the world
    remark: str = ""  # what a person should know of where the field came from, one sentence
    rgb_activation: RgbActivation = "logistic"
    foreign: Mapping[str, Any] = field(default_factory=dict)
    """What an instant-ngp snapshot says beyond all this (`formats.ingp`), kept for when one is written again."""

    @property
    def levels(self) -> int:
        """Bits that a view's level mask has a use for."""
        return self.encoding.levels

    @property
    def facts(self) -> dict[str, str]:
        """See `Field`."""
        cascades = len(self.thickness)
        weights = sum(w.numel() for w in (*self.density_weights, *self.rgb_weights))
        return {
            "encoding": describe(self.encoding),
            "parameters": f"{self.table.numel() + weights:,}, of which {weights:,} are the networks'",
            "space": f"a cube of side {self.aabb_scale:g}, {cascades} grids of 128^3 cells",
            "occupied": occupied(self.grid),
        }

    @property
    def aabb_scale(self) -> float:
        """Side of the cube in NGP space."""
        return float(self.aabb[1, 0] - self.aabb[0, 0])

    @property
    def cone_angle(self) -> float:
        """Growth of the step with the distance; constant steps inside the unit cube."""
        return cone_angle(self.aabb_scale)

    @property
    def nbytes(self) -> int:
        tensors = (self.table, *self.density_weights, *self.rgb_weights, self.thickness)
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        """The unit cube of NGP space in the world: what the scene is about, though it may go on beyond."""
        return world_bounds(self.ngp_from_world)

    @property
    def ngp_scale(self) -> float:
        """NGP units a unit of the world."""
        return float(torch.linalg.det(self.ngp_from_world[:3, :3]).abs() ** (1 / 3))

    @property
    def grid(self) -> OccupancyGrid:
        """Which cells a ray must not skip."""
        return self._grid

    def to(self, device: torch.device) -> HashGridField:
        """The field with its large arrays on `device`, whose backend then answers; rays and pictures stay as they are.

        Files and meshes are made of fields on the CPU.
        """
        if self.table.device == device:
            return self
        moved = {name: tuple(w.to(device) for w in getattr(self, name)) for name in ("density_weights", "rgb_weights")}
        return replace(self, table=self.table.to(device), thickness=self.thickness.to(device), **moved)

    # Packing two million cells takes milliseconds, a picture asks for them at every frame.
    @cached_property
    def _grid(self) -> OccupancyGrid:
        return occupancy(self.thickness)

    @property
    def radiance(self) -> Radiance | None:
        """All but the grid, as the kernel that renders it takes it; None where the encoding is no grid."""
        if not isinstance(self.encoding, HashGridConfig):
            return None
        return Radiance(
            self.encoding, self.table, self.density_weights, self.rgb_weights, self.aabb, self.rgb_activation
        )

    def query(
        self,
        positions: torch.Tensor,  # [P, 3] in NGP space
        directions: torch.Tensor,  # [P, 3] unit
        *,
        level_mask: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Density [P] per unit of NGP length and sRGB colour [P, 3]; no gradients."""
        with torch.no_grad():
            features = self.features(positions, level_mask=level_mask)
            bases = harmonics.basis(directions.to(features.device), 3)
            rgb = rgb_of(features, bases, self.rgb_weights, self.rgb_activation)
            return density_of(features).to(positions.device), rgb.to(positions.device)

    def density(self, positions: torch.Tensor) -> torch.Tensor:  # [P, 3] in NGP space -> [P]
        """Density alone, per unit of NGP length; no gradients."""
        with torch.no_grad():
            return density_of(self.features(positions)).to(positions.device)

    def features(self, positions: torch.Tensor, *, level_mask: int | None = None) -> torch.Tensor:
        """The 16 density features [P, 16] at positions [P, 3] in NGP space, where the field lies."""
        encoded = encode(self.warped(positions).to(self.table.device), self.table, self.encoding, level_mask=level_mask)
        return mlp(encoded, self.density_weights)

    def warped(self, positions: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P, 3]
        """NGP space to the [0, 1]^3 that the encoding takes."""
        return (positions - self.aabb[0]) / (self.aabb[1] - self.aabb[0])

    def render(
        self,
        origins: torch.Tensor,  # [R, 3] in the world
        directions: torch.Tensor,  # [R, 3] unit, in the world
        *,
        view: FieldView = WHOLE,
        background: tuple[float, float, float] = (0.0, 0.0, 0.0),
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """Colour, alpha and depth of rays, in the world; see `Field`."""
        return render_in_world(self, origins, directions, view, background, cancel)

    def save(self, path: Path) -> None:
        """Writes the field as one safetensors file with JSON in its header; whole or not at all."""
        with replacing(path) as stream:
            stream.write(safetensors.torch.save(field_tensors(self), {"h3d": json.dumps(field_header(self))}))


def cone_angle(aabb_scale: float) -> float:
    """Instant-NGP's growth of the marching step with the distance."""
    return 1.0 / 256.0 if aabb_scale > 1.0 else 0.0


def cascades_of(aabb_scale: float) -> int:
    """Grids needed to cover a cube of this side: each doubles the side of the one before."""
    return max(1, 1 + math.ceil(math.log2(aabb_scale)))


def occupancy(thickness: torch.Tensor) -> OccupancyGrid:  # [cascades, 128^3]
    """The cells above Instant-NGP's threshold: 0.01, or the mean of the innermost grid while that is lower."""
    # On one thread: the last bits of a mean depend on how it is split, and cells at the threshold on the last bits.
    with one_torch_thread():
        threshold = min(THICKNESS_THRESHOLD, float(thickness[0].clamp(min=0.0).mean()))
    return OccupancyGrid.from_values(thickness, threshold)


def occupied(grid: OccupancyGrid) -> str:
    """The share of each cascade's cells that a ray must not skip, for a person."""
    set_bits = [int(np.unpackbits(cascade.cpu().numpy()).sum()) for cascade in grid.bits]
    return " / ".join(f"{100 * bits / GRID_CELLS:.2f} %" for bits in set_bits) + " of the cells, finest grid first"


def density_of(features: torch.Tensor) -> torch.Tensor:  # [P, 16] -> [P]
    """Density from the density network's output."""
    return torch.exp(features[:, 0])


def rgb_of(
    features: torch.Tensor,  # [P, 16]
    bases: torch.Tensor,  # [P, 16] harmonics of the unit directions
    weights: Weights,
    activation: RgbActivation = "logistic",
) -> torch.Tensor:  # [P, 3]
    """Colours from density features and directions."""
    raw = mlp(torch.cat([features, bases], dim=1), weights)
    return torch.sigmoid(raw) if activation == "logistic" else torch.exp(raw)


def field_tensors(field: HashGridField) -> dict[str, torch.Tensor]:
    """The field's arrays by the names that its file gives them."""
    tensors = {"table": field.table, "thickness": field.thickness, "aabb": field.aabb}
    tensors["ngp_from_world"] = field.ngp_from_world
    tensors |= {f"density_weights.{i}": w for i, w in enumerate(field.density_weights)}
    tensors |= {f"rgb_weights.{i}": w for i, w in enumerate(field.rgb_weights)}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def field_header(field: HashGridField) -> dict[str, Any]:
    """What a field's file says beside its arrays."""
    header = {"format": FORMAT, "encoding": encoding_header(field.encoding), "up": field.up, "remark": field.remark}
    header["rgb_activation"] = field.rgb_activation
    return header | ({"foreign": dict(field.foreign)} if len(field.foreign) > 0 else {})


def load(path: Path) -> HashGridField:
    """The field that `HashGridField.save` wrote.

    Raises:
        FormatError: the file is not such a field, is damaged, or its arrays do not fit together.
        OSError: it cannot be read.
    """
    header, tensors = read_safetensors(path, FORMAT)
    return field_from(path, header, tensors)


def field_from(path: Path, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> HashGridField:
    """A field of checked arrays."""
    try:
        encoding = encoding_from(header["encoding"])
        named: Callable[[str], Weights] = lambda key: tuple(  # noqa: E731
            tensors[f"{key}.{i}"] for i in range(sum(name.startswith(f"{key}.") for name in tensors))
        )
        field = HashGridField(
            encoding,
            tensors["table"],
            named("density_weights"),
            named("rgb_weights"),
            tensors["thickness"],
            tensors["aabb"],
            tensors["ngp_from_world"],
            _up(header.get("up", (0.0, 0.0, 1.0))),
            str(header.get("remark", "")),
            header.get("rgb_activation", "logistic"),
            dict(header.get("foreign", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"something is missing or of the wrong kind: {error!r}", DAMAGED) from error
    _check(path, field)
    return field


def _up(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _check(path: Path, field: HashGridField) -> None:
    expected = {"table": table_shape(field.encoding), "aabb": (2, 3)}
    expected |= {"ngp_from_world": (4, 4), "thickness": (cascades_of(max(field.aabb_scale, 1.0)), GRID_CELLS)}
    for name, shape in expected.items():
        found = tuple(getattr(field, name).shape)
        if found != shape:
            raise FormatError(path, name, f"its shape is {list(found)}, it must be {list(shape)}", DAMAGED)
    chains = {"density_weights": (field.encoding.width, DENSITY_FEATURES), "rgb_weights": (DENSITY_FEATURES + 16, 3)}
    for name, (first, last) in chains.items():
        weights: Weights = getattr(field, name)
        sizes = [first, *(w.shape[0] for w in weights)]
        fits = len(weights) > 0 and sizes[-1] == last and all(w.ndim == 2 for w in weights)
        if not fits or any(w.shape[1] != size for w, size in zip(weights, sizes, strict=False)):
            shapes = [list(w.shape) for w in weights]
            raise FormatError(path, name, f"the matrices {shapes} do not lead from {first} to {last} values", DAMAGED)
    if field.rgb_activation not in get_args(RgbActivation):
        rule = f"it is {field.rgb_activation!r}, must be one of {', '.join(get_args(RgbActivation))}"
        raise FormatError(path, "rgb_activation", rule, DAMAGED)
