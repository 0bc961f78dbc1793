"""PNG strip by strip, exact for every depth and kind, in the memory of a few rows; interlaced ones whole, by Pillow.

The filters of PNG work on each byte of a pixel by itself. So a band of rows, with the row before it put on top, is a
picture of its own: it is wrapped as a small 8-bit PNG, which Pillow's C code decodes. Of 16-bit samples the high bytes
make one such picture and the low bytes another (Pillow itself would drop the low ones).
Source: W3C, "Portable Network Graphics (PNG) Specification", third edition.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from h3d.models.formats.errors import DAMAGED, FormatError

from . import whole
from .strips import Strips, checked, over_white

MAGIC = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel, by colour type: grey, RGB, palette, grey and alpha, RGB and alpha."""
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
BAND_BYTES = 1 << 24
PIECE = 1 << 16


@dataclass(frozen=True)
class Header:
    """What stands before the pixels."""

    path: Path
    width: int
    height: int
    depth: int
    kind: int  # colour type
    interlaced: bool
    palette: np.ndarray  # [256, 4] uint8
    key: tuple[int, ...] | None  # the colour that is transparent

    @property
    def channels(self) -> int:
        return CHANNELS[self.kind]

    @property
    def row_bytes(self) -> int:
        return (self.width * self.channels * self.depth + 7) // 8


def read(path: Path) -> Strips:
    """The strips of a PNG. Raises: FormatError for a damaged header."""
    with open(path, "rb") as file:
        header = _header(path, file)
    if header.interlaced:
        return whole.read(path)
    dtype = np.dtype(np.uint16 if header.depth == 16 else np.uint8)
    return checked(path, Strips(header.width, header.height, dtype, lambda: _bands(header)))


