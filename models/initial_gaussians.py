"""Where learning Gaussians starts: a row at each point of a reconstruction, or at random points in the scene's bounds.

P points. Source: Kerbl et al. 2023, section 5.2: round Gaussians as wide as their three nearest neighbours are far,
the root mean square as in their code, opacity 0.1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import KDTree

from h3d.renderers import harmonics

from .gaussians import Gaussians, from_rows

NEIGHBOURS = 3
OPACITY = 0.1
SMALLEST_SHARE = 1e-6
"""Of the points' bounding box, the width at which points that coincide start."""


def initial_gaussians(
    points: torch.Tensor,  # [P, 3]
    colors: torch.Tensor | None,  # [P, 3] in [0, 1]; None = random ones
    generator: torch.Generator,
    sh_degree: int,
    *,
    opacity: float = OPACITY,
) -> Gaussians:
    """A round, randomly turned Gaussian at each point.

    Raises:
        ValueError: there are fewer than four points, some are not finite, or the colours do not fit.
    """
    points = torch.as_tensor(points, dtype=torch.float32)
    count = len(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: their shape is {list(points.shape)}; it must be [P, 3]")
    if count <= NEIGHBOURS:
        raise ValueError(f"points: there are {count}; at least {NEIGHBOURS + 1} are needed, start from random ones")
    if not bool(points.isfinite().all()):
        bad = int((~points.isfinite().all(dim=1)).sum())
        raise ValueError(f"points: {bad} of {count} are not finite; leave them out")
    colors = torch.rand(count, 3, generator=generator) if colors is None else torch.as_tensor(colors)
    if colors.shape != points.shape:
        raise ValueError(f"colors: their shape is {list(colors.shape)}; it must be that of the points, [{count}, 3]")
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = harmonics.rgb_to_dc(colors.float())
    widths = neighbour_distances(points)
    return from_rows(
        means=points,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=widths.log()[:, None].expand(-1, 3),
        logit_opacities=torch.full((count,), math.log(opacity / (1.0 - opacity))),
        sh=sh,
    )


def neighbour_distances(points: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P]
    """Root mean square of the distances to the three nearest other points, above zero."""
    places = points.double().numpy()
    distances, _ = KDTree(places).query(places, k=NEIGHBOURS + 1, workers=-1)
    widths = np.sqrt(np.mean(distances[:, 1:] ** 2, axis=1))
    smallest = max(SMALLEST_SHARE * float(np.ptp(places, axis=0).max()), float(np.finfo(np.float32).tiny))
    return torch.from_numpy(np.maximum(widths, smallest)).float()


def random_points(bounds: np.ndarray, count: int, generator: torch.Generator) -> torch.Tensor:  # [2, 3] -> [P, 3]
    """Points spread evenly in the box from bounds[0] to bounds[1]."""
    low, high = torch.as_tensor(bounds, dtype=torch.float32)
    return low + (high - low) * torch.rand(count, 3, generator=generator)
