"""A small scene with everything a picture can go wrong at: overlap, transparency, view-dependent colour, two layers."""

import math

import numpy as np
import pytest
import torch

from h3d.app.figures.framing import frame_camera
from h3d.app.figures.pictures import View
from h3d.app.workspace.scene import Layer
from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers.cameras import Camera
from h3d.renderers.harmonics import rgb_to_dc


def blob(seed: int, count: int = 300, *, bases: int = 4) -> Gaussians:
    """Gaussians in a ball of radius about 1, colours inside [0.1, 0.9] from every side."""
    random = torch.Generator().manual_seed(seed)
    sh = torch.randn(count, bases, 3, generator=random) * 0.05
    sh[:, 0] = rgb_to_dc(0.3 + 0.4 * torch.rand(count, 3, generator=random))
    return from_rows(
        means=torch.randn(count, 3, generator=random) * 0.5,
        quats=torch.randn(count, 4, generator=random),
        log_scales=-2.4 + 0.5 * torch.randn(count, 3, generator=random),
        logit_opacities=torch.randn(count, generator=random) + 0.5,
        sh=sh,
    )


@pytest.fixture
def layers() -> tuple[Layer, ...]:
    turned = (math.cos(0.3), 0.0, math.sin(0.3), 0.0)
    hidden = torch.arange(300) % 7 == 0
    return (
        Layer(key=1, name="one", asset=blob(1)),
        Layer(key=2, name="two", asset=blob(2), wxyz=turned, position=(0.8, 0.1, 0.4), scale=0.7, hidden_rows=hidden),
    )


@pytest.fixture
def view(layers: tuple[Layer, ...]) -> View:
    return View(layers)


@pytest.fixture
def camera(layers: tuple[Layer, ...]) -> Camera:
    return frame_camera(layers, width=150, height=93)


def over(rgb: np.ndarray, alpha: np.ndarray, background: tuple[float, float, float]) -> np.ndarray:
    """Premultiplied colours over a background."""
    return rgb + (1.0 - alpha)[..., None] * np.array(background, np.float32)
