"""Proves how bare surfaces are lit: brighter towards the light, darker where closed in; lines lie on distances."""

from __future__ import annotations

import numpy as np

from h3d.renderers.shading import LINES, clay, distance_colors, key_light, openness

UP = np.array([0.0, 1.0, 0.0], np.float32)


def lit(normal: np.ndarray, free: float = 1.0) -> float:
    """Mean brightness of a surface that is looked at from straight above it."""
    normals = (normal / np.linalg.norm(normal)).astype(np.float32)[None]
    return float(clay(normals, -normals, up=UP, openness=np.array([free], np.float32)).mean())


def test_what_faces_the_key_light_is_bright_and_nothing_is_black():
    key = key_light(UP)
    assert np.isclose(np.linalg.norm(key), 1.0, atol=1e-6) and key @ UP > 0.5
    assert lit(key) > lit(UP) > lit(-key) > 0.3


def test_colours_stay_in_range():
    draws = np.random.default_rng(0).normal(size=(2, 1000, 3)).astype(np.float32)
    normals, directions = (d / np.linalg.norm(d, axis=1, keepdims=True) for d in draws)
    colors = clay(normals, directions, up=UP)
    assert colors.dtype == np.float32 and colors.min() >= 0.0 and colors.max() <= 1.0


def test_a_plane_is_open_and_the_bottom_of_a_slot_is_not():
    points, normals = np.zeros((1, 3), np.float32), UP[None]
    assert openness(lambda p: p[:, 1], points, normals, 1.0)[0] == 1.0
    slot = openness(lambda p: np.minimum(p[:, 1], 0.01 - np.abs(p[:, 0])), points, normals, 1.0)[0]
    assert 0.0 < slot < 0.5
    assert lit(UP, slot) < lit(UP)


def test_distances_are_blue_inside_orange_outside_and_black_on_the_surface():
    reach = 0.4
    middle = 0.5 * reach / LINES  # between two lines
    inside, surface, outside = distance_colors(np.array([-5.5 * reach / LINES, 0.0, 5.5 * reach / LINES]), reach)
    assert inside[2] > inside[0] and outside[0] > outside[2] and surface.max() < 0.15
    on_line, beside = distance_colors(np.array([reach / LINES, reach / LINES + middle]), reach)
    assert on_line.mean() < 0.7 * beside.mean()
