"""TIFF and BigTIFF by tifffile: tiles in place where they are uncompressed, else strip by strip.

Grey and RGB of 8 and 16 bits (sRGB) and of floats (linear light), with or without alpha, uncompressed or with the
codecs that tifffile has without a package of codecs (deflate, LZMA, PackBits). All else (palettes, CMYK, LZW, JPEG)
is decoded whole by Pillow, within its bound. The first page counts; in a pyramid that is the picture itself.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from h3d.models.formats.errors import DAMAGED, FormatError

from . import whole
from .strips import Strips, checked, grey_to_rgb, linear_over_white, over_white
from .tiles import TileFile

if TYPE_CHECKING:
    import tifffile

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NO_COMPRESSION = 1
CODECS = (NO_COMPRESSION, 8, 32946, 34925, 32773)
DEPTHS = ("uint8", "uint16", "float16", "float32", "float64")
LARGEST_TILE = 1 << 20  # pixels, that are read for a few of them
LARGEST_SEGMENT = 1 << 29  # bytes of a strip or a tile row that are decoded at once
BAND_BYTES = 1 << 25
ERRORS = (
    *(RuntimeError, OSError, ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError, EOFError),
    *(MemoryError, struct.error, zlib.error, lzma.LZMAError),
)
"""What tifffile and its codecs raise for damaged files."""


def tiles_in_place(path: Path) -> TileFile | None:
    """The tiles of an uncompressed tiled RGB file; None where it is of another kind. Raises: FormatError."""
    with _opened(path) as file:
        page = _page(path, file)
        plain = page.compression == NO_COMPRESSION and page.predictor == 1 and page.fillorder == 1
        if not (plain and page.is_tiled and page.photometric == 2 and page.planarconfig == 1):
            return None
        if page.samplesperpixel != 3 or page.bitspersample not in (8, 16) or str(page.dtype) not in DEPTHS[:2]:
            return None
        dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
        tall, wide = int(page.tilelength), int(page.tilewidth)
        rows, columns = -(-page.imagelength // tall), -(-page.imagewidth // wide)
        size = tall * wide * 3 * dtype.itemsize
        offsets = np.array(page.dataoffsets, np.int64)
        if tall * wide > LARGEST_TILE or len(offsets) != rows * columns or set(page.databytecounts) != {size}:
            return None
        if int(offsets.max()) + size > path.stat().st_size:
            raise FormatError(path, "tiles", "the last ones lie beyond the end of the file", DAMAGED)
        checked(path, Strips(page.imagewidth, page.imagelength, dtype, lambda: iter(())))
        return TileFile(path, page.imagewidth, page.imagelength, wide, tall, dtype, offsets.reshape(rows, columns))


def read(path: Path) -> Strips:
    """The strips of a TIFF. Raises: FormatError."""
    with _opened(path) as file:
        page = _page(path, file)
        grey_or_rgb = page.photometric in (0, 1, 2) and page.planarconfig == 1 and page.imagedepth == 1
        whole_bytes = page.bitspersample == 8 * np.dtype(page.dtype).itemsize
        if not (grey_or_rgb and whole_bytes and page.compression in CODECS and str(page.dtype) in DEPTHS):
            return whole.read(path)
        dtype = np.dtype(page.dtype)
        dtype = np.dtype(np.float16) if dtype.kind == "f" else dtype
        strips = checked(path, Strips(page.imagewidth, page.imagelength, dtype, lambda: _bands(path)))
        segment_rows = page.tilelength if page.is_tiled else page.rowsperstrip
        row_bytes = page.imagewidth * page.samplesperpixel * np.dtype(page.dtype).itemsize
        decoded = row_bytes * min(segment_rows, page.imagelength)
        if decoded > LARGEST_SEGMENT and not (page.compression == NO_COMPRESSION and not page.is_tiled):
            rule = f"a strip takes {decoded / 2**30:.1f} GiB once decompressed, at most 0.5 are decoded at once"
            raise FormatError(path, "strips", rule, "save it in tiles (vips tiffsave --tile --bigtiff)")
        return strips


def _bands(path: Path) -> Iterator[np.ndarray]:  # [h, W, 3]
    with _opened(path) as file:
        page = _page(path, file)
        try:
            for samples in _rows(file, page):
                yield _colours(page, samples)
        except ERRORS as error:
            raise _unreadable(path, error) from error


def _rows(file: tifffile.TiffFile, page: tifffile.TiffPage) -> Iterator[np.ndarray]:  # [h, W, samples]
    """The rows of the page, as many at a time as one strip or row of tiles has, or less."""
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if page.compression == NO_COMPRESSION and not page.is_tiled and page.is_contiguous:
        yield from _contiguous_rows(file, page)
        return
    tall = page.tilelength if page.is_tiled else page.rowsperstrip
    across = -(-width // page.tilewidth) if page.is_tiled else 1
    handle = file.filehandle
    for top in range(0, height, tall):
        band = np.zeros((min(tall, height - top), width, samples), page.dtype)
        for column in range(across):
            index = top // tall * across + column
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index]) if page.databytecounts[index] > 0 else None
            if data is not None and len(data) < page.databytecounts[index]:
                raise ValueError(f"the data end before row {top + tall:,}")
            segment, place, shape = page.decode(data, index)
            if segment is not None:
                left = int(place[3])
                part = np.asarray(segment).reshape(-1, *segment.shape[-2:])[: len(band), : width - left]
                band[: part.shape[0], left : left + part.shape[1]] = part
        yield band


def _contiguous_rows(file: tifffile.TiffFile, page: tifffile.TiffPage) -> Iterator[np.ndarray]:
    """Rows of a page that lies in the file in one piece, perhaps as a single huge strip."""
    dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
    row = page.imagewidth * page.samplesperpixel
    at_once = max(1, BAND_BYTES // (row * dtype.itemsize))
    for top in range(0, page.imagelength, at_once):
        rows = min(at_once, page.imagelength - top)
        offset = page.dataoffsets[0] + top * row * dtype.itemsize
        values = np.fromfile(file.filehandle.path, dtype, rows * row, offset=offset)
        if len(values) < rows * row:
            raise ValueError(f"the data end before row {top + rows:,}")
        values = values.reshape(rows, page.imagewidth, page.samplesperpixel)
        yield values.astype(dtype.newbyteorder("="), copy=False)


def _colours(page: tifffile.TiffPage, samples: np.ndarray) -> np.ndarray:  # [h, W, samples] -> [h, W, 3]
    """What the samples mean: grey or RGB, and alpha, straight or premultiplied."""
    channels = 3 if page.photometric == 2 and page.samplesperpixel >= 3 else 1
    rgb = samples[..., :3] if channels == 3 else grey_to_rgb(samples[..., 0])
    if page.photometric == 0:  # White is zero.
        rgb = np.iinfo(rgb.dtype).max - rgb if rgb.dtype.kind == "u" else 1.0 - rgb
    meaning = int(page.extrasamples[0]) if len(page.extrasamples) > 0 else 0
    alpha = samples[..., channels : channels + 1] if meaning in (1, 2) else None
    if rgb.dtype.kind == "f":
        light = rgb if alpha is None or meaning == 1 else rgb * alpha
        return linear_over_white(light, alpha)
    if alpha is None:
        return rgb
    if meaning == 2:
        return over_white(rgb, alpha)
    largest = 2 ** (8 * rgb.dtype.itemsize) - 1
    return np.minimum(rgb.astype(np.uint32) + (largest - alpha), largest).astype(rgb.dtype)


def _opened(path: Path) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except ERRORS as error:
        raise _unreadable(path, error) from error


def _page(path: Path, file: tifffile.TiffFile) -> tifffile.TiffPage:
    import tifffile

    try:
        page = file.pages[0]
        if not isinstance(page, tifffile.TiffPage) or page.dtype is None or page.shape == ():
            raise ValueError("it has no page of pixels")
        return page
    except ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> FormatError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return FormatError(path, "picture", f"cannot be decoded ({reason})", DAMAGED)
