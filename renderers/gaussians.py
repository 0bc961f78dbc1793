"""The door to rasterising 3D Gaussians: checks arguments, picks a backend, calls it.

Letters and axes: `h3d.renderers`. Conventions are gsplat's: EWA projection with `eps2d` added to the diagonal of
the 2D covariance, alpha below 1/255 skipped, a pixel finished when its transmittance falls below 1e-4.
Source: Zwicker et al. 2001 (EWA splatting); Kerbl et al. 2023; Yu et al. 2024 (antialiased mode, Mip-Splatting).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import torch

from . import backends
from .cancel import CancelFlag
from .harmonics import degree_of
from .shapes import check

Rect = tuple[int, int, int, int]

MAX_SIDE = 65536
"""Largest width and height of an image; larger pictures are put together from rectangles."""


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

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> SplatScene:
        """The scene with `change` applied to every array of rows."""
        return replace(
            self,
            means=change(self.means),
            quats=change(self.quats),
            scales=change(self.scales),
            opacities=change(self.opacities),
            sh=change(self.sh),
            features=None if self.features is None else change(self.features),
            visible=None if self.visible is None else change(self.visible),
        )


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
    """How a Gaussian is drawn: as itself, as an opaque disc, as a lit solid of two standard deviations (Gaussians with
    an opacity below 0.2 are left out, they would hide the rest), or as the ring of that solid's outline."""
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
    """Whether to compute the sum and the maximum of alpha * T per Gaussian over all pixels and cameras, and in how many
    pixels it is above 0."""
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
    contribution_max: torch.Tensor | None = None  # [N]; the cpu backend only
    contribution_count: torch.Tensor | None = None  # [N] int64; the cpu backend only
    top_id: torch.Tensor | None = None  # [C, h, w] int32 row, -1 where nothing was drawn
    stats: dict[str, float] | None = None
    """Sums over the cameras, as far as the backend knows them: visible, intersections, project_ms, bin_ms, sort_ms,
    raster_ms, scratch_bytes."""


def rasterize_gaussians(
    means,  # [N, 3]
    quats,  # [N, 4] wxyz
    scales,  # [N, 3]
    opacities,  # [N]
    sh,  # [N, K, 3]
    viewmats,  # [C, 4, 4]
    Ks,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    features=None,  # [N, D]
    options: RasterOptions = RasterOptions(),
    cancel: CancelFlag | None = None,
) -> Rendered:
    """Pictures of one scene; tensors or numpy arrays. See `rasterize_scenes`."""
    arrays = [torch.as_tensor(a) for a in (means, quats, scales, opacities, sh)]
    scene = SplatScene(*arrays, features=None if features is None else torch.as_tensor(features))
    return rasterize_scenes([scene], viewmats, Ks, width, height, options=options, cancel=cancel)


def rasterize_scenes(
    scenes: Sequence[SplatScene],
    viewmats,  # [C, 4, 4]
    Ks,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions = RasterOptions(),
    cancel: CancelFlag | None = None,
) -> Rendered:
    """Pictures of several scenes together, sorted through all of them, from C cameras.

    Rows that hold a NaN or an infinity are not drawn. Colours are evaluated in each scene's own frame.

    Raises:
        ValueError: an argument has a wrong shape or range; the sentence says which.
        Cancelled: `cancel` was set before the pictures were done.
        RuntimeError: the chosen backend does not work on this machine; the sentence says why.
    """
    viewmats, Ks = checked_cameras(viewmats, Ks, width, height)
    scenes = [_checked_scene(scene, f"scenes[{i}]") for i, scene in enumerate(scenes)]
    options = checked_options(options, width, height)
    _check_together(scenes)
    # The twins have one name and one signature, by path; only the chosen one is loaded.
    twin = import_module(f"h3d.renderers.{backends.choose(options.backend)}.gaussians")
    return twin.rasterize_scenes(scenes, viewmats, Ks, width, height, options=options, cancel=cancel)


