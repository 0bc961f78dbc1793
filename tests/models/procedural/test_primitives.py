"""Proves that the signed distances of the primitives are what sphere tracing may rely on.

They never change by more than the way one goes, they are below 0 inside and only there, those that claim to be exact
agree with the nearest of many points of the surface, and a ball of `extent_of` holds the solid.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.models.procedural.primitives import Shape, distance_to, extent_of, smooth_union

SIZES: dict[Shape, tuple[float, ...]] = {
    "sphere": (0.6,),
    "ellipsoid": (0.3, 0.6, 0.45),
    "box": (0.3, 0.5, 0.2, 0.05),
    "cylinder": (0.4, 0.3, 0.05),
    "capsule": (0.2, 0.4),
    "torus": (0.5, 0.15),
    "cone": (0.5, 0.2, 0.4),
    "wedge": (0.5, 0.6, 0.3),
}
EXACT = ("sphere", "box", "cylinder", "capsule", "torus", "cone")


def _points(count: int, reach: float = 1.2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach, reach, (count, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", SIZES)
def test_a_distance_changes_no_more_than_the_way_one_goes(shape: Shape):
    rng = np.random.default_rng(1)
    a = _points(20_000)
    b = a + rng.normal(0.0, 0.05, a.shape).astype(np.float32)
    change = np.abs(distance_to(shape, a, SIZES[shape]) - distance_to(shape, b, SIZES[shape]))
    assert (change <= np.linalg.norm(a - b, axis=1) + 1e-5).all()


@pytest.mark.parametrize("shape", EXACT)
def test_an_exact_distance_is_that_to_the_nearest_point_of_the_surface(shape: Shape):
    # Points come to the surface by steps along the gradient, which an exact distance takes there at once.
    start = _points(40_000, seed=2)
    surface = start - _gradient(shape, start) * distance_to(shape, start, SIZES[shape])[:, None]
    surface = surface[np.abs(distance_to(shape, surface, SIZES[shape])) < 1e-3]
    assert len(surface) > 20_000
    asked = _points(200, seed=3)
    nearest = np.min(np.linalg.norm(asked[:, None] - surface[None], axis=2), axis=1)
    np.testing.assert_allclose(np.abs(distance_to(shape, asked, SIZES[shape])), nearest, atol=0.02)


def _gradient(shape: Shape, p: np.ndarray) -> np.ndarray:
    h = 1e-3
    steps = [np.eye(3, dtype=np.float32)[k] * h for k in range(3)]
    slopes = [distance_to(shape, p + s, SIZES[shape]) - distance_to(shape, p - s, SIZES[shape]) for s in steps]
    return np.stack(slopes, axis=1) / (2 * h)


@pytest.mark.parametrize("shape", SIZES)
def test_the_ball_of_extent_holds_the_solid_and_its_middle_is_inside(shape: Shape):
    p = _points(50_000, reach=1.5)
    inside = p[distance_to(shape, p, SIZES[shape]) < 0.0]
    assert len(inside) > 100
    assert np.linalg.norm(inside, axis=1).max() <= extent_of(shape, SIZES[shape]) + 1e-6
    middle = np.zeros((1, 3), np.float32) + np.array([0.5 if shape == "torus" else 0.0, 0, 0], np.float32)
    assert distance_to(shape, middle, SIZES[shape])[0] < -0.1


def test_known_values_on_the_axes():
    p = np.array([[0, 0, 1.0], [1.0, 0, 0]], np.float32)
    np.testing.assert_allclose(distance_to("box", p, (0.3, 0.5, 0.2, 0.05)), [0.8, 0.7], atol=1e-6)
    np.testing.assert_allclose(distance_to("cylinder", p, (0.4, 0.3, 0.05)), [0.7, 0.6], atol=1e-6)
    np.testing.assert_allclose(distance_to("torus", p, (0.5, 0.15)), [np.hypot(0.5, 1) - 0.15, 0.35], atol=1e-6)
    np.testing.assert_allclose(
        distance_to("wedge", p[:1], (0.5, 0.6, 0.3))[0], 0.7 * 0.5 / np.hypot(0.6, 0.5), atol=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(a=st.floats(-1, 1), b=st.floats(-1, 1), reach=st.floats(0.01, 0.5))
def test_a_smooth_union_holds_the_union_and_little_more(a: float, b: float, reach: float):
    found = float(smooth_union(np.array([a]), np.array([b]), reach)[0])
    assert min(a, b) - 0.25 * reach - 1e-9 <= found <= min(a, b) + 1e-9
    if abs(a - b) >= reach:
        assert found == min(a, b)
