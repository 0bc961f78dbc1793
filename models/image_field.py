"""Instant-NGP image fields as frozen values: a 2D hash table and a small network without biases, for one picture.

A picture of W x H pixels stands in 3D as the plane z = 0, x from 0 to W / H, y from 0 (its top) to 1: a camera that
looks along +z sees it upright. The encoding's unit square is the square of side max(W, H) at the picture's top left.
The network gives codes: sRGB, or for HDR pictures those of `light`, whose inverse is then applied.

A pixel that sees many pixels of the picture must get their mean. The mean of what a level of the grid says, over a
footprint far wider than its cells, says nothing about the place; so levels fade out as the footprint grows beyond their
cells (`level_weights`), and the trainer teaches the network what the means of squares of 2^s pixels are, up to
2^coarsest, with the levels faded in the same way. One query a pixel then is enough at every scale, and still pictures
do not shimmer. Footprints are widths in pixels of the picture. P points, R rays, E entries, L levels, F features.
Source: Mueller, Evans, Schied, Keller 2022, section 5.1; fading after Barron et al. 2023 (Zip-NeRF), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, layout, num_entries
from h3d.renderers.mlp import mlp

from .field_view import WHOLE, FieldView
from .formats.atomic import replacing
from .formats.errors import DAMAGED, FormatError
from .formats.tensors import read_safetensors, write_safetensors
from .image_view import look, rows_in_turn
from .light import light_of

FORMAT = "h3d image field 1"
FADE_OCTAVES = 2.0
"""Doublings of the footprint, beyond a level's cell, over which the level fades out."""


