"""PNG files written strip by strip, so that a picture larger than memory can be saved; and their text read back.

The same pixels and the same text give the same bytes: no time is stored, filters are chosen by a fixed rule and the
compressor sees the same stream however the rows were cut into strips.
Letters: h rows, w columns, C channels (3 RGB, 4 RGB and straight alpha), 8 or 16 bits a sample, sRGB encoded.
Source: PNG specification, third edition (W3C 2025): chunks 11, filters 9, the row filter heuristic of 12.7.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from h3d.models.formats.atomic import replacing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
IDAT_BYTES = 1 << 18
FILTER_BYTES = 1 << 20
COMPRESSION_LEVEL = 6
MAX_TEXT_BYTES = 64 << 20  # of one text chunk that is read back


@contextmanager
def writing_png(
    path: Path,
    width: int,
    height: int,
    *,
    channels: int = 3,
    bit_depth: int = 8,
    text: dict[str, str] | None = None,
) -> Iterator[PngWriter]:
    """A PNG to write rows to, from the top; the file appears when the block ends without an error, and only then."""
    if channels not in (3, 4) or bit_depth not in (8, 16):
        raise ValueError(f"png: {channels} channels of {bit_depth} bits; must be 3 or 4 channels of 8 or 16 bits")
    if not (1 <= width < 2**31 and 1 <= height < 2**31):
        raise ValueError(f"png: {width}x{height} pixels; both sides must be from 1 to 2^31 - 1")
    with replacing(path) as stream:
        stream.write(SIGNATURE)
        header = struct.pack(">IIBBBBB", width, height, bit_depth, 2 if channels == 3 else 6, 0, 0, 0)
        _write_chunk(stream, b"IHDR", header)
        _write_chunk(stream, b"sRGB", b"\x00")  # perceptual rendering intent
        for keyword, value in (text or {}).items():
            _write_chunk(stream, b"iTXt", _pack_text(keyword, value))
        writer = PngWriter(stream, width, height, channels, bit_depth)
        yield writer
        writer.finish()


class PngWriter:
    """The rows of one PNG; made by `writing_png`."""

    def __init__(self, stream: BinaryIO, width: int, height: int, channels: int, bit_depth: int) -> None:
        self._stream = stream
        self._width, self._height, self._channels, self._bit_depth = width, height, channels, bit_depth
        self._rows_written = 0
        self._sample_bytes = bit_depth // 8
        self._last_row = np.zeros(width * channels * self._sample_bytes, np.uint8)
        self._compressor = zlib.compressobj(COMPRESSION_LEVEL, strategy=zlib.Z_FILTERED)
        self._pending = bytearray()

    def write(self, rows: np.ndarray) -> None:  # [h, w, C] uint8 or uint16, as the bit depth says
        """The next rows, from the top."""
        dtype = np.uint8 if self._bit_depth == 8 else np.uint16
        if rows.dtype != dtype or rows.ndim != 3 or rows.shape[1:] != (self._width, self._channels):
            raise ValueError(
                f"png: rows are {rows.dtype} {list(rows.shape)}; must be {np.dtype(dtype)} "
                f"[h, {self._width}, {self._channels}]"
            )
        if self._rows_written + len(rows) > self._height:
            raise ValueError(f"png: row {self._rows_written + len(rows)} of a picture of {self._height} rows")
        # Filtering needs about ten times the bytes of the rows at hand: a few rows at a time keep it small.
        step = max(1, FILTER_BYTES // len(self._last_row))
        for first in range(0, len(rows), step):
            self._compress(rows[first : first + step])
        self._rows_written += len(rows)

    def finish(self) -> None:
        """Closes the picture; all its rows must have been written."""
        if self._rows_written != self._height:
            raise ValueError(f"png: {self._rows_written} of {self._height} rows were written; write them all")
        self._pending += self._compressor.flush()
        self._drain(1)
        _write_chunk(self._stream, b"IEND", b"")

    def _compress(self, rows: np.ndarray) -> None:
        samples = rows if self._bit_depth == 8 else rows.astype(">u2")
        data = np.ascontiguousarray(samples).view(np.uint8).reshape(len(rows), -1)
        above = np.concatenate([self._last_row[None], data[:-1]])
        self._pending += self._compressor.compress(_filtered(data, above, self._channels * self._sample_bytes))
        self._last_row = data[-1].copy()
        self._drain(IDAT_BYTES)

    def _drain(self, at_least: int) -> None:
        """Writes the compressed bytes in chunks of one size, so that the file does not depend on the strips."""
        while len(self._pending) >= at_least:
            _write_chunk(self._stream, b"IDAT", bytes(self._pending[:IDAT_BYTES]))
            del self._pending[:IDAT_BYTES]


def write_png(path: Path, pixels: np.ndarray, text: dict[str, str] | None = None) -> None:  # [h, w, 3 or 4]
    """A whole picture, uint8 or uint16, in one call."""
    height, width, channels = pixels.shape
    bit_depth = 8 * pixels.dtype.itemsize
    with writing_png(path, width, height, channels=channels, bit_depth=bit_depth, text=text) as writer:
        writer.write(pixels)


def read_text(path: Path, keyword: str) -> str | None:
    """The text that a PNG keeps under `keyword`, None when it keeps none.

    Raises:
        ValueError: the file is not a PNG, or is cut short.
    """
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if stream.read(8) != SIGNATURE:
            raise ValueError(f"{path.name}: not a PNG file (its first 8 bytes are not PNG's)")
        while True:
            head = stream.read(8)
            if len(head) < 8:
                raise ValueError(f"{path.name}: cut short at byte {stream.tell()}, before the end chunk; save it again")
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return None
            if kind == b"iTXt" and length <= min(size, MAX_TEXT_BYTES):
                found, value = _unpack_text(stream.read(length), path.name)
                if found == keyword:
                    return value
                stream.seek(4, os.SEEK_CUR)
            else:
                stream.seek(length + 4, os.SEEK_CUR)


def _filtered(data: np.ndarray, above: np.ndarray, stride: int) -> bytes:  # [h, B] uint8, [h, B] uint8
    """The rows with filter bytes; of None, Sub, Up, Average, Paeth each row takes the one of least absolute sum."""
    left, corner = np.zeros_like(data), np.zeros_like(data)
    left[:, stride:] = data[:, :-stride]
    corner[:, stride:] = above[:, :-stride]
    out = np.empty((data.shape[0], data.shape[1] + 1), np.uint8)
    best = np.full(data.shape[0], np.iinfo(np.int64).max)
    for kind in range(5):
        residual = data - _prediction(kind, left, above, corner)
        # Residuals are read as signed bytes: 255 is one step down and costs 1.
        cost = np.abs(residual.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = cost < best
        best[better] = cost[better]
        out[better, 0] = kind
        out[better, 1:] = residual[better]
    return out.tobytes()


def _prediction(kind: int, left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """What filter `kind` (0 None, 1 Sub, 2 Up, 3 Average, 4 Paeth) predicts for each byte, [h, B] uint8."""
    if kind == 0:
        return np.zeros_like(left)
    if kind == 1:
        return left
    if kind == 2:
        return above
    if kind == 3:
        return (left & above) + ((left ^ above) >> 1)  # floor of the mean without leaving 8 bits
    a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner))


def _write_chunk(stream: BinaryIO, kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _pack_text(keyword: str, value: str) -> bytes:
    """An uncompressed iTXt chunk without language: keyword, four empty fields, UTF-8 text."""
    return keyword.encode("latin-1") + b"\x00\x00\x00\x00\x00" + value.encode("utf-8")


def _unpack_text(data: bytes, name: str) -> tuple[str, str]:
    """Keyword and text of an uncompressed iTXt chunk; the text of a compressed one is left empty."""
    keyword, _, rest = data.partition(b"\x00")
    if len(rest) < 2:
        raise ValueError(f"{name}: a text chunk is cut short; save the picture again")
    fields = rest[2:].split(b"\x00", 2)
    text = fields[2] if len(fields) == 3 and rest[0] == 0 else b""
    return keyword.decode("latin-1"), text.decode("utf-8", "replace")
