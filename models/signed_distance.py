"""Signed distance fields as frozen values: a hash table and one small network without biases, learnt from a mesh.

A field lives in the unit cube; `asset_from_unit`, a uniform scale and a translation, maps that to the axes of the mesh
it was learnt from, whose units distances are in. Below 0 is inside. It knows distances within `box` only; beyond, the
way to the box is added. E entries, F features, L levels, P points, R rays.
Source: Mueller, Evans, Schied, Keller 2022, "Instant Neural Graphics Primitives", section 5.2.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, num_entries
from h3d.renderers.mlp import mlp

from .field_view import WHOLE, FieldView
from .formats.atomic import replacing
from .formats.errors import DAMAGED, FormatError
from .formats.tensors import read_safetensors
from .signed_distance_view import CoarseDistances, look

FORMAT = "h3d signed distance field 1"
POINTS_AT_ONCE = 1 << 16

Weights = tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class SignedDistanceField:
    """One learnt field. All floats are float32 unless said otherwise."""

    encoding: HashGridConfig
    table: torch.Tensor  # [E, F]
    weights: Weights  # [H, L * F], ..., [1, H]
    box: torch.Tensor  # [2, 3] in the unit cube, where it was learnt
    asset_from_unit: torch.Tensor  # [4, 4] float64, a uniform scale and a translation
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)  # which way is up in the asset's axes
    remark: str = ""  # what a person should know of where the field came from, one sentence

    @property
    def unit_length(self) -> float:
        """Side of the unit cube in the asset's units."""
        return float(self.asset_from_unit[0, 0])

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        """The box in the asset's axes."""
        return self.box.double().numpy() * self.unit_length + self.asset_from_unit[:3, 3].numpy()

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.table, *self.weights))

    @property
    def facts(self) -> dict[str, str]:
        """See `Field`."""
        grid, weights = self.encoding, sum(w.numel() for w in self.weights)
        return {
            "encoding": f"{grid.levels} levels of {grid.features} features, 2^{grid.log2_table_size} entries each",
            "parameters": f"{self.table.numel() + weights:,}, of which {weights:,} are the network's",
        }

    def query(self, points: torch.Tensor) -> torch.Tensor:  # [P, 3] in the asset's axes -> [P]
        """Signed distance in the asset's units; no gradients."""
        placed = self.unit_from_asset(points)
        inside = placed.clamp(self.box[0], self.box[1])
        beyond = (placed - inside).norm(dim=1)
        found = torch.cat([self.unit_distance(part) for part in inside.split(POINTS_AT_ONCE)])
        return (found + beyond) * self.unit_length

    def unit_from_asset(self, points: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P, 3] float32
        """Points of the asset's axes in the unit cube."""
        return ((points.double() - self.asset_from_unit[:3, 3]) / self.unit_length).float()

    def unit_distance(
        self, points: torch.Tensor, *, level_mask: int | None = None
    ) -> torch.Tensor:  # [P, 3] in the unit cube -> [P]
        """Signed distance in the unit cube's units, as learnt; no gradients."""
        with torch.no_grad():
            return self._network(points, level_mask)

    def unit_gradient(
        self, points: torch.Tensor, *, level_mask: int | None = None
    ) -> torch.Tensor:  # [P, 3] in the unit cube -> [P, 3]
        """Slope of the distance: the direction away from the surface, of length 1 where it is learnt well."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            return torch.autograd.grad(self._network(points, level_mask).sum(), points)[0]

    def _network(self, points: torch.Tensor, level_mask: int | None) -> torch.Tensor:
        return mlp(hash_encode(points, self.table, self.encoding, level_mask=level_mask), self.weights)[:, 0]

    # A grid costs as much as a small picture; frames of one field share it.
    @cached_property
    def _coarse(self) -> dict[int, CoarseDistances]:
        return {}

    def coarse(self, level_mask: int) -> CoarseDistances:
        """Distances on a coarse grid with some levels alone; kept for the masks that were asked for last."""
        found = self._coarse.get(level_mask)
        if found is None:
            found = CoarseDistances.of(self, level_mask)
            if len(self._coarse) >= 2:
                self._coarse.clear()
            self._coarse[level_mask] = found
        return found

    def render(
        self,
        origins: torch.Tensor,  # [R, 3] in the asset's axes
        directions: torch.Tensor,  # [R, 3] unit
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """The surface as clay, or a plane of distances; see `Field`."""
        return look(self, origins, directions, view, cancel)

    def save(self, path: Path) -> None:
        """Writes the field as one safetensors file with JSON in its header; whole or not at all."""
        tensors = {"table": self.table, "box": self.box, "asset_from_unit": self.asset_from_unit}
        tensors |= {f"weights.{index}": matrix for index, matrix in enumerate(self.weights)}
        header = {"format": FORMAT, "encoding": asdict(self.encoding), "up": self.up, "remark": self.remark}
        content = {name: tensor.contiguous() for name, tensor in tensors.items()}
        with replacing(path) as stream:
            stream.write(safetensors.torch.save(content, {"h3d": json.dumps(header)}))


def load(path: Path) -> SignedDistanceField:
    """The field that `SignedDistanceField.save` wrote.

    Raises:
        FormatError: the file is not such a field, is damaged, or its arrays do not fit together.
        OSError: it cannot be read.
    """
    header, tensors = read_safetensors(path, FORMAT)
    try:
        count = sum(name.startswith("weights.") for name in tensors)
        x, y, z = (float(value) for value in header["up"])
        field = SignedDistanceField(
            HashGridConfig(**header["encoding"]),
            tensors["table"],
            tuple(tensors[f"weights.{index}"] for index in range(count)),
            tensors["box"],
            tensors["asset_from_unit"],
            (x, y, z),
            str(header["remark"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"something is missing or of the wrong kind: {error!r}", DAMAGED) from error
    _check(path, field)
    return field


def _check(path: Path, field: SignedDistanceField) -> None:
    shapes: dict[str, tuple[Any, ...]] = {"table": (num_entries(field.encoding), field.encoding.features)}
    shapes |= {"box": (2, 3), "asset_from_unit": (4, 4)}
    for name, shape in shapes.items():
        array = getattr(field, name)
        if tuple(array.shape) != shape:
            raise FormatError(path, name, f"its shape is {list(array.shape)}, it must be {list(shape)}", DAMAGED)
        if not bool(torch.isfinite(array).all()):
            raise FormatError(path, name, "a value is NaN or infinite", DAMAGED)
    sizes = [field.encoding.width, *(w.shape[0] for w in field.weights)]
    chained = len(field.weights) > 0 and all(w.ndim == 2 for w in field.weights) and sizes[-1] == 1
    if not chained or any(w.shape[1] != size for w, size in zip(field.weights, sizes, strict=False)):
        shapes_found = [list(w.shape) for w in field.weights]
        rule = f"the matrices {shapes_found} do not lead from {sizes[0]} values to 1"
        raise FormatError(path, "weights", rule, DAMAGED)
    low, high = field.box
    if not bool(((low >= 0.0) & (low < high) & (high <= 1.0)).all()):
        raise FormatError(path, "box", f"{field.box.tolist()} is no box in the unit cube", DAMAGED)
    if not _is_scale(field.asset_from_unit):
        raise FormatError(path, "asset_from_unit", "must be a uniform scale and a translation", DAMAGED)


def _is_scale(matrix: torch.Tensor) -> bool:  # [4, 4]
    scale = matrix[0, 0]
    return bool(scale > 0.0) and bool((matrix[:3, :3] == scale * torch.eye(3, dtype=matrix.dtype)).all())
