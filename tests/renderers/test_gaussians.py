"""Every backend draws what the formulas say: against the slow float64 reference, over random scenes.

Tolerances: at most 1/255 anywhere and 1e-4 on average. The maximum is not smaller by contract because alpha has a cut:
where float32 rounds an alpha of 1/255 to the other side of it, a pixel changes by up to 1/255 of a colour, and where it
stops a pixel one splat earlier, by up to 1e-4.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterizer_reference import random_pose, random_scene, render

from h3d.renderers import RasterOptions, SplatScene, rasterize_gaussians, rasterize_scenes
from h3d.renderers.cameras import Camera, look_at

BACKENDS = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def camera(seed: int, width: int = 70, height: int = 45) -> Camera:
    """A camera three units away that looks roughly at the middle of the box."""
    rng = np.random.default_rng(seed)
    position = np.array([0.0, 0.0, -3.0]) + rng.uniform(-0.8, 0.8, 3)
    return look_at(position, rng.uniform(-0.3, 0.3, 3), np.array([0.0, -1.0, 0.0]), width=width, height=height)


def draw(scenes, view: Camera, options: RasterOptions):
    return rasterize_scenes(scenes, view.viewmat[None], view.K[None], view.width, view.height, options=options)


def assert_close(actual: torch.Tensor | None, expected: np.ndarray, *, scale: float = 1.0) -> None:
    assert actual is not None
    error = np.abs(actual.numpy() - expected) / scale
    assert error.max() <= 1 / 255
    assert error.mean() <= 1e-4


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("size", [0.02, 0.25, 1.5])
def test_a_scene_looks_like_the_formulas(backend, degree, antialiased, size):
    scene, view = random_scene(degree, 80, degree=degree, size=size), camera(degree)
    options = RasterOptions(background=(0.2, 0.4, 0.9), antialiased=antialiased, backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    rendered = draw([scene], view, options)
    assert expected.alpha.max() > 0.05
    assert_close(rendered.rgb[0], expected.rgb)
    assert_close(rendered.alpha[0], expected.alpha)


@pytest.mark.parametrize("seed", range(6))
def test_several_posed_scenes_are_sorted_through_each_other(backend, seed):
    scenes = [replace(random_scene(seed + 10 * k, 40), asset_to_world=random_pose(seed + 20 * k)) for k in range(3)]
    scenes.append(random_scene(seed + 99, 30, degree=1))
    view, options = camera(seed), RasterOptions(backend=backend)
    expected = render(scenes, view.viewmat, view.K, view.width, view.height, options)
    assert_close(draw(scenes, view, options).rgb[0], expected.rgb)


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_a_lower_degree_cuts_the_harmonics(backend, sh_degree):
    scene, view = random_scene(5), camera(5)
    options = RasterOptions(sh_degree=sh_degree, backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    assert_close(draw([scene], view, options).rgb[0], expected.rgb)


@pytest.mark.parametrize("seed", range(3))
def test_depth_is_the_expected_depth_along_the_view_axis(backend, seed):
    scene, view, options = random_scene(seed, 120), camera(seed), RasterOptions(backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    rendered = draw([scene], view, options)
    assert_close(rendered.depth[0] if rendered.depth is not None else None, expected.depth, scale=4.0)


@pytest.mark.parametrize("channels", [1, 3, 17])
def test_features_of_any_number_are_blended_like_colours(backend, channels):
    scenes = [random_scene(1, 50, channels=channels), random_scene(2, 30)]
    view, options = camera(1), RasterOptions(backend=backend)
    expected = render(scenes, view.viewmat, view.K, view.width, view.height, options)
    rendered = draw(scenes, view, options)
    assert_close(rendered.features[0] if rendered.features is not None else None, expected.features)


def test_hidden_rows_are_not_drawn(backend):
    scene = random_scene(3)
    scene = replace(scene, visible=torch.arange(len(scene.means)) % 3 != 0)
    view, options = camera(3), RasterOptions(backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    assert_close(draw([scene], view, options).rgb[0], expected.rgb)


def test_normals_are_the_shortest_axes_turned_to_the_eye(backend):
    scene = replace(random_scene(4), asset_to_world=random_pose(4))
    view, options = camera(4), RasterOptions(color="normals", backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    assert_close(draw([scene], view, options).rgb[0], expected.rgb)


def test_splat_scale_eps2d_and_planes_are_obeyed(backend):
    scene, view = random_scene(6), camera(6)
    options = RasterOptions(splat_scale=0.5, eps2d=0.1, near_plane=2.6, far_plane=3.4, backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    assert 0.0 < expected.alpha.mean() < render([scene], view.viewmat, view.K, 70, 45, RasterOptions()).alpha.mean()
    assert_close(draw([scene], view, options).rgb[0], expected.rgb)


def test_contributions_are_the_sums_of_alpha_t(backend):
    scene, view = random_scene(7), camera(7)
    options = RasterOptions(contributions=True, backend=backend)
    expected = render([scene], view.viewmat, view.K, view.width, view.height, options)
    rendered = draw([scene], view, options)
    assert rendered.contribution_sum is not None
    # Sums over hundreds of pixels; a threshold flip moves one of them by 1/255.
    np.testing.assert_allclose(rendered.contribution_sum.numpy(), expected.contribution_sum, rtol=1e-3, atol=1 / 255)


def test_the_cameras_of_a_call_are_drawn_each_by_itself(backend):
    scene, views = random_scene(8), [camera(8), camera(9)]
    options = RasterOptions(backend=backend)
    viewmats, Ks = np.stack([v.viewmat for v in views]), np.stack([v.K for v in views])
    both = rasterize_scenes([scene], viewmats, Ks, 70, 45, options=options)
    for i, view in enumerate(views):
        assert torch.equal(both.rgb[i], draw([scene], view, options).rgb[0])


def test_an_empty_scene_is_the_background(backend):
    scene = SplatScene(*(torch.zeros(0, *size) for size in ((3,), (4,), (3,), (), (1, 3))))
    for scenes in ([], [scene]):
        rendered = draw(scenes, camera(0), RasterOptions(background=(0.25, 0.5, 0.75), backend=backend))
        assert torch.equal(rendered.rgb[0], torch.tensor([0.25, 0.5, 0.75]).expand(45, 70, 3))
        assert not rendered.alpha.any()


def test_numpy_arrays_are_as_good_as_tensors(backend):
    scene, view, options = random_scene(11, channels=2), camera(11), RasterOptions(backend=backend)
    arrays = [t.numpy() for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)]
    features = scene.features.numpy() if scene.features is not None else None
    means, quats, scales, opacities, sh = arrays
    viewmats, Ks = view.viewmat[None], view.K[None]
    one = rasterize_gaussians(
        means, quats, scales, opacities, sh, viewmats, Ks, 70, 45, features=features, options=options
    )
    assert torch.equal(one.rgb, draw([scene], view, options).rgb)
