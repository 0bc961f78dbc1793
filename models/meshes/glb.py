"""Binary glTF 2.0 out: one node, one mesh, with normals and colours where there are some.

    header       magic "glTF", version 2, length of the file
    chunk JSON   accessors name slices of the buffer; padded with spaces to a multiple of 4
    chunk BIN    positions, normals, colours, indices, each at a multiple of 4; little-endian

Positions stay in the mesh's own axes. glTF is y-up: the node's matrix turns the mesh's up to +y, so that it stands in
every program, and whoever wants the mesh's own axes leaves the matrix out. Vertex colours of glTF are linear: ours are
turned from sRGB, and 16 bits keep the dark ones apart. V vertices, F faces.
Source: Khronos, glTF 2.0 specification, sections 3.6 (accessors), 3.7.2 (meshes) and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import FormatError

from .mesh import Mesh

MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
VERTICES_TARGET, INDICES_TARGET = 34962, 34963
LARGEST_FILE = (1 << 32) - 1
GLTF_UP = np.array([0.0, 1.0, 0.0])


def write(path: Path, mesh: Mesh, up: tuple[float, float, float]) -> None:
    """Whole or not at all; `up` is the direction in the mesh's axes that is up in the file.

    Raises:
        FormatError: the file would be longer than the format can say.
    """
    buffer = _Buffer()
    attributes = {"POSITION": buffer.add(mesh.vertices.astype("<f4"), FLOAT, "VEC3", bounds=True)}
    if mesh.normals is not None:
        attributes["NORMAL"] = buffer.add(_unit(mesh.normals).astype("<f4"), FLOAT, "VEC3")
    if mesh.colors is not None:
        # Three shorts would leave rows off the multiples of 4 that the format asks for: opacity fills them.
        rgba = np.ones((len(mesh.colors), 4))
        rgba[:, :3] = linear_from_srgb(np.clip(mesh.colors, 0.0, 1.0))
        shorts = np.rint(65535.0 * rgba).astype("<u2")
        attributes["COLOR_0"] = buffer.add(shorts, UNSIGNED_SHORT, "VEC4", normalized=True)
    indices = buffer.add(mesh.faces.astype("<u4").reshape(-1), UNSIGNED_INT, "SCALAR", target=INDICES_TARGET)
    content = {
        "asset": {"version": "2.0", "generator": "h3d-view"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        # Column by column, as glTF has matrices.
        "nodes": [{"mesh": 0, "name": path.stem, "matrix": upright(np.array(up, np.float64)).T.ravel().tolist()}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0, "mode": 4}]}],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.size}],
    }
    words = json.dumps(content, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 4)
    length = 12 + 8 + len(words) + 8 + buffer.size
    if length > LARGEST_FILE:
        rule = f"a .glb holds 4 GiB at most, it would be {length:,} bytes"
        raise FormatError(path, "size", rule, "write .ply instead")
    with replacing(path) as stream:
        stream.write(struct.pack("<4sII", MAGIC, VERSION, length))
        stream.write(struct.pack("<I4s", len(words), JSON_CHUNK) + words)
        stream.write(struct.pack("<I4s", buffer.size, BINARY_CHUNK))
        for part in buffer.parts:
            stream.write(part)


def upright(up: np.ndarray) -> np.ndarray:  # [3] -> [4, 4]
    """The shortest turn that makes `up` +y; of z-up axes a quarter turn about x: (x, y, z) becomes (x, z, -y)."""
    a = up / np.linalg.norm(up)
    matrix, cosine = np.eye(4), float(a @ GLTF_UP)
    if cosine < -1.0 + 1e-12:
        matrix[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return matrix
    x, y, z = np.cross(a, GLTF_UP)
    across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix[:3, :3] += across + across @ across / (1.0 + cosine)
    return matrix


def linear_from_srgb(colors: np.ndarray) -> np.ndarray:
    """Source: IEC 61966-2-1."""
    return np.where(colors <= 0.04045, colors / 12.92, ((np.maximum(colors, 0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(colors: np.ndarray) -> np.ndarray:
    """The inverse of `linear_from_srgb`."""
    return np.where(colors <= 0.0031308, 12.92 * colors, 1.055 * np.maximum(colors, 0.0031308) ** (1.0 / 2.4) - 0.055)


class _Buffer:
    """What the binary chunk holds, and what the JSON says of it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.size = 0

    def add(
        self,
        rows: np.ndarray,
        component: int,
        kind: str,
        *,
        target: int = VERTICES_TARGET,
        normalized: bool = False,
        bounds: bool = False,
    ) -> int:
        """The number of the accessor. Every row must be a multiple of 4 bytes long."""
        content = rows.tobytes()
        self.views.append({"buffer": 0, "byteOffset": self.size, "byteLength": len(content), "target": target})
        accessor: dict[str, Any] = {"bufferView": len(self.views) - 1, "componentType": component}
        accessor |= {"count": len(rows), "type": kind}
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor)
        self.parts.append(content)
        self.size += len(content)
        return len(self.accessors) - 1


def _unit(normals: np.ndarray) -> np.ndarray:
    """The format asks for unit lengths: vertices of faces without area have none, and get one."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0.0, normals / np.where(lengths > 0.0, lengths, 1.0), np.array([0.0, 0.0, 1.0]))
