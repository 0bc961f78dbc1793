"""Gaussians for tests of what is pruned: a dense sphere, and loose rows around it."""

from __future__ import annotations

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.renderers import harmonics


def sphere_and_dust(count: int = 4000, seed: int = 0) -> Gaussians:
    """Three quarters of the rows on a coloured unit sphere, the rest spread about it."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    loose = np.arange(count) % 4 == 0
    means = np.where(loose[:, None], random.uniform(-2.0, 2.0, (count, 3)), directions)
    colors = torch.from_numpy(0.5 + 0.45 * directions).float()
    return Gaussians(
        ids=torch.arange(count),
        means=torch.from_numpy(means).float(),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        log_scales=torch.full((count, 3), -3.2),
        logit_opacities=torch.full((count,), 2.0),
        sh=harmonics.rgb_to_dc(colors)[:, None],
    )
