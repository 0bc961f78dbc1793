"""Proves the binary glTF that the browser is given, by reading it with another library."""

from __future__ import annotations

import io

import numpy as np
import trimesh

from h3d.app.figures.colormaps import SEQUENTIAL
from h3d.app.figures.glb import FROM_FILM, TO_FILM, Part, before_tone_mapping, glb

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


def tone_mapped(light: np.ndarray) -> np.ndarray:  # [V, 3] -> [V, 3] sRGB
    """What three.js makes of linear light: ACESFilmicToneMapping at exposure 1, and the sRGB curve."""
    x = light / 0.6 @ TO_FILM.T
    x = (x * (x + 0.0245786) - 0.000090537) / (x * (0.983729 * x + 0.4329510) + 0.238081)
    linear = np.clip(x @ FROM_FILM.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_tone_mapping_leaves_every_colour_as_it_was_meant():
    colors = np.concatenate([SEQUENTIAL, np.ones((1, 3)), np.zeros((1, 3))]).astype(np.float32)
    np.testing.assert_allclose(tone_mapped(before_tone_mapping(colors)), colors, atol=1e-4)


def test_parts_without_faces_are_left_out():
    empty = Part(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32), np.zeros((0, 3), np.float32))
    assert len(read(glb([empty, part(1.0)]))) == 1


def test_what_is_seen_through_is_blended():
    data = glb([part(1.0, opacity=0.25), part(1.0)])
    assert data.count(b'"BLEND"') == 1 and data.count(b'"OPAQUE"') == 1 and b"0.25" in data
