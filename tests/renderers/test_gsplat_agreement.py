"""Projection, harmonics and blending agree with gsplat's own torch functions, which run without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gsplat_functions import rasterization, spherical_harmonics
from rasterizer_reference import random_scene

from h3d.renderers import RasterOptions, SplatScene, rasterize_scenes
from h3d.renderers.cameras import Camera, look_at
from h3d.renderers.differentiable_gaussians import rasterize_for_training
from h3d.renderers.harmonics import degree_of


def gsplat_picture(scene: SplatScene, view: Camera, options: RasterOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """rgb [H, W, 3] and expected depth [H, W] by gsplat's own functions."""
    viewmat, K = torch.from_numpy(view.viewmat).float(), torch.from_numpy(view.K).float()
    directions = scene.means - torch.linalg.inv(viewmat)[:3, 3]
    colors = (spherical_harmonics(degree_of(scene.sh.shape[1]), directions, scene.sh) + 0.5).clamp_min(0)
    picture, _, _ = rasterization(
        *(scene.means, scene.quats, scene.scales, scene.opacities, colors[None], viewmat[None], K[None]),
        *(view.width, view.height),
        near_plane=options.near_plane,
        far_plane=options.far_plane,
        eps2d=options.eps2d,
        packed=False,
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if options.antialiased else "classic",
    )
    return picture[0, ..., :3], picture[0, ..., 3]


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_picture_is_that_of_gsplats_functions(degree, antialiased):
    scene = random_scene(degree + 40, 400, degree=degree, size=0.15)
    view = look_at(np.array([0.5, -0.4, -2.5]), np.zeros(3), np.array([0.0, -1, 0]), width=112, height=80)
    options = RasterOptions(antialiased=antialiased)
    rgb, depth = gsplat_picture(scene, view, options)
    ours = rasterize_scenes([scene], view.viewmat[None], view.K[None], 112, 80, options=options)
    assert ours.depth is not None
    error = (ours.rgb[0] - rgb).abs()
    assert error.max() <= 1 / 255 and error.mean() <= 1e-5
    drawn = ours.alpha[0] > 0.01
    assert drawn.float().mean() > 0.3
    assert ((ours.depth[0] - depth).abs()[drawn] / depth[drawn]).mean() <= 1e-4


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_are_those_through_gsplats_functions(antialiased):
    scene = random_scene(44, 150, degree=3, size=0.15)
    view = look_at(np.array([0.5, -0.4, -2.5]), np.zeros(3), np.array([0.0, -1, 0]), width=64, height=48)
    options = RasterOptions(antialiased=antialiased)
    weights = torch.randn(view.height, view.width, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = (scene.mapped(lambda array: array.clone().requires_grad_()) for _ in range(2))
    (gsplat_picture(theirs, view, options)[0] * weights).sum().backward()
    rows = (ours.means, ours.quats, ours.scales, ours.opacities, ours.sh)
    cameras = torch.from_numpy(view.viewmat)[None], torch.from_numpy(view.K)[None]
    seen = rasterize_for_training(*rows, *cameras, view.width, view.height, options=options)
    (seen.pictures.rgb[0] * weights).sum().backward()
    for name in ("means", "quats", "scales", "opacities", "sh"):
        mine, true = getattr(ours, name).grad, getattr(theirs, name).grad
        assert float(true.norm()) > 0
        assert float((mine - true).norm() / true.norm()) < 2e-3, name
