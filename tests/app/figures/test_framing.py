"""Proves that the default camera sees the whole scene, upright, whatever its place, size and strays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from h3d.app.figures.framing import frame_camera, robust_bounds, scene_bounds
from h3d.app.workspace.scene import Layer
from h3d.models.gaussians import Gaussians, from_rows


def cloud(means: np.ndarray, size: float = 0.005) -> Gaussians:
    count = len(means)
    return from_rows(
        means=means,
        quats=np.tile([1.0, 0, 0, 0], (count, 1)),
        log_scales=np.full((count, 3), np.log(size)),
        logit_opacities=np.full(count, 3.0),
        sh=np.zeros((count, 1, 3)),
    )


def ball(seed: int = 0, count: int = 4000) -> np.ndarray:
    random = np.random.default_rng(seed)
    points = random.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * random.random((count, 1)) ** (1 / 3)


def in_view(camera, points: np.ndarray) -> np.ndarray:
    local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = local @ camera.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    return (local[:, 2] > 0) & (pixels > 0).all(axis=1) & (pixels < [camera.width, camera.height]).all(axis=1)


@pytest.mark.parametrize("size", [(640, 360), (300, 900)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_nearly_every_point_is_in_view_and_fills_the_picture(size, scale):
    points = ball() * [1.0, 2.0, 0.5] * scale + [5.0 * scale, -3.0 * scale, 0.0]
    camera = frame_camera([Layer(1, "a", cloud(points, 0.005 * scale))], width=size[0], height=size[1])
    assert in_view(camera, points).mean() > 0.99
    local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = (local @ camera.K.T)[:, :2] / local[:, 2:]
    extent = np.ptp(pixels, axis=0) / [camera.width, camera.height]
    assert extent.max() > 0.6


def test_minus_y_is_up_in_the_picture():
    camera = frame_camera([Layer(1, "a", cloud(ball()))])
    assert camera.up @ [0.0, -1.0, 0.0] > 0.8


def test_strays_far_away_do_not_move_the_bounds():
    points = ball()
    strays = np.random.default_rng(1).normal(size=(20, 3)) * 1000
    center, radius = robust_bounds(cloud(points))
    center_with, radius_with = robust_bounds(cloud(np.concatenate([points, strays])))
    assert np.linalg.norm(center_with - center) < 0.05
    assert radius_with == pytest.approx(radius, rel=0.05)
    assert radius == pytest.approx(1.0, abs=0.1)


def test_a_far_background_does_not_hide_what_the_capture_is_about():
    shell = np.random.default_rng(2).normal(size=(1500, 3))
    shell = 200.0 * shell / np.linalg.norm(shell, axis=1, keepdims=True)
    _, radius = robust_bounds(cloud(np.concatenate([ball(), shell])))
    assert radius < 5.0


def test_bounds_of_a_scene_follow_its_layers():
    placed = Layer(1, "a", cloud(ball()), position=(10.0, 0.0, 0.0), scale=3.0)
    bounds = scene_bounds([placed, replace(placed, visible=False, position=(-500.0, 0.0, 0.0))])
    assert bounds is not None
    assert np.allclose(bounds[0], [10.0, 0.0, 0.0], atol=0.2)
    assert bounds[1] == pytest.approx(3.0, rel=0.1)


def test_hidden_rows_are_not_framed():
    points = np.concatenate([ball(), ball(3) + [50.0, 0.0, 0.0]])
    bounds = scene_bounds([Layer(1, "a", cloud(points), hidden_rows=torch.arange(8000) >= 4000)])
    assert bounds is not None
    assert np.linalg.norm(bounds[0]) < 0.2


def test_one_point_none_and_empty_layers_give_a_camera():
    single = frame_camera([Layer(1, "a", cloud(np.array([[1.0, 2.0, 3.0]])))])
    assert in_view(single, np.array([[1.0, 2.0, 3.0]])).all()
    for layers in ([], [Layer(1, "a", cloud(np.zeros((0, 3))))]):
        assert np.isfinite(frame_camera(layers).camera_to_world).all()
    assert scene_bounds([]) is None
    assert robust_bounds(cloud(np.zeros((0, 3))))[1] == 1.0
