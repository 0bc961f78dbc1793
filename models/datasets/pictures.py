"""Pixels of posed images: decoded when they are asked for, reduced by a box filter, kept within a bound of bytes.

8-bit photos come as uint8, sRGB; RGBA ones have straight alpha. EXR comes as float32, linear light, and is read only
where the package OpenEXR is installed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from .errors import DAMAGED, DatasetError
from .posed_images import PosedImage, PosedImages

if TYPE_CHECKING:
    from PIL import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".exr", ".webp", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""What Pillow may take a file for: some of its other formats start programs."""
AUTO_SIDE = 640
"""Longest side, in pixels, that the downscale "auto" allows."""
CACHE_BYTES = 1 << 30
Downscale = Literal["auto", 1, 2, 4, 8]


class ImageCache:
    """Decoded photos, the least lately used of which go first. Safe to use from several threads."""

    def __init__(self, limit_bytes: int = CACHE_BYTES):
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._kept: OrderedDict[tuple[Path, int, int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, posed: PosedImage, downscale: int = 1) -> np.ndarray:  # [H // f, W // f, 3 | 4]
        """The photo, read-only; from the file the first time, and again when the file has changed."""
        path = _copy(posed, downscale) or posed.path
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        key = (path, status.st_mtime_ns, status.st_size, downscale)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pixels = load(posed, downscale)
        pixels.setflags(write=False)
        with self._lock:
            if key not in self._kept and pixels.nbytes <= self.limit_bytes:
                self._kept[key] = pixels
                self.bytes += pixels.nbytes
            while self.bytes > self.limit_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels


_SHARED = ImageCache()


def image(posed: PosedImage, downscale: int = 1) -> np.ndarray:  # [H // f, W // f, 3 | 4]
    """The photo reduced by a whole factor, read-only, through the cache that all share.

    Raises: DatasetError when the file cannot be decoded or is not the size that it had.
    """
    return _SHARED.image(posed, downscale)


def auto_downscale(dataset: PosedImages, downscale: Downscale = "auto") -> int:
    """The factor that `downscale` stands for: "auto" is the least power of two with no side above 640 pixels."""
    if downscale != "auto":
        return downscale
    longest = max(max(posed.width, posed.height) for posed in dataset.images)
    factor = 1
    while longest / factor > AUTO_SIDE:
        factor *= 2
    return factor


def load(posed: PosedImage, downscale: int = 1) -> np.ndarray:  # [H // f, W // f, 3 | 4]
    """The photo from its file, past the cache; from a copy where there is one of that factor."""
    if downscale < 1:
        raise ValueError(f"downscale must be a whole number >= 1, it is {downscale}")
    read = _read_exr if posed.is_linear else _read_8bit
    copy = _copy(posed, downscale)
    if copy is not None:
        return read(copy)
    pixels = read(posed.path)
    if pixels.shape[:2] != (posed.height, posed.width):
        rule = f"is {pixels.shape[1]} x {pixels.shape[0]} pixels, was {posed.width} x {posed.height} when it was opened"
        raise DatasetError(posed.path, "size", rule, "open the data set again")
    return pixels if downscale == 1 else box_filtered(pixels, downscale)


def known(posed: PosedImage, downscale: int = 1) -> np.ndarray | None:  # [H // f, W // f] bool
    """Where the photo may be learnt from: where its mask is not 0, in all of a reduced pixel. None = everywhere.

    Raises: DatasetError when the mask cannot be decoded or is of another size than the photo.
    """
    if posed.mask_path is None:
        return None
    pixels = _read_8bit(posed.mask_path)[..., :3]
    if pixels.shape[:2] != (posed.height, posed.width):
        rule = f"is a mask of {pixels.shape[1]} x {pixels.shape[0]}, its photo has {posed.width} x {posed.height}"
        raise DatasetError(posed.mask_path, "size", rule, "make it as large as the photo")
    hidden = np.where((pixels > 0).any(axis=2, keepdims=True), np.float32(0), np.float32(1))
    return box_filtered(hidden, downscale)[..., 0] == 0


def _copy(posed: PosedImage, downscale: int) -> Path | None:
    """The copy reduced by this factor, where its pixels are exactly those squares of the photo's."""
    path = dict(posed.copies).get(downscale)
    if path is None or posed.width % downscale != 0 or posed.height % downscale != 0:
        return None
    wanted = (posed.width // downscale, posed.height // downscale, posed.has_alpha)
    return path if picture_header(path) == wanted else None


def box_filtered(pixels: np.ndarray, factor: int) -> np.ndarray:  # [H, W, 1..4] -> [H // f, W // f, 1..4]
    """Means over squares of `factor` pixels; what is left over at the right and the bottom is cut off.

    Colours of RGBA are weighted by their alpha, or what is hidden would show at silhouettes.
    """
    height, width, channels = pixels.shape
    # A side shorter than the factor is one pixel: the mean of all of it.
    tall, wide = min(factor, height), min(factor, width)
    rows, columns = height // tall, width // wide
    blocks = pixels[: rows * tall, : columns * wide].astype(np.float32).reshape(rows, tall, columns, wide, channels)
    if channels == 4:
        alpha = blocks[..., 3:].sum(axis=(1, 3))
        color = (blocks[..., :3] * blocks[..., 3:]).sum(axis=(1, 3)) / np.maximum(alpha, 1e-12)
        means = np.concatenate([color, alpha / (tall * wide)], axis=-1)
    else:
        means = blocks.sum(axis=3).sum(axis=1) / (tall * wide)
    return np.rint(means).astype(np.uint8) if pixels.dtype == np.uint8 else means.astype(np.float32)


def picture_header(path: Path) -> tuple[int, int, bool]:
    """Width, height and whether there is an alpha channel, by the file's header.

    Raises: DatasetError when it is no picture that can be read here.
    """
    if path.suffix.lower() == ".exr":
        with _exr_file(path, header_only=True) as file:
            (x0, y0), (x1, y1) = file.header()["dataWindow"]
            alpha = any(channel.name == "A" for channel in file.header()["channels"])
            return int(x1 - x0 + 1), int(y1 - y0 + 1), alpha
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            return *picture.size, _has_alpha(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _read_8bit(path: Path) -> np.ndarray:  # [H, W, 3 | 4] uint8
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode.startswith("I;16"):
                grey = (np.asarray(picture).astype(np.uint32) + 128) // 257
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            return np.array(picture.convert("RGBA" if _has_alpha(picture) else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _read_exr(path: Path) -> np.ndarray:  # [H, W, 3 | 4] float32
    with _exr_file(path, header_only=False) as file:
        channels = file.channels()
        for name in ("RGBA", "RGB"):
            if name in channels:
                return np.array(channels[name].pixels, np.float32)
        if "Y" in channels:
            return np.repeat(np.array(channels["Y"].pixels, np.float32)[..., None], 3, axis=2)
        found = ", ".join(channels) or "none"
    raise DatasetError(path, "channels", f"must hold RGB, RGBA or Y, it has {found[:80]}", "export it with R, G and B")


def _exr_file(path: Path, *, header_only: bool):
    """An open OpenEXR.File."""
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        rule = "EXR pictures need the package OpenEXR, which is not installed"
        raise DatasetError(path, "file", rule, "pip install OpenEXR, or convert them to PNG") from error
    try:
        return OpenEXR.File(str(path), header_only=header_only)
    except (RuntimeError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return DatasetError(path, "picture", f"cannot be decoded ({reason})", DAMAGED)
