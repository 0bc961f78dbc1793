"""mkkellogg's .ksplat, levels 0, 1 and 2 (read only).

A header of 4096 bytes, `max sections` section headers of 1024, then the sections: lengths of partial buckets, centres
of buckets, rows. Level 0 holds float32; levels 1 and 2 hold positions as uint16 around the centre of a bucket and the
rest as float16, level 2 its SH as bytes. Sizes are linear, quaternions w x y z, colours and opacity bytes, SH of each
band channel-major. Axes as in the 3DGS .ply.
Source: mkkellogg/GaussianSplats3D, `SplatBuffer.js`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians
from h3d.renderers.harmonics import rgb_to_dc

from .errors import DAMAGED, REEXPORT, FormatError
from .rows import SH_BASES, checked, linear_to_log, logit

QUANTISATION = "level 0: float32; levels 1 and 2: position block/65535, float16; colour and opacity 1/255"
HEADER_BYTES = 4096
SECTION_BYTES = 1024
DEFAULT_SH_RANGE = 1.5
_REST = {0: 0, 1: 9, 2: 24, 3: 45}
_BAND_STARTS = (0, 3, 8, 15)


@dataclass(frozen=True)
class Section:
    """One section: where its rows lie and how they are packed."""

    count: int
    data: int
    """Offset in the file of the partial-bucket lengths."""
    bucket_size: int
    buckets: int
    full_buckets: int
    partial_buckets: int
    step: float
    """Units of one step of a quantised position."""
    middle: int
    """The quantised position that means the centre of the bucket."""
    degree: int
    rows: int
    """Offset in the file of the first row."""


def read(path: Path) -> Gaussians:
    """Gaussians of a .ksplat.

    Raises: FormatError for another version, counts that do not fit each other or the file, or impossible values.
    """
    data = np.fromfile(path, np.uint8)
    level, sections, sh_range = _read_headers(path, data)
    count = sum(section.count for section in sections)
    degree = max((section.degree for section in sections), default=0)
    means, scales = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    quats, rgba = np.empty((count, 4), np.float32), np.empty((count, 4), np.float32)
    sh = np.zeros((count, SH_BASES[degree], 3), np.float32)
    start = 0
    for section in sections:
        rows = slice(start, start + section.count)
        start = rows.stop
        dtype = _row_dtype(level, section.degree)
        block = np.frombuffer(data, dtype, section.count, section.rows)
        means[rows] = block["means"] if level == 0 else _positions(path, data, section, block["means"])
        scales[rows], quats[rows], rgba[rows] = block["scales"], block["quats"], block["rgba"]
        if section.degree > 0:
            _fill_rest(sh[rows], block["rest"], section.degree, sh_range if level == 2 else None)
    rgba /= 255
    sh[:, 0] = rgb_to_dc(rgba[:, :3])
    return checked(
        path,
        means=means,
        quats=quats,
        log_scales=linear_to_log(path, scales),
        logit_opacities=logit(rgba[:, 3]),
        sh=sh,
    )


def version(path: Path) -> str:
    """What `describe` says beside the format's name."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
    return f"{header[0]}.{header[1]}, level {struct.unpack_from('<H', header, 20)[0]}"


def _read_headers(path: Path, data: np.ndarray) -> tuple[int, list[Section], tuple[float, float]]:
    """Level, sections and the range of SH bytes, with every offset and count checked against the file."""
    if len(data) < HEADER_BYTES:
        rule = f"{len(data):,} bytes are fewer than the {HEADER_BYTES} of its header"
        raise FormatError(path, "header", rule, DAMAGED)
    head = data[:HEADER_BYTES].tobytes()
    if head[0] != 0 or head[1] < 1:
        raise FormatError(path, "header", f"version {head[0]}.{head[1]}, only 0.1 and above is known", REEXPORT)
    max_sections, _, _, total = struct.unpack_from("<4I", head, 4)
    level = struct.unpack_from("<H", head, 20)[0]
    if level > 2:
        raise FormatError(path, "header", f"compression level {level}, must be 0, 1 or 2", REEXPORT)
    if HEADER_BYTES + max_sections * SECTION_BYTES > len(data):
        rule = f"declares {max_sections:,} sections, whose headers do not fit into the file"
        raise FormatError(path, "header", rule, DAMAGED)
    offset = HEADER_BYTES + max_sections * SECTION_BYTES
    sections = []
    for index in range(max_sections):
        place = f"section {index}"
        section, offset = _read_section(path, place, data, HEADER_BYTES + index * SECTION_BYTES, level, offset)
        if section.count > 0:
            sections.append(section)
    found = sum(section.count for section in sections)
    if found != total:
        rule = f"declares {total:,} Gaussians, its sections hold {found:,}"
        raise FormatError(path, "header", rule, DAMAGED)
    low, high = struct.unpack_from("<2f", head, 36)
    sh_range = (low or -DEFAULT_SH_RANGE, high or DEFAULT_SH_RANGE)
    return level, sections, sh_range


