"""Proves the colours of Gaussians' surfaces: those that were painted, on the side where they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from balls import ball

from h3d.models.gaussian_colors import UNSEEN, seen_colors
from h3d.models.gaussians import Gaussians
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.harmonics import rgb_to_dc

RED, BLUE = np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.2, 0.8])


def silent(share: float) -> None:
    assert 0.0 <= share < 1.0


@pytest.fixture(scope="module")
def halves() -> Gaussians:
    """A ball about the origin, red where x < 0, else blue."""
    gaussians = ball((0.5, 0.5, 0.5), count=8000)
    sh = gaussians.sh.clone()
    red = gaussians.means[:, :1] < 0.0
    sh[:, 0] = torch.where(red, *(torch.from_numpy(rgb_to_dc(rgb)).float() for rgb in (RED, BLUE)))
    return replace(gaussians, sh=sh)


def on_a_sphere(radius: float, count: int = 1000) -> np.ndarray:
    points = np.random.default_rng(2).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


def test_each_side_has_its_own_colour(halves: Gaussians):
    points = on_a_sphere(1.05)
    found = seen_colors(halves, points, points / 1.05, progress=silent)
    assert found.shape == (1000, 3) and found.dtype == np.float32
    for side, rgb in ((points[:, 0] < -0.2, RED), (points[:, 0] > 0.2, BLUE)):
        assert np.abs(found[side] - rgb).max() < 0.02


def test_what_no_camera_sees_has_the_colour_of_the_nearest_that_one_sees(halves: Gaussians):
    outside, inside = on_a_sphere(1.05), on_a_sphere(0.6, 300)
    # Inside, each looks at the middle and through the far side: were it not hidden, that would be its colour.
    points = np.concatenate([outside, inside])
    normals = np.concatenate([outside / 1.05, -inside / 0.6])
    found = seen_colors(halves, points, normals, progress=silent)[1000:]
    for side, rgb in ((inside[:, 0] < -0.2, RED), (inside[:, 0] > 0.2, BLUE)):
        assert np.abs(found[side] - rgb).max() < 0.02


def test_what_stands_before_the_surface_at_a_distance_does_not_hide_it(halves: Gaussians):
    wall = ball((0.0, 1.0, 0.0), radius=3.0, count=20_000)
    points = on_a_sphere(1.05)
    found = seen_colors(halves.concat(wall), points, points / 1.05, progress=silent)
    assert np.abs(found - seen_colors(halves, points, points / 1.05, progress=silent)).max() < 0.02


def test_a_surface_that_nobody_sees_is_grey(halves: Gaussians):
    faint = replace(halves, logit_opacities=torch.full((len(halves),), -8.0))
    points = on_a_sphere(1.05, 50)
    assert (seen_colors(faint, points, points / 1.05, progress=silent) == UNSEEN).all()


def test_it_can_be_stopped(halves: Gaussians):
    flag, points = CancelFlag(), on_a_sphere(1.05, 50)
    flag.set()
    with pytest.raises(Cancelled):
        seen_colors(halves, points, points / 1.05, progress=silent, cancel=flag)
