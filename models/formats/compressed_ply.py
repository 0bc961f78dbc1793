"""PlayCanvas' .compressed.ply: 16 bytes a Gaussian, quantised between the bounds of chunks of 256.

Element `chunk` holds bounds (12 floats, or 18 with those of colour), `vertex` four uint32, `sh` one byte a coefficient,
channel-major. Positions and log sizes have 11, 10 and 11 bits; a quaternion (w x y z) is its smallest three at 10 bits
behind a 2-bit index; colour and opacity have 8 bits each, the opacity as a plain number. Axes as in the 3DGS .ply.
Source: playcanvas/splat-transform, the format's reference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians
from h3d.renderers.harmonics import dc_to_rgb, rgb_to_dc

from .atomic import replacing
from .errors import REEXPORT, FormatError
from .ply_header import Element, Header, blocks, read_header, require_size
from .rows import SH_BASES, checked, logit, sigmoid
from .smallest_three import drop_largest, restore_largest
from .spatial_order import chunk_order

QUANTISATION = (
    "position and log size 1/2047 of their range in 256 neighbours (y 1/1023), log size within -20..20, "
    "colour 1/255 of that range, opacity 1/255, quaternion 0.0007, SH steps of 1/32 within -4..4"
)
CHUNK = 256
_AXES = ("x", "y", "z")
_BOUNDS = tuple(f"{side}_{part}{axis}" for part in ("", "scale_") for side in ("min", "max") for axis in _AXES)
_COLOR_BOUNDS = tuple(f"{side}_{channel}" for side in ("min", "max") for channel in "rgb")
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_DEGREE_OF_REST = {0: 0, 9: 1, 24: 2, 45: 3}
LOG_SCALE_LIMIT = 20.0
SH_RANGE = 8.0


def is_compressed(header: Header) -> bool:
    """Whether a PLY header is one of this format."""
    vertex = header.element("vertex")
    return header.element("chunk") is not None and vertex is not None and "packed_position" in vertex.names


def read(path: Path) -> Gaussians:
    """Gaussians of a .compressed.ply.

    Raises: FormatError for a missing field, counts that do not fit each other or the file, or bounds that are no
    numbers.
    """
    header = read_header(path)
    chunk, vertex = _required(path, header, "chunk", _BOUNDS), _required(path, header, "vertex", _PACKED)
    bases = _sh_bases(path, header, vertex.count)
    if chunk.count != -(-vertex.count // CHUNK):
        rule = f"{chunk.count:,} chunks of {CHUNK} for {vertex.count:,} vertices"
        raise FormatError(path, "header", rule, REEXPORT)
    require_size(path, header, "sh" if bases > 1 else "vertex")
    bounds = _read_bounds(path, header, chunk)
    count = vertex.count
    means, quats = np.empty((count, 3), np.float32), np.empty((count, 4), np.float32)
    log_scales, alphas = np.empty((count, 3), np.float32), np.empty(count, np.float32)
    sh = np.empty((count, bases, 3), np.float32)
    for start, block in blocks(path, header, vertex):
        rows = slice(start, start + len(block))
        chunks = np.arange(rows.start, rows.stop) // CHUNK
        position, scale, color = (_integers(block[f"packed_{name}"]) for name in ("position", "scale", "color"))
        means[rows] = _between(bounds[chunks, 0:6], _unpack_111011(position))
        log_scales[rows] = _between(bounds[chunks, 6:12], _unpack_111011(scale))
        quats[rows] = _unpack_quats(_integers(block["packed_rotation"]))
        rgba = color.astype(">u4").view(np.uint8).reshape(-1, 4) / np.float32(255)
        sh[rows, 0] = rgb_to_dc(_between(bounds[chunks, 12:18], rgba[:, :3]))
        alphas[rows] = rgba[:, 3]
    if bases > 1:
        _read_rest(path, header, sh)
    return checked(
        path,
        means=means,
        quats=quats,
        log_scales=log_scales,
        logit_opacities=logit(alphas),
        sh=sh,
        antialiased=header.antialiased,
    )


def version(header: Header) -> str:
    """What `describe` says beside the format's name."""
    chunk = header.element("chunk")
    return "with colour bounds" if chunk is not None and "min_r" in chunk.names else "without colour bounds"


