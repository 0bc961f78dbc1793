"""Niantic's .spz, versions 1 to 4 (versions 1 to 3: one gzip stream; version 4: a zstd stream an attribute).

Positions are 24-bit fixed point (version 1: float16), log sizes a byte (s + 10) * 16, opacity a byte, colour a byte
f_dc * 0.15 + 0.5, quaternions x y z w as three bytes (versions 1, 2) or the smallest three in 4 (3 and above), SH
bytes around 128, coefficient-major with the channels inside.

Axes on disk are right, up, back, unless an extension says otherwise; this reader turns them to right, down, forward
(y and z change sign, and with them quaternions and SH), and the writer back. That this is so in practice was checked
on one capture that is published as .compressed.ply and as .spz. A program that skips the turn shows it upside down.
Source: nianticlabs/spz, README and `load-spz.cc`; extension SPZ_ADOBE_coordinate_system.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from h3d.models.gaussians import Gaussians

from .atomic import replacing
from .axes import Signs, factors, flipped
from .errors import DAMAGED, REEXPORT, FormatError
from .rows import checked, logit, require_room, sigmoid
from .smallest_three import drop_largest, restore_largest
from .spatial_order import morton_order

QUANTISATION = (
    "position 1/2^19 of the extent, or 1/4096 if that is finer (1/2^23 of the extent beyond 2048 units), "
    "log size 1/16 within -10..5.9, colour 1/38 in f_dc within +-3.3, opacity 1/255, quaternion 1/361, "
    "SH 1/16 (degree 1) and 1/8 within +-1"
)
MAGIC = b"NGSP"
GZIP_MAGIC = b"\x1f\x8b"
COLOR_SCALE = 0.15
BANDS = {0: 0, 1: 3, 2: 8, 3: 15, 4: 24}
MOST_FRACTIONAL_BITS = 24
MAX_EXPANDED_WINDOW = 1 << 27
PACK_ROWS = 1 << 16
RECORDS_LIMIT = 1 << 16
"""Bytes of extension records that are looked at."""
COORDINATE_SYSTEM = 0xADBE0003
RIGHT_UP_BACK = 4
FLIP_YZ = (1, -1, -1)
QUARTER_TURN = np.array([0.5**0.5, 0.5**0.5, 0, 0])
"""wxyz of the rotation about x that takes right, forward, up to right, down, forward."""
_STREAMS = ("positions", "alphas", "colors", "scales", "rotations", "sh")


@dataclass(frozen=True)
class SpzHeader:
    """The fields that versions 1 to 4 share."""

    version: int
    count: int
    degree: int
    fractional_bits: int
    antialiased: bool
    extended: bool

    @property
    def stream_bytes(self) -> dict[str, int]:
        """Bytes of each attribute before compression, in file order."""
        position, rotation = 6 if self.version == 1 else 9, 3 if self.version < 3 else 4
        each = (position, 1, 3, 3, rotation, 3 * BANDS[self.degree])
        return {name: self.count * size for name, size in zip(_STREAMS, each, strict=True)}


def is_spz(start: bytes) -> bool:
    """Whether a file that starts so is an SPZ: of version 4 by its mark, else any gzip, which `read` looks into."""
    return start.startswith((MAGIC, GZIP_MAGIC))


def read(path: Path) -> Gaussians:
    """Gaussians of an .spz.

    Raises: FormatError for another version, streams that do not have the declared size, or impossible values.
    """
    data = path.read_bytes()
    header, streams, coordinates = _read_zstd(path, data) if data.startswith(MAGIC) else _read_gzip(path, data)
    means = _positions(header, streams["positions"])
    sh = np.empty((header.count, 1 + min(BANDS[header.degree], 15), 3), np.float32)
    sh[:, 0] = (streams["colors"].reshape(-1, 3) / np.float32(255) - np.float32(0.5)) / np.float32(COLOR_SCALE)
    rest = streams["sh"].reshape(header.count, BANDS[header.degree], 3)
    sh[:, 1:] = rest[:, : sh.shape[1] - 1]
    sh[:, 1:] -= 128
    sh[:, 1:] /= 128
    quats = _quaternions(header, streams["rotations"])
    turn_means, turn_quats, turn_sh = factors(_signs(path, coordinates), sh.shape[1])
    means *= turn_means
    quats *= turn_quats
    sh *= turn_sh
    value = checked(
        path,
        means=means,
        quats=quats,
        log_scales=streams["scales"].reshape(-1, 3) / np.float32(16) - np.float32(10),
        logit_opacities=logit(streams["alphas"] / np.float32(255)),
        sh=sh,
        antialiased=header.antialiased,
        remark="spherical harmonics of degree 4 cut to 3" if header.degree == 4 else "",
    )
    return value if coordinates <= 8 else value.transformed(QUARTER_TURN, np.zeros(3))


def version(path: Path) -> str:
    """What `describe` says beside the format's name."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    if not start.startswith(MAGIC):
        start = zlib.decompressobj(31).decompress(start, 16)
    number = struct.unpack_from("<I", start, 4)[0]
    return f"version {number}, {'zstd' if number >= 4 else 'gzip'}"


