"""The door to rasterising 3D Gaussians: checks arguments, picks a backend, calls it.

Letters and axes: `h3d.renderers`. Conventions are gsplat's: EWA projection with `eps2d` added to the diagonal of
the 2D covariance, alpha below 1/255 skipped, a pixel finished when its transmittance falls below 1e-4.
Source: Zwicker et al. 2001 (EWA splatting); Kerbl et al. 2023; Yu et al. 2024 (antialiased mode, Mip-Splatting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Rect = tuple[int, int, int, int]


class Cancelled(Exception):
    """The cancel flag was set while a picture was being rendered; there is no picture."""


@dataclass(frozen=True)
class SplatScene:
    """N Gaussians in activated form, and where they stand in the world."""

    means: torch.Tensor  # [N, 3]
    quats: torch.Tensor  # [N, 4] wxyz, normalised by the rasteriser
    scales: torch.Tensor  # [N, 3]
    opacities: torch.Tensor  # [N]
    sh: torch.Tensor  # [N, K, 3]
    features: torch.Tensor | None = None  # [N, D], blended like colours
    visible: torch.Tensor | None = None  # [N] bool; None = all
    asset_to_world: torch.Tensor | None = None  # [4, 4], rotation times uniform scale, translation; None = identity


@dataclass(frozen=True)
class RasterOptions:
    """What to compute and how."""

    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    near_plane: float = 0.01
    far_plane: float = 1e10
    eps2d: float = 0.3
    """Pixels squared added to the diagonal of every 2D covariance."""
    antialiased: bool = False
    sh_degree: int | None = None
    """Highest degree to evaluate; None = all that are given."""
    splat_scale: float = 1.0
    shape: Literal["splats", "points", "ellipsoids", "rings"] = "splats"
    point_size: float = 3.0
    """Diameter of a point in pixels, for shape "points"."""
    color: Literal["sh", "normals"] = "sh"
    """What `rgb` holds: SH colour, or 0.5 + 0.5 n with n the shortest axis in world axes, turned to the eye."""
    rect: Rect | None = None
    """x0, y0, x1, y1: only these pixels of the image are computed, and the outputs have this size."""
    rgb_dtype: Literal["float32", "uint8"] = "float32"
    depth: bool = True
    """Whether to compute expected depth (costs a channel)."""
    contributions: bool = False
    """Whether to compute the sum and the maximum of alpha * T per Gaussian, over all pixels and cameras."""
    top_id: bool = False
    """Whether to compute the row with the largest alpha * T per pixel."""
    backend: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Rendered:
    """h x w is the size of `rect`, else of the image. Rows count through the scenes in the order given."""

    rgb: torch.Tensor  # [C, h, w, 3] float32 in [0, inf) or uint8, background blended in
    alpha: torch.Tensor  # [C, h, w]
    depth: torch.Tensor | None  # [C, h, w] expected depth along the view axis, 0 where alpha is 0
    features: torch.Tensor | None = None  # [C, h, w, D]
    contribution_sum: torch.Tensor | None = None  # [N]
    contribution_max: torch.Tensor | None = None  # [N]
    top_id: torch.Tensor | None = None  # [C, h, w] int32 row, -1 where nothing was drawn
    stats: dict[str, float] | None = None  # visible, intersections, project_ms, sort_ms, bin_ms, raster_ms
