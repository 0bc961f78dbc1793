"""Proves that the bundled demo scene is what the front page promises, and that its script makes it again.

The shipped file: size, count, colours that change with the view, a default camera that frames it. The script: the
same seed gives the same bits; its coverings are even; its shadows fall; its fit finds harmonics that are there.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import h3d.assets
from h3d.assets.make.demo_scene import bake, build, light, scene, shapes, surfels
from h3d.models import formats
from h3d.models.gaussians import Gaussians
from h3d.renderers import harmonics, rasterize_gaussians
from h3d.renderers.cameras import Camera, camera_from_json, look_at

UP = np.array([0.0, -1.0, 0.0])


@pytest.fixture(scope="module")
def shipped() -> Gaussians:
    return formats.read(h3d.assets.DEMO_SCENE)


@pytest.fixture(scope="module")
def small() -> Gaussians:
    return build(seed=3, detail=0.03)


def default_camera() -> Camera:
    text = h3d.assets.DEMO_CAMERA.read_text()
    return camera_from_json(json.loads(text)).resized(320, 180)


def rendered(gaussians: Gaussians, camera: Camera):
    arrays = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    viewmats, Ks = torch.from_numpy(camera.viewmat)[None], torch.from_numpy(camera.K)[None]
    return rasterize_gaussians(*arrays, viewmats, Ks, camera.width, camera.height)


def test_the_shipped_file_is_small_and_holds_enough(shipped: Gaussians) -> None:
    assert h3d.assets.DEMO_SCENE.stat().st_size < 3_000_000
    assert len(shipped) >= 40_000
    assert shipped.sh_degree >= 1


def test_the_scene_is_centred_and_about_two_units_across(shipped: Gaussians) -> None:
    low, high = shipped.means.min(dim=0).values, shipped.means.max(dim=0).values
    assert 1.5 < float((high - low).max()) < 2.5
    assert float((0.5 * (high + low)).abs().max()) < 0.2


def test_the_scene_stands_upright_with_down_along_plus_y(shipped: Gaussians) -> None:
    color = harmonics.dc_to_rgb(shipped.sh[:, 0])
    red, green, blue = color.unbind(-1)
    pink = (red > green + 0.2) & (blue > green + 0.05)
    grass = (green > red + 0.03) & (green > blue + 0.15)
    assert pink.sum() > 5000 and grass.sum() > 3000
    # Smaller y is higher: the blossoms are above the moss.
    assert float(shipped.means[pink, 1].median()) < float(shipped.means[grass, 1].median()) - 0.4


def test_the_default_camera_frames_the_scene(shipped: Gaussians) -> None:
    alpha = rendered(shipped, default_camera()).alpha[0]
    covered = alpha > 0.5
    assert 0.25 < float(covered.float().mean()) < 0.7
    columns = torch.nonzero(covered.any(dim=0))[:, 0]
    assert columns.min() > 5 and columns.max() < alpha.shape[1] - 5, "the scene touches the sides of the frame"
    assert not bool(covered[:3].any()), "the scene touches the top of the frame"


def test_solid_things_have_no_holes(shipped: Gaussians) -> None:
    # The wall of the pot, close by: world y is 0.62 minus the height above the board.
    wall = np.array([0.0, 0.62 - 0.14, -0.44])
    camera = look_at(wall + [0, -0.05, -0.6], wall, UP, fov_y_radians=math.radians(16), width=160, height=120)
    assert float(rendered(shipped, camera).alpha.min()) > 0.98


def test_what_shines_changes_colour_as_one_walks_around(shipped: Gaussians) -> None:
    directions = torch.tensor([[-0.6, 0.3, 0.74], [0.6, 0.3, 0.74]], dtype=torch.float32)
    bases = harmonics.basis(directions / directions.norm(dim=-1, keepdim=True), shipped.sh_degree)
    left, right = (0.5 + torch.einsum("k,nkc->nc", b, shipped.sh) for b in bases)
    change = (left.clamp(0, 1) - right.clamp(0, 1)).abs().amax(dim=-1)
    assert float((change > 0.15).float().mean()) > 0.08
    assert float((change < 0.02).float().mean()) > 0.10, "bark and moss should look the same from everywhere"


def test_view_dependence_shows_in_the_picture(shipped: Gaussians) -> None:
    camera = default_camera()
    full, flat = rendered(shipped, camera), rendered(shipped.with_sh_degree(0), camera)
    change = (full.rgb - flat.rgb).abs().amax(dim=-1)[full.alpha > 0.5]
    assert float((change > 0.08).float().mean()) > 0.05


def test_the_shipped_camera_is_the_scripts(shipped: Gaussians) -> None:
    made = scene.camera(320, 180)
    np.testing.assert_allclose(default_camera().camera_to_world, made.camera_to_world, atol=1e-12)


def test_the_same_seed_gives_the_same_bits(small: Gaussians) -> None:
    again = build(seed=3, detail=0.03)
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(small, name), getattr(again, name)), name


def test_another_seed_grows_another_tree(small: Gaussians) -> None:
    other = scene.model(seed=4, detail=0.03)
    assert len(other) != len(small) or not np.allclose(
        other.position @ scene.TO_WORLD.T, small.means.numpy(), atol=1e-4
    )


def test_the_small_scene_resembles_the_shipped_one(small: Gaussians, shipped: Gaussians) -> None:
    assert 2_000 < len(small) < 0.1 * len(shipped)
    spread = small.means.std(dim=0) / shipped.means.std(dim=0)
    assert torch.all((spread > 0.7) & (spread < 1.4))
    assert torch.isfinite(small.sh).all()
    assert torch.allclose(small.quats.norm(dim=-1), torch.ones(len(small)), atol=1e-5)


def test_a_covering_is_even_and_lies_on_its_surface() -> None:
    position, normal, spacing = shapes.ellipsoid((1.0, 1.0, 1.0), 2000)
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(normal, position, atol=1e-12)
    distance = np.linalg.norm(position[:, None] - position[None], axis=2) + 9 * np.eye(len(position))
    nearest = distance.min(axis=1) / spacing
    assert nearest.min() > 0.6 and nearest.max() < 1.2


def test_a_board_casts_its_shadow_away_from_the_light() -> None:
    flat, spacing = shapes.disc(0.5, 3000)
    above = np.array([[0.0, 0.0, 0.4]])
    below = np.array([[0.0, 0.0, -0.4], [0.9, 0.0, -0.4]])
    up = np.array([0.0, 0.0, 1.0])
    grey = surfels.Material((0.5, 0.5, 0.5))
    dust = surfels.make(np.concatenate([above, below]), up, np.array([1.0, 0, 0]), 1e-4, grey)
    board = surfels.make(flat, up, np.array([1.0, 0, 0]), [0.6 * spacing, 0.6 * spacing, 1e-3], grey)
    arrives = light.DeepShadow(surfels.joined([board, dust]), cells=64).arriving(up)[-3:]
    assert arrives[0] > 0.95, "nothing stands above"
    assert arrives[1] < 0.1, "the board hides the light"
    assert arrives[2] > 0.95, "beside the board's shadow"


def test_the_fit_reproduces_a_matte_surfel_exactly_and_a_glossy_one_nearly() -> None:
    up = np.tile([0.0, 0.0, 1.0], (2, 1))
    material = surfels.Material((0.2, 0.3, 0.4), specular=np.array([[0.0] * 3, [0.2] * 3]), roughness=0.4)
    pair = surfels.make(np.zeros((2, 3)), up, np.array([1.0, 0, 0]), 0.01, material)
    flat = np.ones((2, 3))
    lit = light.Lighting(3 * flat, 0 * flat, np.ones((2, len(light.LAMPS))), np.ones(2), 0 * flat)
    sh = bake.fitted_sh(pair, lit, np.eye(3))
    assert np.all(sh[0, 1:] == 0.0) and np.abs(sh[1, 1:]).max() > 0.1
    eyes = light.sphere_directions(60)
    eyes = eyes[eyes[:, 2] > 0.35]
    bases = harmonics.basis(torch.from_numpy(-eyes), 3).numpy()
    fitted = 0.5 + np.einsum("ek,nkc->enc", bases, sh)
    wanted = np.stack([bake.display(bake.radiance(pair, lit, eye)) for eye in eyes])
    np.testing.assert_allclose(fitted[:, 0], wanted[:, 0], atol=1e-3)
    assert np.abs(fitted[:, 1] - wanted[:, 1]).mean() < 0.03


def test_turning_and_moving_surfels_keeps_their_frames_orthonormal() -> None:
    one = surfels.make(
        np.array([[1.0, 0, 0]]), np.array([0, 0, 2.0]), np.array([1.0, 0, 1]), 0.1, surfels.Material((1, 1, 1))
    )
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = one.turned(quarter).moved((0, 0, 5))
    np.testing.assert_allclose(turned.position, [[0, 1, 5]], atol=1e-12)
    np.testing.assert_allclose(turned.axes[0] @ turned.axes[0].T, np.eye(3), atol=1e-12)
