"""PlayCanvas' SOG, version 2: meta.json and lossless WebP textures, in a folder or in a zip named .sog.

Texel i holds Gaussian i, row by row. Positions are 16 bits an axis (two textures) of sign(x) ln(1 + |x|) between
bounds; log sizes and f_dc are indices into codebooks of 256; a quaternion (w x y z) is its smallest three with the
index of the largest as alpha 252..255; opacity is the alpha of sh0. SH beyond degree 0 are labels into a palette of at
most 65,536 rows, a texture of 64 rows a line, each value an index into a third codebook. Axes as in the 3DGS .ply.
Source: developer.playcanvas.com, "The SOG format"; playcanvas/splat-transform.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from h3d.models.gaussians import Gaussians

from .errors import DAMAGED, REEXPORT, FormatError
from .rows import SH_BASES, checked, logit, require_room
from .smallest_three import restore_largest
from .sog_writer import write

__all__ = ["QUANTISATION", "ZIP_MAGIC", "parts", "read", "version", "write"]

QUANTISATION = (
    "position 1/65535 of the range of sign(x) ln(1+|x|), log size and colour the nearest of 256 values, "
    "opacity 1/255, quaternion 1/180, SH the nearest of at most 65,536 palette rows"
)
ZIP_MAGIC = b"PK\x03\x04"
META_LIMIT = 16 << 20
PALETTE_LIMIT = 1 << 16
PALETTE_WIDTH = 64

Load = Callable[[str], bytes]


def read(path: Path) -> Gaussians:
    """Gaussians of a .sog, or of the folder whose meta.json `path` is.

    Raises: FormatError for another version, a part that is missing, outside the folder or of the wrong size.
    """
    if _is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return _read(path, path.stat().st_size, lambda name: _member(path, archive, name))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(path, "zip", str(error) or type(error).__name__, DAMAGED) from error
    return _read(path, sum(part.stat().st_size for part in parts(path)), lambda name: _file(path, name))


def version(path: Path) -> str:
    """What `describe` says beside the format's name."""
    return "version 2, one file" if _is_zip(path) else "version 2, folder"


def parts(path: Path) -> list[Path]:
    """The files that make up the scene: the .sog alone, or meta.json and the textures that it names."""
    if _is_zip(path):
        return [path]
    meta = _meta(path, path.name, _file(path, path.name))
    names = [name for entry in meta.values() if isinstance(entry, dict) for name in _names(entry)]
    return [path, *(found for name in dict.fromkeys(names) if (found := _inside(path, name)).is_file())]


def _read(path: Path, file_bytes: int, load: Load) -> Gaussians:
    meta = _meta(path, "meta.json", load("meta.json" if _is_zip(path) else path.name))
    count = _count(path, meta, "count", meta.get("count"), 1, 1 << 31)
    bands = _bands(path, meta)
    require_room(path, count, bands, file_bytes)
    room = Textures(path, meta, count, load)
    low, high = room.numbers("means", "mins", 3), room.numbers("means", "maxs", 3)
    fine, coarse = room.texels("means", 0), room.texels("means", 1)
    unit = (fine[:, :3] | coarse[:, :3].astype(np.uint16) << np.uint16(8)) / np.float32(65535)
    logs = low * (1 - unit) + high * unit
    means = np.copysign(np.expm1(np.abs(logs)), logs).astype(np.float32)
    packed = room.texels("quats", 0)
    if packed[:, 3].min() < 252:
        row = int(np.argmax(packed[:, 3] < 252))
        rule = f"alpha of quats is {packed[row, 3]}, must be 252 to 255"
        raise FormatError(path, f"vertex {row}", rule, REEXPORT)
    rest = (packed[:, :3] / np.float32(255) * 2 - 1) * np.float32(0.5**0.5)
    colors = room.texels("sh0", 0)
    sh = np.zeros((count, SH_BASES[bands], 3), np.float32)
    sh[:, 0] = room.codebook("sh0")[colors[:, :3]]
    if bands > 0:
        sh[:, 1:] = _palette(path, room, bands)
    return checked(
        path,
        means=means,
        quats=restore_largest(packed[:, 3] - np.uint8(252), rest),
        log_scales=room.codebook("scales")[room.texels("scales", 0)[:, :3]],
        logit_opacities=logit(colors[:, 3] / np.float32(255)),
        sh=sh,
        antialiased=meta.get("antialias") is True,
    )