def _read_section(path: Path, place: str, data: np.ndarray, at: int, level: int, offset: int) -> tuple[Section, int]:
    """One section header, and the offset behind that section."""
    head = data[at : at + SECTION_BYTES].tobytes()
    count, capacity, bucket_size, buckets = struct.unpack_from("<4I", head, 0)
    block_size = struct.unpack_from("<f", head, 16)[0]
    bucket_bytes = struct.unpack_from("<H", head, 20)[0]
    middle, full, partial = (struct.unpack_from("<I", head, field)[0] for field in (24, 32, 36))
    degree = struct.unpack_from("<H", head, 40)[0]
    if degree > 3:
        raise FormatError(path, place, f"SH degree {degree}, must be 0 to 3", REEXPORT)
    if count > capacity:
        raise FormatError(path, place, f"{count:,} Gaussians in room for {capacity:,}", DAMAGED)
    rows = offset + 4 * partial + bucket_bytes * buckets
    end = rows + capacity * _row_dtype(level, degree).itemsize
    # A writer may leave the unused room of the last section out of the file, never a row.
    if rows + count * _row_dtype(level, degree).itemsize > len(data):
        raise FormatError(path, place, f"declares {count:,} Gaussians, but the file ends before the last", DAMAGED)
    middle = middle or 32767
    section = Section(count, offset, bucket_size, buckets, full, partial, block_size / 2 / middle, middle, degree, rows)
    if level > 0 and count > 0 and (bucket_bytes != 12 or full + partial > buckets or not np.isfinite(block_size)):
        rule = f"{buckets:,} buckets of {bucket_bytes} bytes, {full:,} full and {partial:,} partial, do not fit"
        raise FormatError(path, place, rule, DAMAGED)
    return section, end


def _row_dtype(level: int, degree: int) -> np.dtype:
    position, real, rest = {0: ("<f4", "<f4", "<f4"), 1: ("<u2", "<f2", "<f2"), 2: ("<u2", "<f2", "u1")}[level]
    fields = [("means", position, 3), ("scales", real, 3), ("quats", real, 4), ("rgba", "u1", 4)]
    return np.dtype([*fields, ("rest", rest, _REST[degree])] if degree > 0 else fields)


def _positions(path: Path, data: np.ndarray, section: Section, packed: np.ndarray) -> np.ndarray:  # [n, 3]
    """Positions from steps around the centre of each row's bucket: full buckets first, then the partial ones."""
    lengths = np.frombuffer(data, "<u4", section.partial_buckets, section.data).astype(np.int64)
    centres = np.frombuffer(data, "<f4", 3 * section.buckets, section.data + 4 * section.partial_buckets)
    in_full = min(section.full_buckets * section.bucket_size, section.count)
    if in_full + lengths.sum() < section.count:
        rule = f"its buckets hold {in_full + lengths.sum():,} of {section.count:,} Gaussians"
        raise FormatError(path, "section", rule, DAMAGED)
    ends = in_full + np.cumsum(lengths)
    rows = np.arange(section.count)
    bucket = np.where(
        rows < in_full,
        rows // max(1, section.bucket_size),
        section.full_buckets + np.searchsorted(ends, rows, side="right"),
    )
    steps = packed.astype(np.float32) - np.float32(section.middle)
    return steps * np.float32(section.step) + centres.reshape(-1, 3)[bucket]


def _fill_rest(
    sh: np.ndarray,  # [n, K, 3]
    rest: np.ndarray,  # [n, 9, 24 or 45]
    degree: int,
    sh_range: tuple[float, float] | None,
) -> None:
    """SH beyond degree 0: band after band, each with all red, all green, all blue; bytes span `sh_range`."""
    for band in range(1, degree + 1):
        first, last = _BAND_STARTS[band - 1], _BAND_STARTS[band]
        values = rest[:, 3 * first : 3 * last].astype(np.float32).reshape(len(rest), 3, last - first)
        if sh_range is not None:
            values = sh_range[0] + values / 255 * (sh_range[1] - sh_range[0])
        sh[:, 1 + first : 1 + last] = values.transpose(0, 2, 1)
