"""The pixels of a picture, wherever they are: held in memory, or in tiles on the disk.

P points, h rows, w columns; rows and columns count from the top left. Values come as float32, sRGB in [0, 1] or, where
`hdr` says so, linear light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from h3d.models.datasets.pictures import box_filtered

from .tiles import TileFile


class PixelSource(Protocol):
    """A picture that can be asked for its pixels. Safe to use from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def hdr(self) -> bool:
        """Whether values are linear light without a bound, rather than sRGB in [0, 1]."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        ...

    def pixels(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:  # [y1 - y0, x1 - x0, 3] float32
        """A rectangle. Raises: ValueError where it is not inside the picture, FormatError for a lost file."""
        ...

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:  # [P], [P] -> [P, 3] float32
        """Pixels one by one. Raises: as `pixels`."""
        ...


@dataclass(frozen=True, eq=False)
class HeldPicture:
    """A `PixelSource` in memory, as the file has it."""

    name: str
    values: np.ndarray  # [H, W, 3] uint8 or uint16, sRGB; float16, linear
    hdr: bool

    @property
    def width(self) -> int:
        return self.values.shape[1]

    @property
    def height(self) -> int:
        return self.values.shape[0]

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def pixels(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        check_rectangle(self, x0, y0, x1, y1)
        return as_floats(self.values[y0:y1, x0:x1])

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        check_points(self, rows, columns)
        return as_floats(self.values[rows, columns])

    @cached_property
    def pyramid(self) -> tuple[np.ndarray, ...]:
        """The picture, and it halved again and again down to a side of 1."""
        return pyramid(self.values)


@dataclass(frozen=True, eq=False)
class TiledPicture:
    """A `PixelSource` on the disk."""

    name: str
    tiles: TileFile

    @property
    def width(self) -> int:
        return self.tiles.width

    @property
    def height(self) -> int:
        return self.tiles.height

    @property
    def hdr(self) -> bool:
        return self.tiles.dtype.kind == "f"

    @property
    def nbytes(self) -> int:
        return self.tiles.offsets.nbytes

    def pixels(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        check_rectangle(self, x0, y0, x1, y1)
        tall, wide = self.tiles.tile_height, self.tiles.tile_width
        out = np.empty((y1 - y0, x1 - x0, 3), np.float32)
        for row in range(y0 // tall, -(-y1 // tall)):
            for column in range(x0 // wide, -(-x1 // wide)):
                tile = as_floats(self.tiles.read(row, column))
                top, left = row * tall, column * wide
                part = tile[max(y0 - top, 0) : y1 - top, max(x0 - left, 0) : x1 - left]
                y, x = max(top, y0) - y0, max(left, x0) - x0
                out[y : y + part.shape[0], x : x + part.shape[1]] = part
        return out

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Each tile is read once, whatever the order of the points."""
        check_points(self, rows, columns)
        tall, wide = self.tiles.tile_height, self.tiles.tile_width
        which = rows // tall * self.tiles.columns + columns // wide
        order = np.argsort(which, kind="stable")
        out = np.empty((len(rows), 3), np.float32)
        for points in np.split(order, np.flatnonzero(np.diff(which[order])) + 1):
            if len(points) > 0:
                row, column = divmod(int(which[points[0]]), self.tiles.columns)
                tile = self.tiles.read(row, column)
                out[points] = as_floats(tile[rows[points] - row * tall, columns[points] - column * wide])
        return out


def as_floats(values: np.ndarray) -> np.ndarray:  # uint8, uint16 or float16 -> float32
    """Numbers of a file as values: unsigned ones are shares of the largest."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def pyramid(values: np.ndarray) -> tuple[np.ndarray, ...]:  # [h, w, 3] -> of each level s: [h >> s, w >> s, 3]
    """Means over squares of 2^s pixels, of the same type; what is left over at the right and the bottom is cut off."""
    levels = [values]
    while min(levels[-1].shape[:2]) >= 2:
        means = box_filtered(levels[-1], 2)
        if values.dtype == np.uint16:
            means = np.rint(means)
        levels.append(means.astype(values.dtype))
    return tuple(levels)


def check_rectangle(source: PixelSource, x0: int, y0: int, x1: int, y1: int) -> None:
    """Raises: ValueError where the rectangle is empty or not inside the picture."""
    if not (0 <= x0 < x1 <= source.width and 0 <= y0 < y1 <= source.height):
        rule = f"rectangle {x0}, {y0} to {x1}, {y1}: must lie inside the picture"
        raise ValueError(f"{rule}, 0 <= x0 < x1 <= {source.width} and 0 <= y0 < y1 <= {source.height}")


def check_points(source: PixelSource, rows: np.ndarray, columns: np.ndarray) -> None:
    """Raises: ValueError where a point is not inside the picture."""
    for name, values, size in (("rows", rows, source.height), ("columns", columns, source.width)):
        if len(values) > 0 and not 0 <= int(values.min()) <= int(values.max()) < size:
            raise ValueError(f"{name}: {int(values.min())} to {int(values.max())}; must be 0 to {size - 1}")
