"""A plain coloured point cloud in a .ply: read, each point becomes a small isotropic Gaussian.

Its standard deviation is half the mean distance to its three nearest neighbours, so that a surface closes without
blurring; lone points are held to a multiple of the median. The reader says in `remark` that it did so. What is written
is points as they are, for any program.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians
from h3d.renderers.harmonics import rgb_to_dc

from .atomic import replacing
from .errors import FormatError
from .ply_header import Element, blocks, read_header, require_size
from .rows import checked, logit

OPACITY = 0.95
GREY = 0.5
LARGEST = 10.0
"""Largest size of a point, in medians."""
_COLOR_NAMES = (
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("r", "g", "b"),
)


def read(path: Path) -> Gaussians:
    """Gaussians at the points of a .ply that has x, y, z and perhaps colours.

    Raises: FormatError when it has no positions or a count that the file does not hold.
    """
    header = read_header(path)
    element = header.element("vertex")
    missing = [n for n in "xyz" if element is None or n not in element.names]
    if element is None or len(missing) > 0:
        rule = f"element vertex has no {', '.join(missing)}"
        raise FormatError(path, "header", rule, "export Gaussians, or points with x, y and z")
    require_size(path, header, "vertex")
    colors = next((names for names in _COLOR_NAMES if all(n in element.names for n in names)), None)
    means = np.empty((element.count, 3), np.float32)
    rgb = np.full((element.count, 3), GREY, np.float32)
    for start, block in blocks(path, header, element):
        for axis, name in enumerate("xyz"):
            means[start : start + len(block), axis] = block[name]
        for channel, name in enumerate(colors or ()):
            rgb[start : start + len(block), channel] = block[name] / np.float32(_white(element, name))
    quats = np.zeros((element.count, 4), np.float32)
    quats[:, 0] = 1
    bad = ~np.isfinite(means).all(axis=1)
    if bad.any():
        rule = "position must be finite"
        raise FormatError(path, f"vertex {int(np.argmax(bad))}", rule, "clean the cloud")
    sizes = point_sizes(means)
    return checked(
        path,
        means=means,
        quats=quats,
        log_scales=np.repeat(np.log(sizes)[:, None], 3, axis=1),
        logit_opacities=np.full(element.count, logit(np.float32(OPACITY)), np.float32),
        sh=rgb_to_dc(rgb)[:, None],
        remark=f"a plain point cloud, shown as small round Gaussians{'' if colors else ' in grey (it has no colours)'}",
    )


def write(
    path: Path,
    points: np.ndarray,  # [P, 3]
    *,
    colors: np.ndarray | None = None,  # [P, 3] sRGB in [0, 1]
    normals: np.ndarray | None = None,  # [P, 3]
) -> None:
    """Points as a .ply; whole or not at all."""
    declared, rows = vertex_rows(points, colors, normals)
    with replacing(path) as stream:
        stream.write("\n".join([*PLY_START, *declared, "end_header", ""]).encode())
        stream.write(rows.tobytes())


PLY_START = ("ply", "format binary_little_endian 1.0", "comment h3d-view")


def vertex_rows(
    points: np.ndarray,  # [P, 3]
    colors: np.ndarray | None,  # [P, 3] sRGB in [0, 1]
    normals: np.ndarray | None,  # [P, 3]
) -> tuple[list[str], np.ndarray]:
    """The header's lines of element vertex, and its rows: float32 positions and normals, colours in bytes."""
    columns = [(axis, "<f4") for axis in "xyz"]
    columns += [] if normals is None else [(f"n{axis}", "<f4") for axis in "xyz"]
    columns += [] if colors is None else [(name, "u1") for name in _COLOR_NAMES[0]]
    rows = np.empty(len(points), columns)
    for axis, name in enumerate("xyz"):
        rows[name] = points[:, axis]
        if normals is not None:
            rows[f"n{name}"] = normals[:, axis]
    if colors is not None:
        for channel, name in enumerate(_COLOR_NAMES[0]):
            rows[name] = np.rint(255.0 * np.clip(colors[:, channel], 0.0, 1.0))
    names = {"<f4": "float", "u1": "uchar"}
    return [f"element vertex {len(rows)}", *(f"property {names[code]} {name}" for name, code in columns)], rows


def point_sizes(means: np.ndarray) -> np.ndarray:  # [N, 3] -> [N] float32
    """Half the mean distance of each point to its three nearest others, kept within bounds around the median."""
    from scipy.spatial import KDTree

    # Points at the very same place count once: they would give 0, and a tree cannot part them.
    distinct, copy_of = _distinct(means)
    neighbours = min(4, len(distinct))
    if neighbours == 1:
        return np.full(len(means), 0.01, np.float32)
    distances = KDTree(distinct).query(distinct, k=neighbours, workers=-1)[0]
    sizes = 0.5 * distances[:, 1:].mean(axis=1)
    median = max(float(np.median(sizes)), 1e-9)
    return np.clip(sizes, median / 1000, median * LARGEST).astype(np.float32)[copy_of]


def _distinct(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, 3] -> [M, 3], [N] index into it
    bits = np.ascontiguousarray(means + np.float32(0)).view(np.uint32).astype(np.uint64)
    mixed = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ bits[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0x165667B19E3779F9) + bits[:, 2]
    _, first, copy_of = np.unique(mixed, return_index=True, return_inverse=True)
    return means[first], copy_of.reshape(-1)


def _white(element: Element, name: str) -> float:
    """The value of full colour: 255 or 65535 for integers, 1 for floats."""
    code = element.types[element.names.index(name)]
    return {"u1": 255.0, "i1": 127.0, "u2": 65535.0, "i2": 32767.0}.get(code, 1.0 if code[0] == "f" else 255.0)
