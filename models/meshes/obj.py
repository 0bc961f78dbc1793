"""Wavefront .obj: vertices, with colours where the lines have them, and faces; all else in it is left out.

Materials are not followed: they name other files, and nothing here looks at textures.
Source: Bourke, "Object Files (.obj)"; colours behind the coordinates as MeshLab and ZBrush write them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import DAMAGED, REEXPORT, FormatError

from .mesh import Mesh

LINES_AT_ONCE = 1 << 16


def read(path: Path) -> Mesh:
    """Polygons become fans of triangles.

    Raises:
        FormatError: a line cannot be read, or names a vertex that is not there.
    """
    lines = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    rows = [(number, line) for number, line in enumerate(lines, 1) if line[:2] in (b"v ", b"v\t")]
    vertices, colors = _vertices(path, rows)
    faces = [(number, line) for number, line in enumerate(lines, 1) if line[:2] in (b"f ", b"f\t")]
    return Mesh(vertices, _faces(path, faces, np.array([number for number, _ in rows], np.int64)), colors)


def write(path: Path, mesh: Mesh) -> None:
    """Vertices, with colours and normals where there are some, and faces; whole or not at all."""
    colors = None if mesh.colors is None else np.clip(mesh.colors, 0.0, 1.0)
    pattern = "v %.9g %.9g %.9g" + ("" if colors is None else " %.5g %.5g %.5g")
    columns = mesh.vertices if colors is None else np.concatenate([mesh.vertices, colors], axis=1)
    corner = "%d" if mesh.normals is None else "%d//%d"
    numbers = mesh.faces.astype(np.int64) + 1
    with replacing(path) as stream:
        _write_rows(stream, pattern, columns)
        if mesh.normals is not None:
            _write_rows(stream, "vn %.5g %.5g %.5g", mesh.normals)
            numbers = np.repeat(numbers, 2, axis=1)
        _write_rows(stream, f"f {corner} {corner} {corner}", numbers)


def _write_rows(stream, pattern: str, rows: np.ndarray) -> None:  # noqa: ANN001
    for start in range(0, len(rows), LINES_AT_ONCE):
        part = rows[start : start + LINES_AT_ONCE]
        stream.write(((pattern + "\n") * len(part) % tuple(part.ravel().tolist())).encode())


def _vertices(path: Path, rows: list[tuple[int, bytes]]) -> tuple[np.ndarray, np.ndarray | None]:
    """[V, 3] and colours [V, 3], None where not every line has some."""
    words = [line.split()[1:] for _, line in rows]
    if len(words) == 0:
        return np.empty((0, 3)), None
    widths = {len(word) for word in words}
    short = next((number for (number, _), word in zip(rows, words, strict=True) if len(word) < 3), None)
    if short is not None:
        raise FormatError(path, f"line {short}", "a vertex needs three coordinates", DAMAGED)
    width = 6 if min(widths) >= 6 else 3
    try:
        values = np.array([word[:width] for word in words]).astype(np.float64)
    except ValueError as error:
        number = next(number for (number, _), word in zip(rows, words, strict=True) if not _numbers(word[:width]))
        raise FormatError(path, f"line {number}", "a vertex's values must be numbers", DAMAGED) from error
    return values[:, :3], values[:, 3:].astype(np.float32) if width == 6 else None


def _numbers(words: list[bytes]) -> bool:
    try:
        return all(float(word) is not None for word in words)
    except ValueError:
        return False


def _faces(path: Path, rows: list[tuple[int, bytes]], vertex_lines: np.ndarray) -> np.ndarray:  # -> [F, 3] int32
    if len(rows) == 0:
        return np.empty((0, 3), np.int32)
    corners = [line.split()[1:] for _, line in rows]
    lines = np.array([number for number, _ in rows], np.int64)
    counts = np.array([len(corner) for corner in corners])
    if counts.min() < 3:
        rule = f"a face needs three corners or more, it has {counts.min()}"
        raise FormatError(path, f"line {lines[np.argmin(counts)]}", rule, DAMAGED)
    try:
        numbers = np.array([int(word.partition(b"/")[0]) for corner in corners for word in corner], np.int64)
    except (ValueError, OverflowError) as error:
        raise FormatError(path, "faces", f"a corner is no vertex number ({error})", DAMAGED) from error
    line_of = np.repeat(lines, counts)
    # A negative number counts back from the vertices above the line.
    above = np.searchsorted(vertex_lines, line_of)
    index = np.where(numbers < 0, above + numbers, numbers - 1)
    bad = (index < 0) | (index >= len(vertex_lines))
    if bad.any():
        at = int(np.argmax(bad))
        rule = f"it names vertex {numbers[at]}, the file has {len(vertex_lines):,}"
        raise FormatError(path, f"line {line_of[at]}", rule, f"{DAMAGED}, or {REEXPORT}")
    return _fans(index, counts)


def _fans(index: np.ndarray, counts: np.ndarray) -> np.ndarray:  # [corners], [polygons] -> [F, 3] int32
    """Triangles from the first corner of each polygon to every side that does not touch it."""
    starts = np.cumsum(counts) - counts
    triangles = counts - 2
    first = np.repeat(starts, triangles)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.stack([index[first], index[second], index[second + 1]], axis=1).astype(np.int32)