def write(path: Path, value: Gaussians, version: Literal[3, 4] = 3) -> None:
    """Writes version 3, which every reader of SPZ knows, or 4; axes right, up, back, in Morton order.

    Raises: FormatError when a position is too far out for 24 bits.
    """
    value = flipped(value, FLIP_YZ).keep(_order(value))
    parts = [value.means, value.quats, value.log_scales, value.logit_opacities, value.sh]
    means, quats, log_scales, logits, sh = (part.detach().cpu().numpy() for part in parts)
    bits = _fractional_bits(path, float(np.abs(means).max()))
    streams = {
        "positions": np.rint(means * 2.0**bits).astype("<i4").view(np.uint8).reshape(-1, 3, 4)[:, :, :3].tobytes(),
        "alphas": _bytes(sigmoid(logits) * 255),
        "colors": _bytes((sh[:, 0] * COLOR_SCALE + 0.5) * 255),
        "scales": _bytes((log_scales + 10) * 16),
        "rotations": _pack_quats(quats),
        "sh": _pack_rest(sh[:, 1:]),
    }
    payload = [stream for stream in streams.values() if len(stream) > 0]
    flags = int(value.antialiased)
    head = MAGIC + struct.pack("<IIBBB", version, len(value), value.sh_degree, bits, flags)
    with replacing(path) as file:
        if version == 3:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            for piece in (head + b"\0", *payload):
                file.write(packer.compress(piece))
            file.write(packer.flush())
            return
        import zstandard

        packed = [zstandard.ZstdCompressor(level=12).compress(stream) for stream in payload]
        file.write(head + struct.pack("<BI12x", len(packed), 32))
        for small, large in zip(packed, payload, strict=True):
            file.write(struct.pack("<QQ", len(small), len(large)))
        file.write(b"".join(packed))


def _read_header(path: Path, head: bytes, file_bytes: int) -> SpzHeader:
    """The 16 bytes that all versions start with."""
    if len(head) < 16 or not head.startswith(MAGIC):
        raise FormatError(path, "header", "has no SPZ header (`NGSP`) inside", REEXPORT)
    version, count, degree, bits, flags = struct.unpack_from("<IIBBB", head, 4)
    if not 1 <= version <= 4:
        raise FormatError(path, "header", f"version {version}, only 1 to 4 are known", "export it as version 3 or 4")
    if degree not in BANDS or bits > MOST_FRACTIONAL_BITS:
        rule = f"SH degree {degree} and {bits} fractional bits, must be at most 4 and {MOST_FRACTIONAL_BITS}"
        raise FormatError(path, "header", rule, DAMAGED)
    require_room(path, count, min(degree, 3), file_bytes)
    return SpzHeader(version, count, degree, bits, bool(flags & 1), bool(flags & 2))


