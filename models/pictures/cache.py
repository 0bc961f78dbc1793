"""The tile cache: pictures that are too large to be held, converted once into one file of tiles each.

A cache is a .npy of shape [rows, columns, 256, 256, 3], uint8, uint16 or float16, written strip by strip, whole or not
at all. Its name tells the picture's path, size and time, so that a changed picture is converted again. The folder is
kept within a bound: caches that were not used for the longest time go first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import numpy as np

from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import FormatError

from .strips import Progress, Strips, rebanded
from .tiles import TileFile

SIDE = 256
VERSION = 1
FOLDER_BYTES = 64 << 30
SUFFIX = ".tiles.npy"
ABANDONED_SECONDS = 3600.0
"""A file under way that nobody has written to for so long is what a killed program left."""


def cached_tiles(path: Path, strips: Strips, folder: Path, progress: Progress | None = None) -> TileFile:
    """The tiles of a picture in `folder`, which are written first where they are not there yet.

    Raises:
        FormatError: the picture is damaged.
        OSError: the folder cannot be written, or the disk is too small for it.
    """
    file = folder / f"{path.stem[:40]}-{_key(path)}{SUFFIX}"
    shape = (-(-strips.height // SIDE), -(-strips.width // SIDE), SIDE, SIDE, 3)
    found = _offset(file, shape, strips.dtype)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, int(np.prod(shape, dtype=np.int64)) * strips.dtype.itemsize)
        _convert(path, strips, file, shape, progress)
        found = _offset(file, shape, strips.dtype)
        assert found is not None
    os.utime(file)  # Used last: the last to go.
    tile_bytes = SIDE * SIDE * 3 * strips.dtype.itemsize
    offsets = found + tile_bytes * np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape[:2])
    return TileFile(file, strips.width, strips.height, SIDE, SIDE, strips.dtype, offsets)


def _key(path: Path) -> str:
    status = path.stat()
    text = f"{VERSION}:{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _offset(file: Path, shape: tuple[int, ...], dtype: np.dtype) -> int | None:
    """Where the tiles begin in a whole cache of this shape; None where there is no such cache."""
    try:
        with open(file, "rb") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0) or read_header(stream) != (shape, False, dtype):
                return None
            start = stream.tell()
    except (OSError, ValueError):
        return None
    whole = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return start if file.stat().st_size == whole else None


def _convert(path: Path, strips: Strips, file: Path, shape: tuple[int, ...], progress: Progress | None) -> None:
    columns, began = shape[1], time.perf_counter()
    with replacing(file) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(strips.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        row = 0
        for band in rebanded(strips, SIDE):
            # What reaches over the border repeats it: nobody reads it, and nothing odd lies on the disk.
            margin = ((0, SIDE - len(band)), (0, columns * SIDE - strips.width), (0, 0))
            tiles = np.pad(band, margin, mode="edge").reshape(SIDE, columns, SIDE, 3).swapaxes(0, 1)
            stream.write(np.ascontiguousarray(tiles).data)
            row += len(band)
            if progress is not None:
                share = row / strips.height
                left = (time.perf_counter() - began) * (1.0 / share - 1.0)
                progress(f"converting {path.name} to tiles: {100.0 * share:.0f} %, {left:.0f} s left")
        if row != strips.height:
            rule = f"it has {row:,} rows of {strips.height:,}"
            raise FormatError(path, "pixels", rule, "the file is damaged or cut short: fetch or export it again")


def _make_room(folder: Path, needed: int) -> None:
    """Caches that were used last stay, as many as fit. Raises: OSError where the disk itself is too small."""
    for part in folder.glob(f".*{SUFFIX}.*.part"):
        if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
            part.unlink(missing_ok=True)
    known = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
    total = sum(file.stat().st_size for file in known)
    for file in known:
        if total + needed <= FOLDER_BYTES and shutil.disk_usage(folder).free > needed:
            break
        total -= file.stat().st_size
        file.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if free <= needed:
        rule = f"{folder}: the tile cache needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free"
        raise OSError(
            f"{rule}; make room, set H3D_CACHE to another disk, or save the picture as uncompressed tiled TIFF"
        )