def _checked_scene(scene: SplatScene, name: str) -> SplatScene:
    """The scene with float32 tensors of the right shapes."""
    sizes: dict[str, int] = {}
    rules = {"means": "[N, 3]", "quats": "[N, 4]", "scales": "[N, 3]", "opacities": "[N]", "sh": "[N, K, 3]"}
    rules |= {"features": "[N, D]", "visible": "[N]", "asset_to_world": "[4, 4]"}
    changes: dict[str, Any] = {}
    for field, rule in rules.items():
        value = getattr(scene, field)
        if value is None:
            continue
        check(value, rule, f"{name}.{field}", sizes)
        dtype = {"visible": torch.bool, "asset_to_world": torch.float64}.get(field, torch.float32)
        changes[field] = torch.as_tensor(value).detach().to(dtype)
    degree_of(sizes["K"])
    if scene.asset_to_world is not None:
        _check_similarity(changes["asset_to_world"], name)
    return replace(scene, **changes)


def _check_similarity(matrix: torch.Tensor, name: str) -> None:  # [4, 4]
    turn = matrix[:3, :3]
    gram = turn @ turn.T
    scale2 = float(gram.diagonal().mean())
    even = torch.allclose(gram, scale2 * torch.eye(3, dtype=matrix.dtype, device=matrix.device), atol=1e-4 * scale2)
    if not (math.isfinite(scale2) and scale2 > 0 and even and float(torch.linalg.det(turn)) > 0):
        raise ValueError(
            f"{name}.asset_to_world: its 3x3 part must be a rotation times a uniform scale above 0; "
            f"it is {turn.tolist()}"
        )


def checked_cameras(viewmats, Ks, width: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cameras as tensors. Raises: ValueError."""
    viewmats, Ks = torch.as_tensor(viewmats), torch.as_tensor(Ks)
    sizes: dict[str, int] = {}
    check(viewmats, "[C, 4, 4]", "viewmats", sizes)
    check(Ks, "[C, 3, 3]", "Ks", sizes)
    if sizes["C"] == 0:
        raise ValueError("viewmats: there is no camera; at least one is needed")
    for name, side in (("width", width), ("height", height)):
        if not 1 <= side <= MAX_SIDE:
            raise ValueError(f"{name}: {side}; must be 1 to {MAX_SIDE}, put larger pictures together from rectangles")
    if not bool(torch.isfinite(viewmats).all()) or not bool(torch.isfinite(Ks).all()):
        raise ValueError("viewmats, Ks: a value is NaN or infinite; cameras must be finite")
    focal = Ks[:, [0, 1], [0, 1]]
    if bool((focal <= 0).any()):
        raise ValueError(f"Ks: the focal lengths {focal.tolist()} must be above 0")
    return viewmats, Ks


def checked_options(options: RasterOptions, width: int, height: int) -> RasterOptions:
    """The options with their rectangle. Raises: ValueError."""
    if not 0 < options.near_plane < options.far_plane:
        raise ValueError(
            f"near_plane {options.near_plane} and far_plane {options.far_plane}: must be 0 < near_plane < far_plane"
        )
    for name in ("splat_scale", "point_size"):
        value = getattr(options, name)
        if not (0 < value < math.inf):
            raise ValueError(f"{name}: {value}; must be above 0")
    if not (0 <= options.eps2d < math.inf):
        raise ValueError(f"eps2d: {options.eps2d}; must be 0 or more")
    if options.sh_degree is not None and options.sh_degree not in range(4):
        raise ValueError(f"sh_degree: {options.sh_degree}; must be 0, 1, 2, 3 or None for all that are given")
    if options.rect is None:
        return replace(options, rect=(0, 0, width, height))
    x0, y0, x1, y1 = options.rect
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"rect: {options.rect}; must be x0, y0, x1, y1 with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
        )
    return options


def _check_together(scenes: Sequence[SplatScene]) -> None:
    channels = {scene.features.shape[1] for scene in scenes if scene.features is not None}
    if len(channels) > 1:
        raise ValueError(f"features: the scenes have {sorted(channels)} channels; all that have features must agree")
    rows = sum(scene.means.shape[0] for scene in scenes)
    if rows >= 2**31:
        raise ValueError(f"scenes: {rows} Gaussians together; must be fewer than 2^31")
