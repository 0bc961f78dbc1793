"""Proves the binary glTF that the browser is given, by reading it with another library."""

from __future__ import annotations

import io

import numpy as np
import trimesh

from h3d.app.figures.glb import Part, glb

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)


def part(red: float, count: int = 4, opacity: float = 1.0) -> Part:
    return Part(SQUARE[:count], FACES[: count - 2], np.full((count, 3), (red, 0.5, 0.0), np.float32), opacity)


def read(data: bytes) -> list[trimesh.Trimesh]:
    scene = trimesh.load(io.BytesIO(data), file_type="glb", process=False)
    assert isinstance(scene, trimesh.Scene)
    return list(scene.geometry.values())  # pyright: ignore[reportReturnType]


def test_shapes_come_back_as_they_were():
    found = read(glb([part(1.0), part(0.25, count=3)]))
    for mesh, count in zip(found, (4, 3), strict=True):
        np.testing.assert_array_equal(mesh.vertices, SQUARE[:count])
        np.testing.assert_array_equal(mesh.faces, FACES[: count - 2])


def test_colours_are_stored_as_linear_light():
    (mesh,) = read(glb([part(0.5)]))
    colors = np.asarray(mesh.visual.vertex_attributes["color"], np.float64)  # pyright: ignore
    colors = colors / (65535.0 if colors.max() > 255 else 255.0 if colors.max() > 1 else 1.0)
    np.testing.assert_allclose(colors[:, 0], 0.2140, atol=2e-3)


def test_parts_without_faces_are_left_out():
    empty = Part(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32), np.zeros((0, 3), np.float32))
    assert len(read(glb([empty, part(1.0)]))) == 1


def test_what_is_seen_through_is_blended():
    data = glb([part(1.0, opacity=0.25), part(1.0)])
    assert data.count(b'"BLEND"') == 1 and data.count(b'"OPAQUE"') == 1 and b"0.25" in data