@dataclass(frozen=True, eq=False)
class ImageField:
    """One learnt picture. Tensors are float32."""

    encoding: HashGridConfig
    table: torch.Tensor  # [E, F]
    weights: tuple[torch.Tensor, ...]  # [H, L * F], [H, H], [3, H]
    width: int
    height: int
    hdr: bool = False  # whether colours are linear light without a bound
    coarsest: int = 0  # means of up to 2^coarsest pixels a side were learnt
    remark: str = ""  # what a person should know of where the field came from, one sentence

    @property
    def linear(self) -> bool:
        """Whether `render` gives linear light, to be exposed and brought to sRGB by whoever shows it."""
        return self.hdr

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        return np.array([[0.0, 0.0, 0.0], [self.width / self.height, 1.0, 0.0]])

    @property
    def levels(self) -> int:
        """Bits that a view's level mask has a use for."""
        return self.encoding.levels

    @property
    def facts(self) -> dict[str, str]:
        """See `Field`."""
        grid, weights = self.encoding, sum(matrix.numel() for matrix in self.weights)
        return {
            "picture": f"{self.width:,} x {self.height:,} pixels, {'linear light (HDR)' if self.hdr else 'sRGB'}",
            "encoding": f"{grid.levels} levels of {grid.features} features, up to 2^{grid.log2_table_size} entries",
            "parameters": f"{self.table.numel() + weights:,}, of which {weights:,} are the network's",
            "scales": f"means of up to {1 << self.coarsest:,} pixels a side",
        }

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.table, *self.weights))

    def colors(
        self,
        places: torch.Tensor,  # [P, 2] x and y in pixels from the top left corner
        footprints: torch.Tensor,  # [P] pixels
        *,
        level_mask: int | None = None,
    ) -> torch.Tensor:  # [P, 3]
        """Colours, sRGB in [0, 1] or linear light, of points or of the squares about them; no gradients."""
        with torch.no_grad():
            mask, share = level_mask, None
            if len(footprints) > 0 and float(footprints.max()) > 1.0:
                share = level_weights(self.encoding, max(self.width, self.height), footprints, self.coarsest)
                needed = sum(1 << level for level, most in enumerate(share.amax(dim=0).tolist()) if most > 0.0)
                mask = needed if level_mask is None else needed & level_mask
            positions = (places / max(self.width, self.height)).float().contiguous()
            codes = codes_of(positions, self.table, self.weights, self.encoding, share, level_mask=mask)
            return light_of(codes) if self.hdr else codes.clamp(0.0, 1.0)

    def pixels(
        self,
        x0: int,
        y0: int,
        x1: int,
        y1: int,
        width: int | None = None,
        height: int | None = None,
        *,
        cancel: CancelFlag | None = None,
    ) -> torch.Tensor:  # [height, width, 3]
        """A rectangle of the picture: pixel by pixel, or as `width` x `height` means. Raises `Cancelled`."""
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            rule = f"rectangle {x0}, {y0} to {x1}, {y1}: must lie inside the picture"
            raise ValueError(f"{rule}, 0 <= x0 < x1 <= {self.width} and 0 <= y0 < y1 <= {self.height}")
        width, height = width or x1 - x0, height or y1 - y0
        step_x, step_y = (x1 - x0) / width, (y1 - y0) / height
        out = torch.empty(height, width, 3)
        x = x0 + step_x * (torch.arange(width, dtype=torch.float64) + 0.5)
        for rows in rows_in_turn(height, width, cancel):
            y = y0 + step_y * (rows.to(torch.float64) + 0.5)
            places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)
            footprints = torch.full((len(places),), (step_x * step_y) ** 0.5)
            out[rows] = self.colors(places, footprints).reshape(len(rows), width, 3)
        return out

    def render(
        self,
        origins: torch.Tensor,  # [R, 3]
        directions: torch.Tensor,  # [R, 3] unit
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """What rays see of the plane; see `Field`."""
        return look(self, origins, directions, view, cancel)

    def save(self, path: Path) -> None:
        """Writes the field as one safetensors file with JSON in its header; whole or not at all."""
        tensors = {"table": self.table} | {f"weights.{index}": matrix for index, matrix in enumerate(self.weights)}
        names = ("width", "height", "hdr", "coarsest", "remark")
        header = {"format": FORMAT, "encoding": asdict(self.encoding)} | {name: getattr(self, name) for name in names}
        with replacing(path) as stream:
            write_safetensors(stream, header, tensors)


def level_weights(
    encoding: HashGridConfig,
    side: int,
    footprints: torch.Tensor,  # [P] pixels
    coarsest: int,
) -> torch.Tensor:  # [P, L]
    """How much each level takes part: all of it up to footprints of a cell (or a pixel), none from four of them on."""
    cells = torch.tensor([max(side / max(level.scale, 1.0), 1.0) for level in layout(encoding)])
    octaves = torch.log2(footprints.float().clamp(1.0, 2.0**coarsest))[:, None] - torch.log2(cells)
    return (1.0 - octaves / FADE_OCTAVES).clamp(0.0, 1.0)


def codes_of(
    positions: torch.Tensor,  # [P, 2] in the unit square
    table: torch.Tensor,  # [E, F]
    weights: Sequence[torch.Tensor],
    encoding: HashGridConfig,
    share: torch.Tensor | None,  # [P, L]; None: all levels take part
    *,
    level_mask: int | None = None,
) -> torch.Tensor:  # [P, 3]
    """What the network gives for points; differentiable to table and weights."""
    features = hash_encode(positions, table, encoding, level_mask=level_mask)
    if share is not None:
        spread = features.reshape(len(positions), encoding.levels, encoding.features) * share[..., None]
        features = spread.reshape(features.shape)
    return mlp(features, weights)


def load(path: Path) -> ImageField:
    """The field that `ImageField.save` wrote.

    Raises:
        FormatError: the file is not such a field, is damaged, or its arrays do not fit together.
        OSError: it cannot be read.
    """
    header, tensors = read_safetensors(path, FORMAT)
    try:
        field = ImageField(
            HashGridConfig(**header["encoding"]),
            tensors["table"],
            tuple(tensors[f"weights.{index}"] for index in range(len(tensors) - 1)),
            _whole_number(header, "width", 1),
            _whole_number(header, "height", 1),
            header["hdr"] is True,
            _whole_number(header, "coarsest", 0),
            str(header.get("remark", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"something is missing or of the wrong kind: {error!r}", DAMAGED) from error
    _check(path, field)
    return field


def _whole_number(header: dict[str, Any], name: str, least: int) -> int:
    value = header[name]
    if type(value) is not int or not least <= value <= 1 << 30:
        raise ValueError(f"{name} is {ascii(value)[:40]}, must be a whole number of {least} or more")
    return value


def _check(path: Path, field: ImageField) -> None:
    if field.encoding.dims != 2:
        raise FormatError(path, "encoding", f"it has {field.encoding.dims} dimensions, must be 2", DAMAGED)
    expected = (num_entries(field.encoding), field.encoding.features)
    found = tuple(field.table.shape)
    if found != expected:
        raise FormatError(path, "table", f"its shape is {list(found)}, it must be {list(expected)}", DAMAGED)
    shapes = [list(matrix.shape) for matrix in field.weights]
    fits = len(shapes) > 0 and all(len(shape) == 2 for shape in shapes) and shapes[-1][0] == 3
    ins = [field.encoding.width, *(shape[0] for shape in shapes[:-1])]
    if not fits or any(shape[1] != size for shape, size in zip(shapes, ins, strict=True)):
        rule = f"the matrices {shapes} do not lead from {field.encoding.width} to 3 values"
        raise FormatError(path, "weights", rule, DAMAGED)
    if any(tensor.dtype != torch.float32 for tensor in (field.table, *field.weights)):
        raise FormatError(path, "arrays", "some are not float32", DAMAGED)
