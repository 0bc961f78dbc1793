"""What can only be decoded whole: JPEG, WebP, BMP, interlaced PNG, rare kinds of TIFF. Through Pillow, 8 bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from h3d.models.formats.errors import DAMAGED, FormatError

from .strips import Strips, over_white

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""What Pillow may take a file for: some of its other formats start programs."""
MOST_PIXELS = 1 << 29
"""Pillow takes 4 bytes a pixel while such a file is converted: 2 GiB for this many."""
BAND_ROWS = 1024
_LOCK = threading.Lock()


def read(path: Path) -> Strips:
    """The strips of a picture that Pillow knows. Raises: FormatError."""
    from PIL import Image

    try:
        with large_pictures():
            picture = Image.open(path, formats=FORMATS)
        with picture:
            width, height = picture.size
            if picture.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # The camera lay on its side.
                width, height = height, width
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error
    if width * height > MOST_PIXELS:
        rule = f"it is {width:,} x {height:,}, and of its kind at most {MOST_PIXELS:,} pixels can be decoded"
        raise FormatError(path, "size", rule, "save it as tiled TIFF (vips tiffsave --tile --bigtiff) or as PNG")
    return Strips(width, height, np.dtype(np.uint8), lambda: _bands(path))


def _bands(path: Path) -> Iterator[np.ndarray]:  # [h, W, 3] uint8
    from PIL import Image, ImageOps

    try:
        with large_pictures():
            picture = Image.open(path, formats=FORMATS)
        with picture:
            ImageOps.exif_transpose(picture, in_place=True)
            for top in range(0, picture.height, BAND_ROWS):
                yield _colours(picture.crop((0, top, picture.width, min(top + BAND_ROWS, picture.height))))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, FormatError):
            raise
        raise _unreadable(path, error) from error


def _colours(band) -> np.ndarray:  # a Pillow image -> [h, W, 3] uint8
    if band.mode.startswith("I;16"):
        grey = (np.asarray(band).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if band.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in band.info:
        rgba = np.asarray(band.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3:])
    return np.asarray(band.convert("RGB"))


@contextmanager
def large_pictures() -> Iterator[None]:
    """While it lasts `Image.open` refuses no large pictures: they are wanted here, and bounded by our own rules."""
    from PIL import Image

    with _LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _unreadable(path: Path, error: Exception) -> FormatError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return FormatError(path, "picture", f"cannot be decoded ({reason})", DAMAGED)
