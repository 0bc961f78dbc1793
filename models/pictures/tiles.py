"""Tiles of a picture in a file, uncompressed, each read when it is asked for.

They are read, not mapped into memory: pages of a mapped file count as the process's own until the system wants them
back, and a gigapixel would fill two gigabytes with them. What was read before comes from the system's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3d.models.formats.errors import FormatError


@dataclass(frozen=True, eq=False)
class TileFile:
    """Where the tiles of a picture are; those at the right and at the bottom may reach over its border."""

    path: Path
    width: int
    height: int
    tile_width: int
    tile_height: int
    dtype: np.dtype  # of the file, with its byte order
    offsets: np.ndarray  # [tile rows, tile columns] int64, bytes from the start of the file

    @property
    def rows(self) -> int:
        return -(-self.height // self.tile_height)

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    def read(self, row: int, column: int) -> np.ndarray:  # [h, w, 3]
        """One tile without what reaches over the border.

        Raises:
            FormatError: the file is no longer what it was.
        """
        count = self.tile_height * self.tile_width * 3
        try:
            values = np.fromfile(self.path, self.dtype, count, offset=int(self.offsets[row, column]))
        except OSError as error:
            raise self._changed(error.strerror or str(error)) from error
        if len(values) < count:
            raise self._changed(f"tile {row}, {column} is cut short")
        tile = values.reshape(self.tile_height, self.tile_width, 3)
        tile = tile[: self.height - row * self.tile_height, : self.width - column * self.tile_width]
        return tile.astype(self.dtype.newbyteorder("="), copy=False)

    def _changed(self, reason: str) -> FormatError:
        return FormatError(self.path, "tiles", f"cannot be read any more ({reason})", "open the picture again")
