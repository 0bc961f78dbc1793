"""Pixels to rays and back: distortion is undone to well below a pixel, and pinholes agree with the textbook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from h3d.models.datasets import Distortion, PosedImage, camera_directions, camera_to_pixels, pixel_grid, rays
from h3d.models.datasets.lenses import bend, folds, world_to_pixels
from h3d.renderers.cameras import look_at

FOX = Distortion("radial", 0.0578421, -0.0805099, p1=-0.000980296, p2=0.00015575)
POSE = look_at(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 0.2]), np.array([0.0, 0.0, 1.0])).camera_to_world


def camera(lens: Distortion | None, focal: float = 700.0) -> PosedImage:
    K = np.array([[focal, 0, 400.0], [0, focal * 1.1, 310.0], [0, 0, 1]])
    return PosedImage(Path("photo.png"), POSE, K, 810, 600, lens)


def round_trip_pixels(posed: PosedImage) -> float:
    pixels = np.concatenate([pixel_grid(posed, 9), [[0, 0], [810, 0], [0, 600], [810, 600], [400, 310]]])
    return float(np.abs(camera_to_pixels(posed, camera_directions(posed, pixels)) - pixels).max())


@pytest.mark.parametrize(
    "lens",
    [
        None,
        FOX,
        Distortion("radial", -0.28, 0.09, p1=0.002, p2=-0.001),
        Distortion("radial", 0.2, 0.1, 0.05, 0.02),
        Distortion("fisheye", 0.05, -0.01, 0.003, -0.0005),
        Distortion("fisheye"),
    ],
)
def test_a_pixel_comes_back_to_a_thousandth(lens):
    assert round_trip_pixels(camera(lens)) < 1e-3
    assert not folds(camera(lens))


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.15, 0.3), st.floats(-0.03, 0.1), st.floats(-0.005, 0.005), st.floats(-0.005, 0.005))
def test_mild_lenses_all_come_back(k1, k2, p1, p2):
    assert round_trip_pixels(camera(Distortion("radial", k1, k2, p1=p1, p2=p2))) < 1e-3


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.05, 0.1), st.floats(-0.01, 0.02), st.floats(300.0, 900.0))
@example(-0.03125, -0.0078125, 300.0).via("a lens that folds before the picture's corner")
def test_fisheyes_all_come_back(k1, k2, focal):
    posed = camera(Distortion("fisheye", k1, k2), focal)
    assume(not folds(posed))
    assert round_trip_pixels(posed) < 1e-3


def test_a_fisheye_sees_beside_and_behind_itself():
    posed = camera(Distortion("fisheye", 0.01), focal=200.0)
    points = np.array([[1.0, 0.0, 0.0], [0.6, -0.3, -0.4], [0.0, 0.0, 1.0]])
    seen = camera_directions(posed, camera_to_pixels(posed, points))
    np.testing.assert_allclose(seen, points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-9)


def test_a_pinhole_follows_its_matrix():
    posed = camera(None)
    pixels = np.array([[0.5, 0.5], [123.0, 456.0], [400.0, 310.0]])
    expected = np.linalg.solve(posed.K, np.concatenate([pixels, np.ones((3, 1))], axis=1).T).T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(camera_directions(posed, pixels), expected, atol=1e-12)


@pytest.mark.parametrize("lens", [None, FOX, Distortion("fisheye", 0.1)])
def test_the_ray_through_the_principal_point_is_the_optical_axis(lens):
    posed = camera(lens)
    origins, directions = rays(posed, np.array([[400.0, 310.0]]))
    np.testing.assert_allclose(origins[0], posed.position, atol=1e-6)
    np.testing.assert_allclose(directions[0], posed.forward, atol=1e-6)


@pytest.mark.parametrize("lens", [None, FOX, Distortion("fisheye", 0.1)])
def test_points_along_a_ray_are_seen_at_its_pixel(lens):
    posed = camera(lens)
    pixels = np.array([[10.0, 20.0], [700.0, 500.0]])
    origins, directions = (values.astype(np.float64) for values in rays(posed, pixels))
    for distance in (0.5, 30.0):
        np.testing.assert_allclose(world_to_pixels(posed, origins + distance * directions), pixels, atol=1e-3)


def test_the_jacobian_is_the_derivative_of_the_distortion():
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (50, 2))
    lens = Distortion("radial", 0.1, -0.05, 0.02, 0.01, 0.003, -0.004)
    jacobian = bend(lens, points)[1]
    for axis in range(2):
        step = np.eye(2)[axis] * 1e-6
        difference = (bend(lens, points + step)[0] - bend(lens, points - step)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[:, :, axis], difference, atol=1e-8)


def test_the_distortion_is_that_of_the_formula_written_out():
    x, y, lens = 0.3, -0.5, Distortion("radial", 0.1, -0.05, 0.02, 0.01, 0.003, -0.004)
    r = np.hypot(x, y)
    radial = 1 + 0.1 * r**2 - 0.05 * r**4 + 0.02 * r**6 + 0.01 * r**8
    expected = [
        x * radial + 2 * 0.003 * x * y - 0.004 * (r**2 + 2 * x**2),
        y * radial + 0.003 * (r**2 + 2 * y**2) + 2 * -0.004 * x * y,
    ]
    np.testing.assert_allclose(bend(lens, np.array([x, y]))[0], expected)


def test_a_lens_that_folds_over_is_noticed_and_still_gives_finite_rays():
    posed = camera(Distortion("radial", -1.5))
    assert folds(posed)
    directions = camera_directions(posed, pixel_grid(posed, 30))
    assert np.isfinite(directions).all()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)


def test_the_grid_of_a_reduced_photo_lies_at_the_centres_of_its_blocks():
    grid = pixel_grid(camera(None), 4)
    assert grid.shape == (202 * 150, 2)
    np.testing.assert_array_equal(grid[:2], [[2.0, 2.0], [6.0, 2.0]])
    np.testing.assert_array_equal(grid[202], [2.0, 6.0])
