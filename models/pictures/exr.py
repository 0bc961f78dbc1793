"""EXR strip by strip, scan lines or tiles: linear light as float16. Needs the package OpenEXR (extra `exr`).

Its newer `OpenEXR.File` reads whole files only; `OpenEXR.InputFile` of the same package reads ranges of rows, of tiled
files too, in the memory of a row of tiles. The first part of a file counts; colours are premultiplied by alpha.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from h3d.models.formats.errors import DAMAGED, FormatError

from .strips import Strips, grey_to_rgb, linear_over_white

MAGIC = b"\x76\x2f\x31\x01"
BAND_ROWS = 256


def read(path: Path) -> Strips:
    """The strips of an EXR. Raises: FormatError."""
    file = _opened(path)
    try:
        header = file.header()
        names = _names(path, header["channels"])
        window = header["dataWindow"]
        left, top, right, bottom = window.min.x, window.min.y, window.max.x, window.max.y
        if not file.isComplete():
            raise FormatError(path, "pixels", "the last rows are missing", DAMAGED)
    finally:
        file.close()
    return Strips(right - left + 1, bottom - top + 1, np.dtype(np.float16), lambda: _bands(path, names, top, bottom))


def _names(path: Path, channels: dict[str, Any]) -> tuple[str, ...]:
    """The channels to read: R, G, B or Y, and A where there is one."""
    for wanted in (("R", "G", "B"), ("Y",)):
        if all(name in channels and (channels[name].xSampling, channels[name].ySampling) == (1, 1) for name in wanted):
            return (*wanted, "A") if "A" in channels else wanted
    found = ", ".join(channels) or "none"
    rule = f"must hold R, G and B, or Y, a value a pixel each; it has {found[:80]}"
    raise FormatError(path, "channels", rule, "export it with R, G and B")


def _bands(path: Path, names: tuple[str, ...], top: int, bottom: int) -> Iterator[np.ndarray]:  # [h, W, 3] float16
    import Imath  # pyright: ignore[reportMissingImports]

    half = Imath.PixelType(Imath.PixelType.HALF)
    file = _opened(path)
    try:
        for first in range(top, bottom + 1, BAND_ROWS):
            last = min(first + BAND_ROWS - 1, bottom)
            planes = [np.frombuffer(plane, np.float16) for plane in file.channels(list(names), half, first, last)]
            planes = [plane.reshape(last - first + 1, -1) for plane in planes]
            alpha = planes.pop()[..., None] if names[-1] == "A" else None
            rgb = np.stack(planes, axis=-1) if len(planes) == 3 else grey_to_rgb(planes[0])
            yield linear_over_white(rgb, alpha)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error
    finally:
        file.close()


def _opened(path: Path) -> Any:
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        rule = "EXR pictures need the package OpenEXR, which is not installed"
        raise FormatError(path, "file", rule, "pip install OpenEXR, or convert it to TIFF") from error
    try:
        return OpenEXR.InputFile(str(path))
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FormatError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return FormatError(path, "picture", f"cannot be decoded ({reason})", DAMAGED)
