"""Coloured meshes as a binary glTF, for the browser to draw as they are: no light, no shadow, one colour a vertex.

V vertices, F faces. viser's page maps tones of all that it draws, filmic curve and all; colours are stored so that they
come out of that as they were meant. Source: glTF 2.0, KHR_materials_unlit; three.js's ACESFilmicToneMapping.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT32 = 5126, 5125
ATTRIBUTES, INDICES = 34962, 34963
TO_FILM = np.array([[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]])
FROM_FILM = np.array(
    [[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]],
)
EXPOSURE = 1.0 / 0.6


@dataclass(frozen=True, eq=False)
class Part:
    """One mesh, seen from where its triangles run counterclockwise."""

    vertices: NDArray[np.float32]  # [V, 3]
    faces: NDArray[np.uint32]  # [F, 3]
    colors: NDArray[np.float32]  # [V, 3] sRGB in [0, 1]
    opacity: float = 1.0


def glb(parts: Sequence[Part]) -> bytes:
    """The file. Parts without faces are left out; there must be another."""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    chunks: list[bytes] = []

    def stored(array: np.ndarray, target: int, kind: str, component: int, **more: Any) -> int:
        data = np.ascontiguousarray(array).tobytes()
        views.append(
            {"buffer": 0, "byteOffset": sum(map(len, chunks)), "byteLength": len(data), "target": target},
        )
        chunks.append(data)  # All of them are multiples of four bytes long, as glTF wants it.
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind, **more}
        )
        return len(accessors) - 1

    primitives, materials = [], []
    for part in parts:
        if len(part.faces) == 0:
            continue
        bounds = {"min": part.vertices.min(axis=0).tolist(), "max": part.vertices.max(axis=0).tolist()}
        attributes = {
            "POSITION": stored(part.vertices.astype("<f4"), ATTRIBUTES, "VEC3", FLOAT, **bounds),
            "COLOR_0": stored(before_tone_mapping(part.colors).astype("<f4"), ATTRIBUTES, "VEC3", FLOAT),
        }
        indices = stored(part.faces.astype("<u4").reshape(-1), INDICES, "SCALAR", UINT32)
        primitives.append({"attributes": attributes, "indices": indices, "material": len(materials)})
        materials.append(_material(part.opacity))
    described = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": primitives}],
        "materials": materials,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": sum(map(len, chunks))}],
    }
    return _file(json.dumps(described).encode(), b"".join(chunks))


def _material(opacity: float) -> dict[str, Any]:
    return {
        "pbrMetallicRoughness": {"baseColorFactor": [1.0, 1.0, 1.0, opacity]},
        "alphaMode": "OPAQUE" if opacity >= 1.0 else "BLEND",
        "extensions": {"KHR_materials_unlit": {}},
    }


def before_tone_mapping(colors: NDArray[np.float32]) -> NDArray[np.float64]:  # [V, 3] -> [V, 3]
    """The linear light of which the page's tone mapping makes these sRGB colours."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    film = linear @ np.linalg.inv(FROM_FILM).T
    # The curve is (x^2 + 0.0245786 x - 0.000090537) / (0.983729 x^2 + 0.4329510 x + 0.238081), below 1 / 0.983729.
    a, b, c = 1.0 - 0.983729 * film, 0.0245786 - 0.4329510 * film, -0.000090537 - 0.238081 * film
    x = (-b + np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))) / (2.0 * a)
    return x @ np.linalg.inv(TO_FILM).T / EXPOSURE


def _file(described: bytes, data: bytes) -> bytes:
    described += b" " * (-len(described) % 4)
    length = 12 + 8 + len(described) + 8 + len(data)
    header = struct.pack("<4sII", b"glTF", 2, length)
    return b"".join(
        [
            header,
            struct.pack("<I4s", len(described), b"JSON"),
            described,
            struct.pack("<I4s", len(data), b"BIN\0"),
            data,
        ]
    )