def _header(path: Path, file: BinaryIO) -> Header:
    """The chunks up to the first of the pixels."""
    file.read(len(MAGIC))
    fields: tuple[int, ...] | None = None
    palette, key, alpha = np.full((256, 4), 255, np.uint8), None, b""
    while (chunk := _next_chunk(path, file))[0] != b"IDAT":
        name, size = chunk
        if size > 1 << 24:  # Profiles and texts are of no use here, however long they are.
            file.seek(size + 4, io.SEEK_CUR)
            continue
        content = _content(path, file, name, size)
        if name == b"IHDR" and size == 13:
            fields = struct.unpack(">IIBBBBB", content)
        elif name == b"PLTE":
            colours = np.frombuffer(content[: size // 3 * 3], np.uint8).reshape(-1, 3)[:256]
            palette[: len(colours), :3] = colours
        elif name == b"tRNS":
            alpha = content
    if fields is None:
        raise FormatError(path, "IHDR", "the header is missing", DAMAGED)
    width, height, depth, kind, _, _, interlace = fields
    if depth not in DEPTHS.get(kind, ()):
        raise FormatError(path, "IHDR", f"there is no colour type {kind} of {depth} bits", DAMAGED)
    if kind == 3:
        palette[: len(alpha), 3] = np.frombuffer(alpha[:256], np.uint8)
    elif kind in (0, 2) and len(alpha) >= 2 * CHANNELS[kind]:
        key = struct.unpack(f">{CHANNELS[kind]}H", alpha[: 2 * CHANNELS[kind]])
    return Header(path, width, height, depth, kind, interlace != 0, palette, key)


def _next_chunk(path: Path, file: BinaryIO) -> tuple[bytes, int]:
    start = file.read(8)
    if len(start) < 8:
        raise FormatError(path, "chunks", "the file ends before its last chunk", DAMAGED)
    return start[4:], int.from_bytes(start[:4], "big")


def _content(path: Path, file: BinaryIO, name: bytes, size: int) -> bytes:
    content, checksum = file.read(size), file.read(4)
    if len(checksum) < 4 or zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
        raise FormatError(path, ascii(name)[2:-1], "the chunk is cut short or its checksum is wrong", DAMAGED)
    return content


def _bands(header: Header) -> Iterator[np.ndarray]:  # [h, W, 3] uint8 or uint16
    line = 1 + header.row_bytes
    rows_a_band = max(1, BAND_BYTES // line)
    above = np.zeros((1, header.row_bytes), np.uint8)
    row, waiting = 0, bytearray()
    for piece in _inflated(header):
        waiting += piece
        while row < header.height and len(waiting) >= line * min(rows_a_band, header.height - row):
            rows = min(rows_a_band, header.height - row)
            filtered = np.frombuffer(waiting[: rows * line], np.uint8).reshape(rows, line)
            del waiting[: rows * line]
            plain = _unfiltered(header, filtered, above)
            above = plain[-1:]
            row += rows
            yield _colours(header, plain)
    if row < header.height:
        raise FormatError(header.path, "pixels", f"they end in row {row:,} of {header.height:,}", DAMAGED)


def _inflated(header: Header) -> Iterator[bytes]:
    """The filtered rows, piece by piece; no piece is long, whatever the data claims."""
    stream = zlib.decompressobj()
    try:
        with open(header.path, "rb") as file:
            file.seek(len(MAGIC))
            while (chunk := _next_chunk(header.path, file))[0] != b"IEND":
                name, left = chunk
                if name != b"IDAT":
                    file.seek(left + 4, io.SEEK_CUR)
                    continue
                checksum = zlib.crc32(name)
                while left > 0 and len(data := file.read(min(left, PIECE))) > 0:
                    left -= len(data)
                    checksum = zlib.crc32(data, checksum)
                    while len(data) > 0:
                        yield stream.decompress(data, 16 * PIECE)
                        data = stream.unconsumed_tail
                if left > 0 or file.read(4) != checksum.to_bytes(4, "big"):
                    raise FormatError(header.path, "IDAT", "it is cut short or its checksum is wrong", DAMAGED)
    except zlib.error as error:
        raise FormatError(header.path, "pixels", f"cannot be decompressed ({error})", DAMAGED) from error


def _unfiltered(header: Header, filtered: np.ndarray, above: np.ndarray) -> np.ndarray:  # [h, 1 + B], [1, B] -> [h, B]
    """The bytes of a band of rows; `above` is the row before it."""
    if int(filtered[:, 0].max()) > 4:
        raise FormatError(header.path, "pixels", f"there is no filter {int(filtered[:, 0].max())}", DAMAGED)
    channels = header.channels if header.depth >= 8 else 1
    content = np.concatenate([above, filtered[:, 1:]])
    filters = np.concatenate([np.zeros((1, 1), np.uint8), filtered[:, :1]])
    if header.depth != 16:
        return _decoded(content, filters, channels)[1:]
    out = np.empty_like(content)
    for half in (0, 1):
        out[:, half::2] = _decoded(content[:, half::2], filters, channels)
    return out[1:]


def _decoded(content: np.ndarray, filters: np.ndarray, channels: int) -> np.ndarray:  # [h, B], [h, 1] -> [h, B]
    """Filtered rows of 8-bit pixels of so many channels, through Pillow."""
    from PIL import Image

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    height, width = len(content), content.shape[1] // channels
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(np.concatenate([filters, content], axis=1).tobytes(), 0)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
              for name, data in parts)  # fmt: skip
    with whole.large_pictures():
        picture = Image.open(io.BytesIO(MAGIC + b"".join(chunks)), formats=("PNG",))
    return np.asarray(picture).reshape(content.shape)


def _colours(header: Header, plain: np.ndarray) -> np.ndarray:  # [h, B] uint8 -> [h, W, 3]
    """What the bytes of rows mean."""
    if header.depth == 16:
        samples = plain.view(">u2").astype(np.uint16)
    elif header.depth == 8:
        samples = plain
    else:
        bits = np.unpackbits(plain, axis=1).reshape(len(plain), -1, header.depth)
        samples = np.packbits(bits, axis=2)[..., 0] >> (8 - header.depth)
        samples = samples[:, : header.width]
    samples = samples.reshape(len(plain), header.width, header.channels)
    if header.kind == 3:
        rgba = header.palette[samples[..., 0]]
        return rgba[..., :3] if int(header.palette[:, 3].min()) == 255 else over_white(rgba[..., :3], rgba[..., 3:])
    opaque = None if header.key is None else (samples != np.array(header.key, samples.dtype)).any(axis=2)
    if header.depth < 8:
        samples = samples * np.uint8(255 // (2**header.depth - 1))
    rgb = samples[..., :3] if header.channels >= 3 else np.repeat(samples[..., :1], 3, axis=2)
    if header.kind in (4, 6):
        return over_white(rgb, samples[..., -1:])
    return rgb if opaque is None else np.where(opaque[..., None], rgb, np.iinfo(rgb.dtype).max).astype(rgb.dtype)