class Textures:
    """The entries of one meta.json, each checked as it is taken."""

    def __init__(self, path: Path, meta: dict[str, Any], count: int, load: Load):
        self.path, self.meta, self.count, self.load = path, meta, count, load

    def entry(self, key: str) -> dict[str, Any]:
        """The object under `key`."""
        value = self.meta.get(key)
        if not isinstance(value, dict):
            raise FormatError(self.path, f"meta.json, {key}", "is missing or no object", REEXPORT)
        return value

    def numbers(self, key: str, field: str, length: int) -> np.ndarray:  # [length]
        """A list of finite numbers."""
        values = self.entry(key).get(field)
        numeric = isinstance(values, list) and all(type(v) in (int, float) and abs(v) < 1e38 for v in values)
        if not isinstance(values, list) or not numeric or len(values) != length:
            rule = f"must be {length} finite numbers"
            raise FormatError(self.path, f"meta.json, {key}.{field}", rule, REEXPORT)
        return np.array(values, np.float32)

    def codebook(self, key: str) -> np.ndarray:  # [256]
        """The values that a byte stands for; a shorter list is padded, since no byte should point behind it."""
        values = self.entry(key).get("codebook")
        length = len(values) if isinstance(values, list) else 256
        return np.resize(self.numbers(key, "codebook", min(max(length, 1), 256)), 256)

    def texels(self, key: str, index: int) -> np.ndarray:  # [count, 4] uint8
        """The first `count` texels of a texture."""
        pixels = self.image(key, index, self.count, 2 * self.count + (1 << 16))
        return pixels.reshape(-1, 4)[: self.count]

    def image(self, key: str, index: int, least: int, most: int) -> np.ndarray:  # [height, width, 4] uint8
        """A texture of at least `least` and at most `most` texels, which is known before it is unpacked."""
        from PIL import Image

        names = _names(self.entry(key))
        place = f"meta.json, {key}.files"
        if len(names) <= index:
            raise FormatError(self.path, place, f"lists {len(names)} files, not {index + 1}", REEXPORT)
        data = self.load(names[index])
        width, height = _webp_size(data)
        if width * height == 0:
            raise FormatError(self.path, names[index], "is no lossless WebP picture", DAMAGED)
        if not least <= width * height <= most:
            rule = f"is {width} x {height} texels, expected at least {least:,} and at most {most:,}"
            raise FormatError(self.path, names[index], rule, REEXPORT)
        try:
            with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
                return np.asarray(picture.convert("RGBA"))
        except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise FormatError(self.path, names[index], f"is no lossless WebP picture ({error})", DAMAGED) from error


def _palette(path: Path, room: Textures, bands: int) -> np.ndarray:  # [count, K - 1, 3]
    """Every Gaussian's row of the palette, through its codebook."""
    bases = SH_BASES[bands] - 1
    size = _count(path, room.entry("shN"), "shN.count", room.entry("shN").get("count"), 1, PALETTE_LIMIT)
    width, lines = PALETTE_WIDTH * bases, -(-size // PALETTE_WIDTH)
    centroids = room.image("shN", 0, width * lines, width * (lines + PALETTE_WIDTH))
    if centroids.shape[1] != width:
        rule = f"its palette is {centroids.shape[1]} texels wide, must be {width} for {bands} bands"
        raise FormatError(path, "meta.json, shN", rule, REEXPORT)
    packed = room.texels("shN", 1)
    labels = packed[:, 0] | packed[:, 1].astype(np.uint16) << np.uint16(8)
    if labels.max() >= size:
        row = int(np.argmax(labels >= size))
        rule = f"palette row {labels[row]}, there are {size}"
        raise FormatError(path, f"vertex {row}", rule, DAMAGED)
    table = room.codebook("shN")[centroids[:, :, :3].reshape(-1, bases, 3)]
    return table[labels]


def _bands(path: Path, meta: dict[str, Any]) -> int:
    if "shN" not in meta:
        return 0
    entry = meta["shN"]
    if not isinstance(entry, dict):
        raise FormatError(path, "meta.json, shN", "must be an object", REEXPORT)
    return _count(path, meta, "shN.bands", entry.get("bands"), 1, 3)


def _count(path: Path, meta: dict[str, Any], field: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        rule = f"is {str(value)[:40]}, must be a whole number from {least} to {most}"
        raise FormatError(path, f"meta.json, {field}", rule, REEXPORT)
    return value


def _meta(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, name, f"is no JSON ({error})", DAMAGED) from error
    if not isinstance(meta, dict) or meta.get("version") != 2:
        number = meta.get("version", "1 or none") if isinstance(meta, dict) else "none"
        rule = f"SOG version {str(number)[:40]}, only 2 is known"
        raise FormatError(path, name, rule, "convert it with a current splat-transform")
    return meta


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == ZIP_MAGIC


def _names(entry: dict[str, Any]) -> list[str]:
    files = entry.get("files")
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header alone, since opening a WebP picture already takes the memory; 0, 0 if it is none.

    Source: RFC 9649, WebP image format.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0


def _inside(path: Path, name: str) -> Path:
    """The file `name` of the folder, refused when it would lie outside, links included."""
    folder = path.parent.resolve()
    outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor != "" or "\0" in name
    if outside or not (folder / name).resolve().is_relative_to(folder):
        raise FormatError(path, "meta.json", f"names {name!r}, outside its folder", "keep textures beside meta.json")
    return folder / name


def _file(path: Path, name: str) -> bytes:
    file = path if name == path.name else _inside(path, name)
    if not file.is_file():
        raise FormatError(path, "meta.json", f"names {name!r}, which is not there", "copy the whole folder")
    if file == path and file.stat().st_size > META_LIMIT:
        raise FormatError(path, name, f"is larger than {META_LIMIT:,} bytes", REEXPORT)
    return file.read_bytes()


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A part of the zip, never more bytes than the zip itself has (WebP does not shrink) or a meta.json may have."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FormatError(path, "zip", f"holds no {name!r}", REEXPORT) from None
    limit = max(META_LIMIT, 2 * path.stat().st_size)
    with archive.open(info) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise FormatError(path, name, f"unpacks to more than {limit:,} bytes", REEXPORT)
    return data
