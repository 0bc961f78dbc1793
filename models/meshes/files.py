"""Mesh files in and out: .obj by our own reader, .ply .stl .off .glb by open3d; .obj, .ply and .glb are written.

Every failure is a `FormatError`. A .ply may also be splats or points: `is_mesh` tells them apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.formats import point_cloud
from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import DAMAGED, REEXPORT, FormatError
from h3d.models.formats.ply_header import MAGIC as PLY_MAGIC
from h3d.models.formats.ply_header import read_header

from . import glb, obj
from .library import open3d
from .mesh import Mesh

READABLE = (".obj", ".ply", ".stl", ".off", ".glb")
WRITABLE = (".obj", ".ply", ".glb")
Z_UP = (0.0, 0.0, 1.0)
LARGEST = 1e12
"""Coordinates beyond this count as not finite: they come from damaged files."""
_ONE_OF = f"give one of {', '.join(READABLE)}"


def is_mesh(path: Path) -> bool:
    """Whether a file is a mesh: by its suffix, of a .ply by whether it has faces. Reads a header at most."""
    suffix = path.suffix.lower()
    if suffix not in READABLE or not path.is_file():
        return False
    if suffix != ".ply":
        return True
    try:
        return _ply_faces(path) > 0
    except (FormatError, OSError):
        return False


def read(path: Path) -> Mesh:
    """The triangles of a file, as they are in it; `Mesh.welded` joins what its format has parted.

    Raises:
        FormatError: it is not a mesh, is damaged, or holds nothing.
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise FormatError(path, "name", f"no mesh is read from {suffix or 'a name without a suffix'}", _ONE_OF)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise FormatError(path, "file", "is empty (0 bytes)", "fetch or export it again")
    mesh = obj.read(path) if suffix == ".obj" else _read_by_open3d(path)
    _check(path, mesh)
    return mesh


def write(path: Path, mesh: Mesh, *, up: tuple[float, float, float] = Z_UP) -> None:
    """Writes by the suffix; vertex colours and normals go along. The file appears whole or not at all.

    `up` is the direction that is up in the mesh's axes: a .glb says it, the others hold the vertices alone.

    Raises:
        FormatError: the suffix is not one that is written, or there are no faces.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise FormatError(path, "name", f"no mesh is written as {suffix or 'a name without a suffix'}",
                          f"use one of {', '.join(WRITABLE)}")  # fmt: skip
    if len(mesh.faces) == 0:
        raise FormatError(path, "value", "there are 0 faces to write", "choose another threshold or a larger region")
    if suffix == ".obj":
        obj.write(path, mesh)
    elif suffix == ".glb":
        glb.write(path, mesh, up)
    else:
        _write_ply(path, mesh)


def _read_by_open3d(path: Path) -> Mesh:
    if path.suffix.lower() == ".ply":
        with open(path, "rb") as file:
            start = file.read(4)
        if not start.startswith(PLY_MAGIC):
            raise FormatError(path, "first bytes", f"starts with {start!r}, which no PLY file does", _ONE_OF)
        if _ply_faces(path) == 0:
            raise FormatError(path, "header", "has no faces: it holds splats or points", "open it as a scene")
    declared = _ply_faces(path) if path.suffix.lower() == ".ply" else 0
    library = open3d()
    found = library.io.read_triangle_mesh(str(path))
    vertices = np.asarray(found.vertices, np.float64).copy()
    faces = np.asarray(found.triangles, np.int32).copy()
    if len(vertices) == 0 and len(faces) == 0:
        raise FormatError(path, "file", f"cannot be read as {path.suffix.lower()}, or holds nothing", DAMAGED)
    if len(faces) < declared:
        raise FormatError(path, "faces", f"declares {declared:,} of them, {len(faces):,} can be read", DAMAGED)
    colors = np.asarray(found.vertex_colors, np.float32).copy()
    if path.suffix.lower() == ".glb":
        colors = glb.srgb_from_linear(colors).astype(np.float32)
    return Mesh(vertices, faces, colors if len(colors) == len(vertices) else None)


def _ply_faces(path: Path) -> int:
    """As many as the header declares."""
    faces = read_header(path).element("face")
    return 0 if faces is None else faces.count


def _check(path: Path, mesh: Mesh) -> None:
    if len(mesh.vertices) == 0:
        raise FormatError(path, "vertices", "there are none", "fetch or export it again")
    if len(mesh.faces) == 0:
        raise FormatError(path, "faces", "there are none: it holds points only", "export it with its triangles")
    bad = np.logical_not((np.abs(mesh.vertices) < LARGEST).all(axis=1))
    if bad.any():
        rule = f"{int(bad.sum()):,} of {len(mesh.vertices):,} are NaN, infinite or beyond {LARGEST:.0e}"
        raise FormatError(path, f"vertex {int(np.argmax(bad))}", f"positions must be finite, {rule}", REEXPORT)
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        rule = f"they name vertex {int(mesh.faces.max())}, there are {len(mesh.vertices):,}"
        raise FormatError(path, "faces", rule, DAMAGED)
    if not float(mesh.areas.sum()) > 0.0:
        raise FormatError(path, "faces", "all are without area: the mesh is a point or a line", REEXPORT)


def _write_ply(path: Path, mesh: Mesh) -> None:
    """Binary little-endian, as every program reads it."""
    declared, rows = point_cloud.vertex_rows(mesh.vertices, mesh.colors, mesh.normals)
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = [*point_cloud.PLY_START, *declared, f"element face {len(faces)}"]
    header += ["property list uchar int vertex_indices", "end_header", ""]
    with replacing(path) as stream:
        stream.write("\n".join(header).encode())
        stream.write(rows.tobytes())
        stream.write(faces.tobytes())
