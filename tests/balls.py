"""Scenes for tests that can be told apart by their colour: fuzzy balls of one colour each."""

from __future__ import annotations

import numpy as np

from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers.harmonics import rgb_to_dc


def ball(rgb: tuple[float, float, float], radius: float = 1.0, count: int = 2000) -> Gaussians:
    """An opaque ball of one colour around the origin, as `count` Gaussians on its surface."""
    directions = np.random.default_rng(0).normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sh = np.zeros((count, 1, 3))
    sh[:, 0] = rgb_to_dc(np.array(rgb))
    return from_rows(
        means=radius * directions,
        quats=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        log_scales=np.full((count, 3), np.log(0.06)),
        logit_opacities=np.full(count, 4.0),
        sh=sh,
    )
