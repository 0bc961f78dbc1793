"""Proves what each Gaussian gives to pictures against the formulas in float64, and that cameras add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterizer_reference import random_scene, render

from h3d.renderers import (
    Contributions,
    RasterOptions,
    SplatScene,
    contributions,
    num_threads,
    sensitivities,
    set_num_threads,
)
from h3d.renderers.cameras import Camera, look_at, quat_to_rotation
from h3d.renderers.differentiable_gaussians import rasterize_for_training

WIDTH, HEIGHT = 71, 53
UP = np.array([0.0, -1.0, 0.0])
VIEWS = tuple(
    look_at(np.array(place), np.zeros(3), UP, width=WIDTH, height=HEIGHT)
    for place in ((0.3, -0.2, -3.0), (2.5, 0.4, 1.0), (-1.0, 2.0, 2.0))
)
NAMES = ("total", "greatest", "pixels", "top_pixels")


def seen(scenes: list[SplatScene], views: tuple[Camera, ...] = VIEWS, **options) -> Contributions:
    viewmats, Ks = np.stack([v.viewmat for v in views]), np.stack([v.K for v in views])
    return contributions(scenes, viewmats, Ks, WIDTH, HEIGHT, options=RasterOptions(**options))


def same(a: Contributions, b: Contributions) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in NAMES)


@pytest.mark.parametrize("antialiased", [False, True])
def test_contributions_are_those_of_the_formulas(antialiased: bool):
    scene = random_scene(7, 60)
    found = seen([scene], antialiased=antialiased)
    options = RasterOptions(antialiased=antialiased)
    pictures = [render([scene], v.viewmat, v.K, WIDTH, HEIGHT, options) for v in VIEWS]
    total = sum(p.contribution_sum for p in pictures)
    np.testing.assert_allclose(found.total, total, rtol=1e-3, atol=1 / 255)
    np.testing.assert_allclose(found.greatest, np.max([p.contribution_max for p in pictures], axis=0), atol=1e-4)
    # A pixel whose alpha is 1/255 but for rounding may count or not.
    wrong = np.abs(found.pixels.numpy() - sum(p.contribution_count for p in pictures))
    assert wrong.max() <= 2 and (wrong == 0).mean() > 0.9
    clear = np.sum([np.bincount(p.top_id[p.top_margin > 1e-4], minlength=60) for p in pictures], axis=0)
    unclear = sum(int(((p.top_id >= 0) & (p.top_margin <= 1e-4)).sum()) for p in pictures)
    assert unclear < 0.01 * clear.sum()
    tops = found.top_pixels.numpy()
    assert (tops >= clear).all() and abs(int((tops - clear).sum()) - unclear) <= 3


def test_cameras_add_up_one_after_the_other():
    scene = random_scene(8, 200)
    parts = Contributions.none(200)
    for view in VIEWS:
        parts = parts.plus(seen([scene], (view,)))
    assert same(parts, seen([scene]))


def test_threads_change_no_bit():
    scenes = [random_scene(seed, 20_000, size=0.05) for seed in (1, 2)]
    before = num_threads()
    try:
        set_num_threads(1)
        alone = seen(scenes)
        set_num_threads(5)
        assert same(alone, seen(scenes))
    finally:
        set_num_threads(before)


def test_each_pixel_that_shows_something_has_one_greatest():
    found = seen([random_scene(9, 300)])
    assert 0 < int(found.top_pixels.sum()) <= len(VIEWS) * WIDTH * HEIGHT
    assert bool((found.top_pixels <= found.pixels).all())
    assert bool((found.total <= found.pixels).all()) and bool((found.greatest <= found.total + 1e-6).all())


def test_what_is_hidden_gives_nothing_and_what_hides_all():
    wall, hidden = random_scene(0, 1), random_scene(0, 1)
    wall = replace(
        wall,
        means=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.1]]),
        quats=wall.quats.repeat(2, 1),
        scales=torch.full((2, 3), 50.0),
        opacities=torch.ones(2),
        sh=wall.sh.repeat(2, 1, 1),
    )
    hidden = replace(hidden, means=torch.tensor([[0.0, 0.0, 3.0]]))
    view = look_at(np.array([0.0, 0.0, -1.0]), np.zeros(3), UP, width=WIDTH, height=HEIGHT)
    found = seen([wall, hidden], (view,))
    assert found.pixels.tolist()[0] == found.top_pixels.tolist()[0] == WIDTH * HEIGHT
    assert found.greatest[0] == pytest.approx(0.999, abs=1e-3)
    assert [getattr(found, name)[2].item() for name in NAMES] == [0, 0, 0, 0]


def test_colours_and_features_have_no_part_in_it():
    scene = random_scene(3, 200, channels=4)
    plain = replace(scene, features=None, sh=torch.zeros(200, 1, 3))
    assert same(seen([scene]), seen([plain]))


def test_a_wrong_camera_is_a_sentence():
    with pytest.raises(ValueError, match="viewmats: there is no camera; at least one is needed"):
        contributions([random_scene(1, 3)], np.zeros((0, 4, 4)), np.zeros((0, 3, 3)), 10, 10)


@pytest.mark.parametrize("bases", [1, 4])
def test_sensitivities_are_squared_slopes_of_every_pixel(bases: int):
    """Against torch, which is asked for one pixel after the other, of each Gaussian's value there."""
    scene = random_scene(11, 12, size=0.3)
    scene = replace(scene, sh=scene.sh[:, :bases].contiguous(), features=None)
    view = look_at(np.array([0.3, -0.2, -3.0]), np.zeros(3), UP, width=9, height=7)
    found = sensitivities(scene, view.viewmat[None], view.K[None], 9, 7)
    opacities = scene.opacities.clone().requires_grad_()
    expected = torch.zeros(12, dtype=torch.float64)
    for y in range(7):
        for x in range(9):
            # The pixel alone: alpha = opacity * G, so that opacity * d/d opacity = G * d/dG, with G = alpha / opacity.
            rect = RasterOptions(rect=(x, y, x + 1, y + 1), depth=False, backend="cpu")
            camera = (torch.from_numpy(view.viewmat)[None], torch.from_numpy(view.K)[None], 9, 7)
            arrays = (scene.means, scene.quats, scene.scales, opacities, scene.sh)
            means, quats, scales, alphas, sh = (array.float() for array in arrays)
            seen = rasterize_for_training(means, quats, scales, alphas, sh, *camera, options=rect)
            (slope,) = torch.autograd.grad(seen.pictures.rgb.sum(), opacities)
            value = _value_at(scene, view, x + 0.5, y + 0.5)
            there = value > 0.0
            expected[there] += (slope.double() * scene.opacities.double() / value)[there] ** 2
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6 * float(expected.max()))
    assert int((found > 0).sum()) >= 8


