"""Writers of pictures for tests, some of which no library at hand can write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def noise(height: int, width: int, channels: int = 3, *, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """[H, W, channels], every value of an unsigned type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def write_png(path: Path, samples: np.ndarray, kind: int, *, filters: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    """A PNG of samples [H, W, C] of 8 or 16 bits, its rows filtered in turn, byte by byte as the standard says."""
    height, width = samples.shape[:2]
    depth = 8 * samples.dtype.itemsize
    plain = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8).astype(int)
    back = samples.shape[2] * samples.dtype.itemsize
    rows = []
    for y in range(height):
        chosen = filters[y % len(filters)]
        above = plain[y - 1] if y > 0 else np.zeros_like(plain[y])
        row = [plain[y, i] - _predicted(chosen, plain[y], above, i, back) for i in range(plain.shape[1])]
        rows.append(bytes([chosen, *(value % 256 for value in row)]))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    half = len(data) // 2  # Pixels may lie in several chunks.
    chunks = ((b"IHDR", header), (b"IDAT", data[:half]), (b"IDAT", data[half:]), (b"IEND", b""))
    path.write_bytes(PNG_MAGIC + b"".join(png_chunk(name, content) for name, content in chunks))


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _predicted(chosen: int, row: np.ndarray, above: np.ndarray, i: int, back: int) -> int:
    left = int(row[i - back]) if i >= back else 0
    up, corner = int(above[i]), int(above[i - back]) if i >= back else 0
    if chosen == 4:
        nearest = {abs(left + up - corner - value): value for value in (corner, up, left)}
        return nearest[min(nearest)]
    return (0, left, up, (left + up) // 2)[chosen]


def write_exr(path: Path, pixels: np.ndarray, *, tiled: bool = False) -> None:
    """[H, W, 3 | 4] linear light, premultiplied."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.tiledimage if tiled else OpenEXR.scanlineimage}
    if tiled:
        tiles = OpenEXR.TileDescription()
        tiles.xSize = tiles.ySize = 16
        header["tiles"] = tiles
    with OpenEXR.File(header, {"RGBA" if pixels.shape[2] == 4 else "RGB": pixels}) as file:
        file.write(str(path))


def smooth(height: int, width: int) -> np.ndarray:
    """[H, W, 3] uint8: waves of several lengths, in which every place differs."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(23 * y * x + 5 * x), np.sin(17 * y)], axis=-1)
    return np.rint(127.5 + 120 * waves).astype(np.uint8)
