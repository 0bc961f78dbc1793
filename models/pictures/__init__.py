"""Pictures to learn from, of any size: one door, `open_picture(path)`, and never a whole picture as floats in memory.

PNG (8 and 16 bits), TIFF, BigTIFF and EXR are read strip by strip, JPEG, WebP and BMP are decoded whole by Pillow. A
picture of less than 64 megapixels is held in memory as the file has it (uint8, uint16; float16 for HDR). A larger one
stays on the disk in tiles: in the file itself, where it is an uncompressed tiled TIFF, or in a tile cache into which it
is converted once. What is transparent is composed over white. sRGB in [0, 1] for what has 8 or 16 bits, linear light
for EXR and for TIFF of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from h3d.models.cache_folder import cache_folder
from h3d.models.formats.errors import FormatError

from . import exr, png, tiff, whole
from .cache import cached_tiles
from .source import HeldPicture, PixelSource, TiledPicture
from .strips import Progress, Strips, checked, rebanded
from .tiles import TileFile

__all__ = ["SUFFIXES", "HeldPicture", "PixelSource", "TileFile", "TiledPicture", "is_picture", "open_picture"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp")
HELD_PIXELS = 64 << 20

READERS: tuple[tuple[tuple[bytes, ...], Callable[[Path], Strips]], ...] = (
    ((png.MAGIC,), png.read),
    (tiff.MAGICS, tiff.read),
    ((exr.MAGIC,), exr.read),
)
"""By the first bytes of the file, whatever its name; what no row knows is left to Pillow."""


def is_picture(path: Path) -> bool:
    """Whether a path is a file with the name of a picture. Folders never are: those of photos are data sets."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def open_picture(path: Path, *, cache: Path | None = None, progress: Progress | None = None) -> PixelSource:
    """The pixels of a file. `cache` is the folder for tiles (None: the user's), `progress` is told of a conversion.

    Raises:
        FormatError: it is no picture, it is damaged, or too large for what its format allows.
        OSError: the tiles cannot be written.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise FormatError(path, "file", rule, "check its name and permissions") from error
    if len(start) == 0:
        raise FormatError(path, "file", "is empty (0 bytes)", "fetch or export it again")
    tiles = tiff.tiles_in_place(path) if start.startswith(tiff.MAGICS) else None
    if tiles is not None and tiles.width * tiles.height > HELD_PIXELS:
        return TiledPicture(path.stem, tiles)
    read = next((read for magics, read in READERS if start.startswith(magics)), whole.read)
    strips = checked(path, read(path))
    if strips.width * strips.height > HELD_PIXELS:
        return TiledPicture(path.stem, cached_tiles(path, strips, cache or cache_folder(), progress))
    return HeldPicture(path.stem, _held(strips), strips.hdr)


def _held(strips: Strips) -> np.ndarray:  # [H, W, 3]
    pixels = np.empty((strips.height, strips.width, 3), strips.dtype)
    row = 0
    for band in rebanded(strips, 1024):
        pixels[row : row + len(band)] = band
        row += len(band)
    return pixels
