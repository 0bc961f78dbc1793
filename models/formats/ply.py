"""The .ply of 3D Gaussian Splatting: one float32 row a Gaussian, exact.

Fields are found by name, in any order and of any scalar type; extra ones are ignored. `scale_i` is a natural
logarithm, `opacity` a logit, `rot_0..3` is w x y z (not normalised), `f_dc` and `f_rest` are SH coefficients with
f_rest channel-major (all red, all green, all blue). Axes are those of training: x right, y down, z forward.
Source: Kerbl et al. 2023, the official code's `save_ply`. 2DGS files (no scale_2) are read as flat Gaussians.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians

from .atomic import replacing
from .errors import REEXPORT, FormatError
from .ply_header import Element, Header, blocks, matrix, read_header, require_size
from .rows import SH_BASES, checked

QUANTISATION = "exact float32 (quaternions normalised)"
FLAT_RATIO = 0.01
"""Thickness of a 2DGS surfel, as a share of its shorter side."""
WRITE_ROWS = 1 << 15

_MEANS = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
_DEGREE_OF_REST = {0: 0, 9: 1, 24: 2, 45: 3, 72: 4}
MARKS = ("scale_0", "rot_0", "opacity", "f_dc_0")
"""Any of these among a vertex's properties means Gaussians, not plain points."""


def read(path: Path) -> Gaussians:
    """Gaussians of a 3DGS .ply.

    Raises: FormatError for a missing field, a count that the file does not hold, or a value no Gaussian can have.
    """
    header = read_header(path)
    element = header.element("vertex")
    assert element is not None  # The door sends only files with a vertex element here.
    degree = _degree(path, element)
    flat = "scale_2" not in element.names and "scale_1" in element.names
    scale_names = _SCALES[:2] if flat else _SCALES
    missing = [n for n in (*_MEANS, *_DC, "opacity", *scale_names, *_ROTATION) if n not in element.names]
    if len(missing) > 0:
        rule = f"element vertex has no {', '.join(missing)}"
        raise FormatError(path, "header", rule, "export Gaussians with all fields of 3DGS")
    require_size(path, header, "vertex")
    count = element.count
    means, quats = np.empty((count, 3), np.float32), np.empty((count, 4), np.float32)
    log_scales, logits = np.empty((count, 3), np.float32), np.empty((count, 1), np.float32)
    sh = np.empty((count, SH_BASES[min(degree, 3)], 3), np.float32)
    for start, block in blocks(path, header, element):
        rows = slice(start, start + len(block))
        table = matrix(block, element)
        _fill(means[rows], block, table, element, _MEANS)
        _fill(quats[rows], block, table, element, _ROTATION)
        _fill(log_scales[rows], block, table, element, scale_names)
        _fill(logits[rows], block, table, element, ("opacity",))
        _fill(sh[rows, 0], block, table, element, _DC)
        _fill_rest(sh[rows], block, table, element, degree)
    if flat:
        log_scales[:, 2] = log_scales[:, :2].min(axis=1) + np.log(FLAT_RATIO)
    return checked(
        path,
        means=means,
        quats=quats,
        log_scales=log_scales,
        logit_opacities=logits[:, 0],
        sh=sh,
        antialiased=header.antialiased,
        remark=_remark(flat, degree),
    )


def version(header: Header) -> str:
    """What `describe` says beside the format's name."""
    return {"<": "binary, little-endian", ">": "binary, big-endian", "ascii": "ascii"}[header.encoding]


def write(path: Path, value: Gaussians) -> None:
    """Writes the layout that every 3DGS program reads: binary little-endian, normals left out as zeros."""
    rest = 3 * (value.sh.shape[1] - 1)
    names = [*_MEANS, "nx", "ny", "nz", *_DC, *(f"f_rest_{i}" for i in range(rest)), "opacity", *_SCALES, *_ROTATION]
    lines = ["ply", "format binary_little_endian 1.0", *(["comment SplatRenderMode: mip"] if value.antialiased else [])]
    lines += [f"element vertex {len(value)}", *(f"property float {name}" for name in names), "end_header", ""]
    parts = [value.means, value.sh, value.logit_opacities[:, None], value.log_scales, value.quats]
    means, sh, logits, log_scales, quats = (part.detach().cpu().numpy() for part in parts)
    with replacing(path) as file:
        file.write("\n".join(lines).encode())
        for start in range(0, len(value), WRITE_ROWS):
            rows = slice(start, min(start + WRITE_ROWS, len(value)))
            table = np.zeros((rows.stop - rows.start, len(names)), "<f4")
            table[:, 0:3] = means[rows]
            table[:, 6:9] = sh[rows, 0]
            table[:, 9 : 9 + rest].reshape(len(table), 3, rest // 3)[...] = sh[rows, 1:].transpose(0, 2, 1)
            table[:, 9 + rest :] = np.concatenate([logits[rows], log_scales[rows], quats[rows]], axis=1)
            file.write(table.data.cast("B"))


def _degree(path: Path, element: Element) -> int:
    """SH degree by the number of f_rest fields, which must be f_rest_0..n-1 without a gap."""
    count = sum(name.startswith("f_rest_") for name in element.names)
    gap = [i for i in range(count) if f"f_rest_{i}" not in element.names]
    if count not in _DEGREE_OF_REST or len(gap) > 0:
        rule = f"{count} f_rest fields{f' without f_rest_{gap[0]}' if len(gap) > 0 else ''}; must be 0, 9, 24 or 45"
        raise FormatError(path, "header", rule, REEXPORT)
    return _DEGREE_OF_REST[count]


def _fill(
    out: np.ndarray,  # [n, fields]
    block: np.ndarray,  # [n] records
    table: np.ndarray | None,  # [n, properties]
    element: Element,
    names: tuple[str, ...],
) -> None:
    """Copies the named fields of a block, in one piece where they lie side by side."""
    first = element.names.index(names[0])
    if table is not None and element.names[first : first + len(names)] == names:
        out[:, : len(names)] = table[:, first : first + len(names)]
        return
    for column, name in enumerate(names):
        out[:, column] = block[name]


def _fill_rest(
    sh: np.ndarray,  # [n, K, 3]
    block: np.ndarray,  # [n] records
    table: np.ndarray | None,  # [n, properties]
    element: Element,
    degree: int,
) -> None:
    """Turns channel-major f_rest into [K - 1, 3]; of degree 4 only degree 3 is kept."""
    bases = (degree + 1) ** 2 - 1
    kept = sh.shape[1] - 1
    if kept == 0:
        return
    names = tuple(f"f_rest_{i}" for i in range(3 * bases))
    first = element.names.index(names[0])
    if table is not None and element.names[first : first + len(names)] == names:
        rest = table[:, first : first + len(names)]
        for channel in range(3):
            sh[:, 1:, channel] = rest[:, channel * bases : channel * bases + kept]
        return
    for channel in range(3):
        for base in range(kept):
            sh[:, 1 + base, channel] = block[names[channel * bases + base]]


def _remark(flat: bool, degree: int) -> str:
    remarks = []
    if flat:
        remarks.append("2DGS surfels (no scale_2), read as Gaussians of 1 % thickness")
    if degree > 3:
        remarks.append(f"spherical harmonics of degree {degree} cut to 3")
    return "; ".join(remarks)