def _value_at(scene: SplatScene, view: Camera, x: float, y: float) -> torch.Tensor:  # [N] float64
    """G of every projected Gaussian at a point of the picture; 0 where its alpha is below the cut."""
    means = scene.means.double() @ torch.from_numpy(view.viewmat[:3, :3]).T + torch.from_numpy(view.viewmat[:3, 3])
    turns = torch.from_numpy(np.stack([quat_to_rotation(q.numpy()) for q in scene.quats.double()]))
    half = torch.from_numpy(view.viewmat[:3, :3]) @ turns * scene.scales.double()[:, None]
    fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
    z, zero = means[:, 2], torch.zeros(len(means), dtype=torch.float64)
    jacobian = torch.stack([fx / z, zero, -fx * means[:, 0] / z**2, zero, fy / z, -fy * means[:, 1] / z**2], dim=1)
    flat = jacobian.view(-1, 2, 3) @ half
    covariance = flat @ flat.transpose(1, 2) + 0.3 * torch.eye(2, dtype=torch.float64)
    away = torch.stack([x - (fx * means[:, 0] / z + cx), y - (fy * means[:, 1] / z + cy)], dim=1)
    value = (-0.5 * (away[:, None] @ torch.linalg.inv(covariance) @ away[..., None])[:, 0, 0]).exp()
    return torch.where(scene.opacities.double() * value >= 1.0 / 255.0, value, 0.0)


def test_sensitivities_of_cameras_add_up_at_any_number_of_threads():
    scene = replace(random_scene(12, 2000, size=0.05), features=None)
    viewmats, Ks = np.stack([v.viewmat for v in VIEWS]), np.stack([v.K for v in VIEWS])
    before = num_threads()
    try:
        set_num_threads(1)
        alone = sensitivities(scene, viewmats, Ks, WIDTH, HEIGHT)
        set_num_threads(4)
        assert torch.equal(alone, sensitivities(scene, viewmats, Ks, WIDTH, HEIGHT))
    finally:
        set_num_threads(before)
    parts = [sensitivities(scene, v.viewmat[None], v.K[None], WIDTH, HEIGHT) for v in VIEWS]
    torch.testing.assert_close(sum(parts), alone, rtol=1e-12, atol=0.0)
