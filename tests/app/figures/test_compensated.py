"""Proves that pictures of Gaussians with a compensation network go through it, where that is wanted and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from balls import ball
from random_networks import random_network

from h3d.app.figures import compare, images
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.framing import frame_camera
from h3d.app.figures.pictures import View
from h3d.app.workspace.scene import Layer
from h3d.models.compensation import Compensation, CompensationPlan
from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import Camera

BACKGROUND = (0.2, 0.1, 0.4)
ON = Display(background=BACKGROUND)
OFF = replace(ON, compensated=False)


def layer(asset: Gaussians, key: int = 1) -> Layer:
    return Layer(key, f"layer {key}", asset, None, "")


@pytest.fixture(scope="module")
def asset() -> Gaussians:
    rows = ball((0.9, 0.1, 0.1))
    network = random_network(CompensationPlan("tiny"))
    return replace(rows, features=torch.randn(len(rows), 8), compensation=Compensation(network))


@pytest.fixture(scope="module")
def camera(asset: Gaussians) -> Camera:
    return frame_camera((layer(asset),), width=150, height=93)


def test_still_pictures_are_compensated_and_moving_ones_are_not(asset, camera):
    raw = images.render(View((layer(asset),), OFF), camera).pixels
    assert np.array_equal(raw, images.render(View((layer(asset.uncompensated),), ON), camera).pixels)
    view = View((layer(asset),), ON)
    assert np.array_equal(raw, images.render(view, camera, quick=True).pixels)
    assert (images.render(view, camera).pixels != raw).any(axis=-1).mean() > 0.2


def test_a_picture_is_what_the_network_makes_of_it(asset, camera):
    found = images.render_float(View((layer(asset),), ON), camera, depth=True)
    raw = images.render_float(View((layer(asset),), OFF), camera, depth=True)
    assert raw.depth is not None and found.depth is not None
    assert np.array_equal(found.depth[raw.alpha > 0.0], raw.depth[raw.alpha > 0.0])
    assert found.depth[found.alpha > 0.0].min() > 0.5, "what the network makes of nothing is no nearer than the rest"
    drawn = images.painter(View((layer(asset),), ON), camera)._rasterized(None, depth=False, cancel=None)
    assert drawn.features is not None and asset.compensation is not None
    seen = torch.cat([drawn.rgb[0], drawn.alpha[0, ..., None], drawn.features[0]], dim=-1)
    wanted = asset.compensation.corrected(seen).numpy()
    assert np.array_equal(found.rgb, wanted[..., :3]) and np.array_equal(found.alpha, wanted[..., 3])


def test_a_rectangle_is_that_part_of_the_whole(asset, camera):
    view = View((layer(asset),), ON)
    whole = images.render(view, camera)
    for x0, y0, x1, y1 in ((0, 0, 150, 40), (17, 5, 83, 93), (149, 92, 150, 93)):
        part = images.render(view, camera, rect=(x0, y0, x1, y1))
        assert np.array_equal(part.pixels, whole.pixels[y0:y1, x0:x1])


def test_a_finer_picture_is_compensated_at_the_size_that_was_learnt(asset, camera):
    view = View((layer(asset),), ON)
    once, fine = images.render_float(view, camera), images.render_float(view, camera, samples=3)
    raw = images.render_float(replace(view, display=OFF), camera, samples=3)
    assert fine.rgb.shape == once.rgb.shape
    assert np.abs(fine.rgb - once.rgb).mean() < 0.3 * np.abs(fine.rgb - raw.rgb).mean()


@pytest.mark.parametrize("changes", [{"mode": "alpha"}, {"mode": "normals"}, {"shape": "points"}])
def test_what_shows_something_else_than_colours_is_raw(asset, camera, changes):
    on, off = (images.render(View((layer(asset),), replace(d, **changes)), camera) for d in (ON, OFF))
    assert np.array_equal(on.pixels, off.pixels)


def test_beside_other_gaussians_it_is_raw(asset, camera):
    layers = (layer(asset), layer(ball((0.1, 0.8, 0.1), radius=0.5), key=2))
    on, off = (images.render(View(layers, display), camera).pixels for display in (ON, OFF))
    assert np.array_equal(on, off)
    hidden = (layers[0], replace(layers[1], visible=False))
    assert not np.array_equal(images.render(View(hidden, ON), camera).pixels, off)


def test_a_wipe_shows_raw_beside_compensated(asset, camera):
    views = View((layer(asset),), OFF), View((layer(asset),), ON)
    wiped = compare.painter(Comparison(*views, "wipe", split=0.5), camera).picture().pixels
    raw, made = (images.render(view, camera).pixels for view in views)
    assert np.array_equal(wiped[:, :70], raw[:, :70]) and np.array_equal(wiped[:, 80:], made[:, 80:])
    metrics = compare.measure(Comparison(*views, "wipe", split=0.5), camera)
    assert metrics.psnr_db < 40.0