def _read_gzip(path: Path, data: bytes) -> tuple[SpzHeader, dict[str, np.ndarray], int]:
    """Versions 1 to 3. Never inflates more than the header declares, whatever the stream holds."""
    inflater = zlib.decompressobj(31)
    try:
        head = inflater.decompress(data, 16)
        header = _read_header(path, head, len(data))
        if header.version > 3:
            raise FormatError(path, "header", f"version {header.version} must not be a gzip stream", REEXPORT)
        needed = sum(header.stream_bytes.values())
        payload = inflater.decompress(inflater.unconsumed_tail, needed) if needed > 0 else b""
        records = inflater.decompress(inflater.unconsumed_tail, RECORDS_LIMIT)
    except zlib.error as error:
        raise FormatError(path, "gzip stream", str(error), DAMAGED) from error
    if len(payload) < needed or not inflater.eof or (len(records) > 0 and not header.extended):
        held = f"{len(payload):,} bytes" if len(payload) < needed else "more" if len(records) > 0 else "no end"
        rule = f"declares {header.count:,} Gaussians ({needed:,} bytes), holds {held}"
        raise FormatError(path, "gzip stream", rule, DAMAGED)
    streams, start = {}, 0
    for name, size in header.stream_bytes.items():
        streams[name] = np.frombuffer(payload, np.uint8, size, start)
        start += size
    return header, streams, _coordinate_system(records)


def _read_zstd(path: Path, data: bytes) -> tuple[SpzHeader, dict[str, np.ndarray], int]:
    """Version 4: header, extensions, a table of stream sizes, the streams (empty ones are left out)."""
    import zstandard

    header = _read_header(path, data[:16], len(data))
    if header.version < 4 or len(data) < 32:
        rule = f"version {header.version} with {len(data)} bytes must be a gzip stream or have a header of 32 bytes"
        raise FormatError(path, "header", rule, DAMAGED)
    number, table = struct.unpack_from("<BI", data, 15)
    sizes = {name: size for name, size in header.stream_bytes.items() if size > 0}
    if number != len(sizes) or not 32 <= table <= len(data) - 16 * number:
        rule = f"{number} streams at byte {table}, must be {len(sizes)} within the file"
        raise FormatError(path, "header", rule, DAMAGED)
    streams = {name: np.empty(0, np.uint8) for name in _STREAMS}
    at = table + 16 * number
    for index, (name, size) in enumerate(sizes.items()):
        packed, unpacked = struct.unpack_from("<QQ", data, table + 16 * index)
        if unpacked != size or packed > len(data) - at:
            rule = f"{packed:,} bytes for {unpacked:,}, must lie in the file and unpack to {size:,}"
            raise FormatError(path, f"stream {name}", rule, DAMAGED)
        try:
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_EXPANDED_WINDOW)
            stream = reader.stream_reader(memoryview(data)[at : at + packed])
            raw, more = stream.read(size), stream.read(1)
        except zstandard.ZstdError as error:
            raise FormatError(path, f"stream {name}", str(error), DAMAGED) from error
        if len(raw) < size or len(more) > 0:
            held = f"{len(raw):,} bytes" if len(raw) < size else "more bytes"
            raise FormatError(path, f"stream {name}", f"holds {held} where {size:,} are declared", DAMAGED)
        streams[name] = np.frombuffer(raw, np.uint8)
        at += packed
    return header, streams, _coordinate_system(data[32:table] if header.extended else b"")


def _coordinate_system(records: bytes) -> int:
    """The axes on disk by extension records (type, length, payload), or right-up-back where none says."""
    at = 0
    while at + 8 <= len(records):
        kind, length = struct.unpack_from("<II", records, at)
        if kind == COORDINATE_SYSTEM and length >= 4 and at + 12 <= len(records):
            return struct.unpack_from("<I", records, at + 8)[0] or RIGHT_UP_BACK
        at += 8 + length
    return RIGHT_UP_BACK


