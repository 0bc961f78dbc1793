"""Radiance fields that nerfstudio's instant-ngp trained, as frozen values: hash table, two networks, occupied cells.

What differs from `hash_grid`: space is contracted (unless the scene is bounded), so that all of it lies in one hash
grid; the colour network reads 16 harmonics of the direction, 15 geometry features and an appearance code; the torch
implementation indexes its table otherwise, has biases, and takes harmonics of (d + 1) / 2 without the alternating
signs, where tiny-cuda-nn takes them of d. Both become the same kernels here: the appearance code is fixed (zeros, as
nerfstudio's evaluation has it) and, with the biases, a column for an input that is always 1.

The field lives in the cube that the finest occupancy grid covers, stretched to the unit cube. What nerfstudio leaves
out at less than `alpha_thre` of opacity is drawn here: thin haze can be a little stronger.
Letters as in `hash_grid`; N the coordinates of nerfstudio's dataparser.
Source: Tancik et al. 2023, "Nerfstudio"; Barron et al. 2022, "Mip-NeRF 360" (contraction, here with the largest norm).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from h3d.renderers import harmonics
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import GRID_BYTES, MAX_CASCADES, MAX_CONE_ANGLE, OccupancyGrid, RenderedRays
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, num_entries
from h3d.renderers.mlp import mlp

from .field_view import WHOLE, FieldView
from .formats.atomic import replacing
from .formats.errors import DAMAGED, FormatError
from .formats.tensors import read_safetensors
from .hash_grid import Weights, occupied
from .hash_grid_view import render_in_world, world_bounds

FORMAT = "h3d nerfstudio field 1"
GEOMETRY_FEATURES = 15
COLOR_INPUTS = 16 + GEOMETRY_FEATURES + 1
_ARRAYS = ("table", "bits", "box", "unit_from_scene", "scene_from_world")
_NETWORKS = ("density_weights", "rgb_weights")


@dataclass(frozen=True, eq=False)
class NerfstudioField:
    """One trained field. All floats are float32 unless said otherwise."""

    encoding: HashGridConfig
    """Its `indexing` says which of nerfstudio's two implementations trained the field."""
    table: torch.Tensor  # [E, F]
    density_weights: Weights  # [H, L * F + 1], ..., [16, H]; the last input is 1
    rgb_weights: Weights  # [H, 16 + 15 + 1], ..., [3, H]; harmonics, geometry features, 1
    bits: torch.Tensor  # [cascades, 128^3 / 8] uint8, which cells are occupied, as in `OccupancyGrid`
    unit_from_scene: torch.Tensor  # [4, 4] float64: N to the cube that the finest grid covers, made the unit cube
    box: torch.Tensor  # [2, 3] the scene's box in the unit cube: all of it, but for boxes that are no cubes
    scene_from_world: torch.Tensor  # [4, 4] float64, a rotation times a scale, and a translation
    contracted: bool
    cone_angle: float
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)  # which way is up in the world
    remark: str = ""

    @property
    def levels(self) -> int:
        """Bits that a view's level mask has a use for."""
        return self.encoding.levels

    @property
    def ngp_from_world(self) -> torch.Tensor:  # [4, 4] float64
        """The world to the unit cube."""
        return self.unit_from_scene @ self.scene_from_world

    @property
    def ngp_scale(self) -> float:
        """Units of the unit cube a unit of the world."""
        return float(torch.linalg.det(self.ngp_from_world[:3, :3]).abs() ** (1 / 3))

    @property
    def aabb(self) -> torch.Tensor:  # [2, 3]
        """The cube that the coarsest grid covers; rays see nothing beyond it."""
        half = 0.5 * 2.0 ** (len(self.bits) - 1)
        return torch.tensor([[0.5 - half] * 3, [0.5 + half] * 3])

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        """The unit cube in the world."""
        return world_bounds(self.ngp_from_world)

    @property
    def grid(self) -> OccupancyGrid:
        """Which cells a ray must not skip."""
        return OccupancyGrid(self.bits, len(self.bits))

    @property
    def radiance(self) -> None:
        """Its networks and its space are not those that a kernel is there for."""
        return None

    @property
    def nbytes(self) -> int:
        tensors = (self.table, *self.density_weights, *self.rgb_weights, self.bits)
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def facts(self) -> dict[str, str]:
        """See `Field`."""
        grid = self.encoding
        weights = sum(w.numel() for w in (*self.density_weights, *self.rgb_weights))
        return {
            "encoding": f"{grid.levels} levels of {grid.features} features, up to 2^{grid.log2_table_size} entries",
            "parameters": f"{self.table.numel() + weights:,}, of which {weights:,} are the networks'",
            "trained by": f"{grid.indexing}'s kernels"
            if grid.indexing == "tiny-cuda-nn"
            else "nerfstudio's torch code",
            "space": f"{'contracted' if self.contracted else 'bounded'}, {len(self.bits)} grids of 128^3 cells",
            "occupied": occupied(self.grid),
        }

    def query(
        self,
        positions: torch.Tensor,  # [P, 3] in the unit cube and around it
        directions: torch.Tensor,  # [P, 3] unit
        *,
        level_mask: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Density [P] per length of the unit cube and sRGB colour [P, 3]; no gradients."""
        with torch.no_grad():
            warped = self.warped(positions)
            inside = ((warped > 0.0) & (warped < 1.0)).all(dim=1)
            # Places outside share one, as nerfstudio's do; their density is 0 below.
            encoded = hash_encode(warped * inside[:, None], self.table, self.encoding, level_mask=level_mask)
            one = torch.ones(len(positions), 1)
            features = mlp(torch.cat([encoded, one], dim=1), self.density_weights)
            density = torch.exp(features[:, 0]) * inside * self._scene_per_unit
            raw = mlp(torch.cat([self.bases(directions), features[:, 1:], one], dim=1), self.rgb_weights)
            return density, torch.sigmoid(raw)

    def bases(self, directions: torch.Tensor) -> torch.Tensor:  # [P, 3] unit -> [P, 16]
        """What the colour network reads of the directions."""
        if self.encoding.indexing == "tiny-cuda-nn":
            return harmonics.basis(directions, 3)
        return _shifted_harmonics(directions)

    def warped(self, positions: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P, 3]
        """The [0, 1]^3 that the encoding takes."""
        if not self.contracted:
            return (positions - self.box[0]) / (self.box[1] - self.box[0])
        matrix = self._scene_from_unit
        scene = positions @ matrix[:3, :3].T + matrix[:3, 3]
        reach = scene.abs().amax(dim=1, keepdim=True)
        far = (2.0 - 1.0 / reach.clamp(min=1.0)) * (scene / reach.clamp(min=1.0))
        return (torch.where(reach < 1.0, scene, far) + 2.0) / 4.0

    @cached_property
    def _scene_from_unit(self) -> torch.Tensor:
        return torch.linalg.inv(self.unit_from_scene).float()

    @cached_property
    def _scene_per_unit(self) -> float:
        """Lengths of N a side of the unit cube: densities are per length of N."""
        return float(1.0 / self.unit_from_scene[0, 0])

    def render(
        self,
        origins: torch.Tensor,  # [R, 3] in the world
        directions: torch.Tensor,  # [R, 3] unit, in the world
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """Colour, alpha and depth of rays, in the world; see `Field`."""
        return render_in_world(self, origins, directions, view, (0.0, 0.0, 0.0), cancel)

    def save(self, path: Path) -> None:
        """Writes the field as one safetensors file with JSON in its header; whole or not at all."""
        header = {"format": FORMAT, "encoding": asdict(self.encoding), "contracted": self.contracted}
        header |= {"cone_angle": self.cone_angle, "up": self.up, "remark": self.remark}
        tensors = {name: getattr(self, name).contiguous() for name in _ARRAYS}
        for name in _NETWORKS:
            tensors |= {f"{name}.{i}": w.contiguous() for i, w in enumerate(getattr(self, name))}
        with replacing(path) as stream:
            stream.write(safetensors.torch.save(tensors, {"h3d": json.dumps(header)}))


def load(path: Path) -> NerfstudioField:
    """The field that `NerfstudioField.save` wrote.

    Raises:
        FormatError: the file is not such a field, is damaged, or its arrays do not fit together.
        OSError: it cannot be read.
    """
    header, tensors = read_safetensors(path, FORMAT)
    try:
        density, rgb = (
            tuple(tensors[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in tensors)))
            for name in _NETWORKS
        )
        x, y, z = (float(value) for value in header["up"])
        field = NerfstudioField(
            encoding=HashGridConfig(**header["encoding"]),
            density_weights=density,
            rgb_weights=rgb,
            **{name: tensors[name] for name in _ARRAYS},
            contracted=bool(header["contracted"]),
            cone_angle=float(header["cone_angle"]),
            up=(x, y, z),
            remark=str(header["remark"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"something is missing or of the wrong kind: {error!r}", DAMAGED) from error
    check_field(path, field)
    return field


def check_field(path: Path, field: NerfstudioField) -> None:
    """Raises: FormatError, where the arrays of a field do not fit together."""
    cascades = min(max(len(field.bits), 1), MAX_CASCADES)
    expected = {"table": (num_entries(field.encoding), field.encoding.features), "bits": (cascades, GRID_BYTES)}
    expected |= {"box": (2, 3), "unit_from_scene": (4, 4), "scene_from_world": (4, 4)}
    for name, shape in expected.items():
        found = tuple(getattr(field, name).shape)
        if found != shape:
            raise FormatError(path, name, f"its shape is {list(found)}, it must be {list(shape)}", DAMAGED)
    chains = {"density_weights": (field.encoding.width + 1, 1 + GEOMETRY_FEATURES), "rgb_weights": (COLOR_INPUTS, 3)}
    for name, (first, last) in chains.items():
        weights: Weights = getattr(field, name)
        sizes = [first, *(w.shape[0] for w in weights)]
        fits = len(weights) > 0 and sizes[-1] == last and all(w.ndim == 2 for w in weights)
        if not fits or any(w.shape[1] != size for w, size in zip(weights, sizes, strict=False)):
            shapes = [list(w.shape) for w in weights]
            raise FormatError(path, name, f"the matrices {shapes} do not lead from {first} to {last} values", DAMAGED)
    arrays = {name: [getattr(field, name)] for name in _ARRAYS} | {name: getattr(field, name) for name in _NETWORKS}
    for name, tensors in arrays.items():
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise FormatError(path, name, "a value is not finite", "the training went astray: take an earlier step")
    if not 0.0 <= field.cone_angle <= MAX_CONE_ANGLE:
        raise FormatError(path, "cone_angle", f"is {field.cone_angle}, must be 0 to {MAX_CONE_ANGLE}", DAMAGED)


def _shifted_harmonics(directions: torch.Tensor) -> torch.Tensor:  # [P, 3] unit -> [P, 16]
    """Nerfstudio's torch code: the polynomials of unit vectors, without alternating signs, at (d + 1) / 2."""
    x, y, z = ((directions + 1.0) / 2.0).unbind(dim=1)
    xx, yy, zz = x * x, y * y, z * z
    polynomials = [
        0.28209479177387814 * torch.ones_like(x),
        0.4886025119029199 * y,
        0.4886025119029199 * z,
        0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        1.0925484305920792 * y * z,
        0.9461746957575601 * zz - 0.31539156525251999,
        1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        0.5900435899266435 * y * (3.0 * xx - yy),
        2.890611442640554 * x * y * z,
        0.4570457994644658 * y * (5.0 * zz - 1.0),
        0.3731763325901154 * z * (5.0 * zz - 3.0),
        0.4570457994644658 * x * (5.0 * zz - 1.0),
        1.445305721320277 * z * (xx - yy),
        0.5900435899266435 * x * (xx - 3.0 * yy),
    ]
    return torch.stack(polynomials, dim=1)