def write(path: Path, value: Gaussians) -> None:
    """Writes chunks of 256 neighbours, found by splitting space, so that the bounds of each are tight."""
    parts = [value.means, value.quats, value.log_scales, value.logit_opacities, value.sh]
    means, quats, log_scales, logits, sh = (part.detach().cpu().numpy() for part in parts)
    order = chunk_order(means, CHUNK)
    rest = 3 * (sh.shape[1] - 1)
    lines = ["ply", "format binary_little_endian 1.0", *(["comment SplatRenderMode: mip"] if value.antialiased else [])]
    lines += [f"element chunk {-(-len(order) // CHUNK)}"]
    lines += [f"property float {name}" for name in (*_BOUNDS, *_COLOR_BOUNDS)]
    lines += [f"element vertex {len(order)}", *(f"property uint {name}" for name in _PACKED)]
    if rest > 0:
        lines += [f"element sh {len(order)}", *(f"property uchar f_rest_{i}" for i in range(rest))]
    packed = np.empty((len(order), 4), "<u4")
    color = dc_to_rgb(sh[order, 0])
    position_bounds, packed[:, 0] = _pack_111011(means[order])
    scale_bounds, packed[:, 2] = _pack_111011(np.clip(log_scales[order], -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
    packed[:, 1] = _pack_quats(quats[order])
    color_bounds, unit = _normalised(color)
    rgba = np.column_stack([unit, sigmoid(logits[order])])
    packed[:, 3] = np.rint(rgba * 255).astype(np.uint8).view(">u4")[:, 0]
    with replacing(path) as file:
        file.write("\n".join([*lines, "end_header", ""]).encode())
        file.write(np.hstack([position_bounds, scale_bounds, color_bounds]).astype("<f4").tobytes())
        file.write(packed.tobytes())
        for start in range(0, len(order) if rest > 0 else 0, 1 << 16):
            coefficients = sh[order[start : start + (1 << 16)], 1:].transpose(0, 2, 1)
            file.write(np.clip(np.floor((coefficients / SH_RANGE + 0.5) * 256), 0, 255).astype(np.uint8).tobytes())


def _required(path: Path, header: Header, name: str, fields: tuple[str, ...]) -> Element:
    element = header.element(name)
    missing = [f for f in fields if element is None or f not in element.names]
    if element is None or len(missing) > 0:
        raise FormatError(path, "header", f"element {name} has no {', '.join(missing)}", REEXPORT)
    return element


def _sh_bases(path: Path, header: Header, count: int) -> int:
    element = header.element("sh")
    if element is None:
        return 1
    rest = len(element.names)
    if element.count != count or rest not in _DEGREE_OF_REST or element.names != _rest_names(rest):
        rule = f"element sh has {element.count:,} rows of {rest} fields, must be {count:,} of f_rest_0.. (9, 24 or 45)"
        raise FormatError(path, "header", rule, REEXPORT)
    return SH_BASES[_DEGREE_OF_REST[rest]]


def _rest_names(rest: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{i}" for i in range(rest))


def _read_bounds(path: Path, header: Header, chunk: Element) -> np.ndarray:
    """[chunks, 18]: low xyz, high xyz of position, log size and colour; colour is 0..1 in old files."""
    bounds = np.zeros((chunk.count, 18), np.float32)
    bounds[:, 15:] = 1
    colored = all(name in chunk.names for name in _COLOR_BOUNDS)
    for start, block in blocks(path, header, chunk):
        for column, name in enumerate((*_BOUNDS, *(_COLOR_BOUNDS if colored else ()))):
            bounds[start : start + len(block), column] = block[name]
    bad = ~np.isfinite(bounds).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise FormatError(path, f"chunk {row} (vertices from {row * CHUNK})", "its bounds are not finite", REEXPORT)
    return bounds


def _read_rest(path: Path, header: Header, sh: np.ndarray) -> None:  # [N, K, 3]
    element = header.element("sh")
    assert element is not None
    # The centre of each byte's interval, but the ends themselves for 0 and 255, as the reference reads them.
    table = ((np.arange(256, dtype=np.float32) + 0.5) / 256 - 0.5) * SH_RANGE
    table[0], table[255] = -SH_RANGE / 2, SH_RANGE / 2
    for start, block in blocks(path, header, element):
        values = np.stack([_integers(block[name]) & 255 for name in element.names], axis=1)
        sh[start : start + len(block), 1:] = table[values].reshape(len(block), 3, -1).transpose(0, 2, 1)


def _integers(column: np.ndarray) -> np.ndarray:
    """A column as uint32, whatever scalar type the header gave it."""
    return column.astype(np.uint32) if column.dtype.kind == "u" else column.astype(np.int64).astype(np.uint32)


def _unpack_111011(packed: np.ndarray) -> np.ndarray:  # [n] uint32 -> [n, 3] in 0..1
    unit = np.empty((len(packed), 3), np.float32)
    unit[:, 0] = (packed >> np.uint32(21)) * np.float32(1 / 2047)
    unit[:, 1] = ((packed >> np.uint32(11)) & np.uint32(1023)) * np.float32(1 / 1023)
    unit[:, 2] = (packed & np.uint32(2047)) * np.float32(1 / 2047)
    return unit


def _pack_111011(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, 3] -> bounds [chunks, 6], [N] uint32
    bounds, unit = _normalised(values)
    x, y, z = np.rint(unit * (2047, 1023, 2047)).astype(np.uint32).T
    return bounds, x << np.uint32(21) | y << np.uint32(11) | z


def _between(bounds: np.ndarray, unit: np.ndarray) -> np.ndarray:  # [n, 6], [n, 3] -> [n, 3]
    return bounds[:, :3] * (1 - unit) + bounds[:, 3:] * unit


def _normalised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, 3] -> [chunks, 6], [N, 3] in 0..1
    """Bounds of each chunk as float32, low then high, and the values between them, in float64."""
    starts = np.arange(0, len(values), CHUNK)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    chunks = np.arange(len(values)) // CHUNK
    extent = (high.astype(np.float64) - low)[chunks]
    unit = (values.astype(np.float64) - low[chunks]) / np.where(extent > 0, extent, 1)
    return np.hstack([low, high]), unit


def _unpack_quats(packed: np.ndarray) -> np.ndarray:  # [n] uint32 -> [n, 4] wxyz
    rest = np.empty((len(packed), 3), np.float32)
    for column, shift in enumerate((20, 10, 0)):
        rest[:, column] = (packed >> np.uint32(shift)) & np.uint32(1023)
    return restore_largest(packed >> np.uint32(30), (rest / np.float32(1023) - np.float32(0.5)) * np.float32(2**0.5))


def _pack_quats(quats: np.ndarray) -> np.ndarray:  # [N, 4] wxyz -> [N] uint32
    largest, rest = drop_largest(quats)
    a, b, c = np.clip(np.rint((rest * 0.5**0.5 + 0.5) * 1023), 0, 1023).astype(np.uint32).T
    return largest.astype(np.uint32) << np.uint32(30) | a << np.uint32(20) | b << np.uint32(10) | c