def _signs(path: Path, coordinates: int) -> Signs:
    """What turns the extension's axes to right, down, forward, up to the quarter turn that 9 and above also need.

    Numbers are 1 + bits (right, up, forward); from 9 on 9 + bits (right, up, back), y being forward or back there and
    z up or down: those are made right, forward, up.
    """
    if not 1 <= coordinates <= 16:
        raise FormatError(path, "extension", f"coordinate system {coordinates}, only 1 to 16 are known", REEXPORT)
    bits = (coordinates - 1) & 7
    right, second, third = (1 if bits >> bit & 1 else -1 for bit in range(3))
    return (right, -second, third) if coordinates <= 8 else (right, -third, second)


def _positions(header: SpzHeader, raw: np.ndarray) -> np.ndarray:  # [bytes] -> [N, 3]
    if header.version == 1:
        return raw.view("<f2").reshape(-1, 3).astype(np.float32)
    low, middle, high = (raw[index::3].astype(np.int32) for index in range(3))
    fixed = low | middle << 8 | (high ^ 128) - 128 << 16
    return (fixed * np.float32(2.0**-header.fractional_bits)).reshape(-1, 3)


def _quaternions(header: SpzHeader, raw: np.ndarray) -> np.ndarray:  # [bytes] -> [N, 4] wxyz
    if header.version < 3:
        quats = np.empty((header.count, 4), np.float32)
        quats[:, 1:] = raw.reshape(-1, 3) / np.float32(127.5) - 1
        quats[:, 0] = np.sqrt(np.maximum(0, 1 - np.einsum("nk,nk->n", quats[:, 1:], quats[:, 1:])))
        return quats
    packed = raw.view("<u4")
    rest = np.empty((header.count, 3), np.float32)
    for column, shift in enumerate((20, 10, 0)):
        magnitude = ((packed >> np.uint32(shift)) & np.uint32(511)).astype(np.float32)
        negative = packed >> np.uint32(shift + 9) & np.uint32(1)
        rest[:, column] = np.where(negative, -magnitude, magnitude)
    xyzw = restore_largest(packed >> np.uint32(30), rest * np.float32(0.5**0.5 / 511))
    return xyzw[:, [3, 0, 1, 2]]


def _pack_quats(quats: np.ndarray) -> bytes:  # [N, 4] wxyz
    largest, rest = drop_largest(quats[:, [1, 2, 3, 0]])
    magnitude = np.clip(np.rint(np.abs(rest) * (511 / 0.5**0.5)), 0, 511).astype(np.uint32)
    a, b, c = (magnitude | (rest < 0).astype(np.uint32) << np.uint32(9)).T
    return (
        (largest.astype(np.uint32) << np.uint32(30) | a << np.uint32(20) | b << np.uint32(10) | c)
        .astype("<u4")
        .tobytes()
    )


def _pack_rest(rest: np.ndarray) -> bytes:  # [N, K - 1, 3]
    """SH as bytes in steps of 8 (degree 1) and 16, the reference's default: coarser steps compress far better."""
    step = np.where(np.arange(rest.shape[1]) < 3, 8, 16).astype(np.float32)[:, None]
    pieces = (rest[start : start + PACK_ROWS] for start in range(0, len(rest), PACK_ROWS))
    return b"".join(_bytes(np.rint(piece * (128 / step)) * step + 128) for piece in pieces)


def _bytes(values: np.ndarray) -> bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()


def _order(value: Gaussians):
    import torch

    return torch.from_numpy(morton_order(value.means.detach().cpu().numpy())).to(value.means.device)


def _fractional_bits(path: Path, farthest: float) -> int:
    """12 as the reference has; fewer so that far scenes fit, more so that small ones keep 1/2^19 of their extent."""
    fitting = int(np.floor(np.log2((2**23 - 1) / max(farthest, 1e-6))))
    if fitting < 0:
        rule = f"a position at {farthest:g} does not fit into 24 bits"
        raise FormatError(path, "value", rule, "scale the scene down, or write .ply")
    return min(fitting, max(12, min(fitting - 4, MOST_FRACTIONAL_BITS)))
