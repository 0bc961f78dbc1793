"""gsplat's reference functions in plain torch on the CPU, against our kernels, on a scene small enough for them.

Projection and spherical harmonics are gsplat's own (`gsplat.cuda._torch_impl`). Its compositing needs CUDA and its
binning is a Python loop over the Gaussians, so both are written here in torch, tile by tile, as its authors' reference
would be on a GPU; both programs use all threads. The two pictures are compared, so that what is timed is the same work.
Letters: N Gaussians, n of them in a tile, P pixels of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from h3d.models.gaussians import Gaussians
from h3d.renderers import RasterOptions, SplatScene, rasterize_scenes
from h3d.renderers.cameras import Camera
from h3d.renderers.differentiable_gaussians import rasterize_for_training

from . import scenes
from .metrics import Effort, Metric, Skipped, best_of_blocks, in_turns, ratio, timed

TILE = 16
ALPHA_CUT, ALPHA_MOST, T_STOP = 1 / 255, 0.999, 1e-4
ROWS, WIDTH, HEIGHT = 20_000, 320, 180
DIFFERENCE_TOLERANCE = 20.0  # A few pixels whose alpha falls to the other side of a cut make ten times the base.


def gsplat_torch(effort: Effort) -> Iterator[Metric]:
    """Speed-up of projection with colour, and of a whole frame, and how far the two pictures differ."""
    reference = torch_functions()
    asset, camera = _case()
    scene = scenes.splat_scene(asset)
    viewmats, Ks = torch.from_numpy(camera.viewmat)[None], torch.from_numpy(camera.K)[None]
    options = RasterOptions(depth=False, backend="cpu")

    def ours():
        return rasterize_scenes([scene], viewmats, Ks, WIDTH, HEIGHT, options=options)

    def theirs() -> torch.Tensor:
        return composite((WIDTH, HEIGHT), *project(reference, scene, camera))

    difference = (ours().rgb[0] - theirs()).abs().mean().item()
    yield Metric("peers/gsplat_torch/mean_difference", difference, "of 1", "lower", DIFFERENCE_TOLERANCE)
    our_seconds, their_seconds = in_turns(ours, theirs, Effort(effort.blocks, min(effort.repeats, 3), 0, 0.0))
    yield ratio("peers/gsplat_torch/frame_speedup", their_seconds / our_seconds)
    ours_ms = best_of_blocks(lambda: (ours().stats or {})["project_ms"], effort)
    theirs_ms = 1e3 * best_of_blocks(lambda: timed(lambda: project(reference, scene, camera)), effort)
    yield ratio("peers/gsplat_torch/projection_and_sh_speedup", theirs_ms / ours_ms)
    yield from _learning(reference, scene, camera, effort)


def torch_functions() -> Any:
    """gsplat's module of them. Raises: `Skipped`."""
    try:
        from gsplat.cuda import _torch_impl as reference
    except ImportError as error:
        raise Skipped(f"gsplat's torch functions do not load ({error}); pip install 'gsplat>=1.5.3'") from error
    return reference


def _learning(reference: Any, scene: SplatScene, camera: Camera, effort: Effort) -> Iterator[Metric]:
    """Speed-up of a frame with its gradients to all parameters, and how far the two gradients of the means differ."""
    learnt = scene.mapped(lambda array: array.clone().requires_grad_())
    rows = (learnt.means, learnt.quats, learnt.scales, learnt.opacities, learnt.sh)
    viewmats, Ks = torch.from_numpy(camera.viewmat)[None], torch.from_numpy(camera.K)[None]
    options = RasterOptions(depth=False)
    gradient = torch.randn(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))

    def ours() -> tuple[torch.Tensor, ...]:
        pictures = rasterize_for_training(*rows, viewmats, Ks, WIDTH, HEIGHT, options=options).pictures
        return torch.autograd.grad(pictures.rgb[0], rows, gradient)

    def theirs() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(composite((WIDTH, HEIGHT), *project(reference, learnt, camera)), rows, gradient)

    ours_means, theirs_means = ours()[0], theirs()[0]
    difference = ((ours_means - theirs_means).norm() / theirs_means.norm()).item()
    yield Metric("peers/gsplat_torch/gradient_difference", difference, "of 1", "lower", DIFFERENCE_TOLERANCE)
    our_seconds, their_seconds = in_turns(ours, theirs, Effort(effort.blocks, min(effort.repeats, 2), 0, 0.0))
    yield ratio("peers/gsplat_torch/forward_backward_speedup", their_seconds / our_seconds)


def _case() -> tuple[Gaussians, Camera]:
    try:
        asset = scenes.tiled(scenes.playbot(), ROWS)
    except Skipped:
        asset = scenes.synthetic(ROWS)
    return asset, scenes.camera(asset, scenes.FAR, WIDTH, HEIGHT)


def project(reference: Any, scene: SplatScene, camera: Camera) -> tuple[torch.Tensor, ...]:
    """Means [N, 2], radii [N, 2], conics [N, 3], colours [N, 3], opacities [N] of what is seen, nearest first."""
    viewmat, K = (torch.from_numpy(m).float() for m in (camera.viewmat, camera.K))
    covars, _ = reference._quat_scale_to_covar_preci(scene.quats, scene.scales, True, False)
    radii, means2d, depths, conics, _ = reference._fully_fused_projection(
        scene.means, covars, viewmat[None], K[None], camera.width, camera.height
    )
    degree = math.isqrt(scene.sh.shape[1]) - 1
    eye = torch.from_numpy(camera.position).float()
    colors = (reference._spherical_harmonics(degree, scene.means - eye, scene.sh) + 0.5).clamp_min(0.0)
    seen = (radii[0] > 0).all(dim=-1).nonzero()[:, 0]
    order = seen[depths[0][seen].argsort()]
    return means2d[0][order], radii[0][order], conics[0][order], colors[order], scene.opacities[order]


def composite(
    size: tuple[int, int],  # width and height
    means: torch.Tensor,  # [N, 2]
    radii: torch.Tensor,  # [N, 2]
    conics: torch.Tensor,  # [N, 3]
    colors: torch.Tensor,  # [N, 3]
    opacities: torch.Tensor,  # [N]
) -> torch.Tensor:  # [H, W, 3]
    """The picture over black, tile by tile."""
    width, height = size
    picture = torch.zeros(height, width, 3)
    low, high = means - radii, means + radii
    for top in range(0, height, TILE):
        in_row = ((low[:, 1] < top + TILE) & (high[:, 1] > top)).nonzero()[:, 0]
        for left in range(0, width, TILE):
            rows = in_row[(low[in_row, 0] < left + TILE) & (high[in_row, 0] > left)]
            if len(rows) == 0:
                continue
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            y, x = torch.meshgrid(torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5, indexing="ij")
            pixels = torch.stack([x.reshape(-1), y.reshape(-1)], dim=-1)  # [P, 2]
            blended = _blend(pixels, means[rows], conics[rows], colors[rows], opacities[rows])
            picture[top:bottom, left:right] = blended.reshape(bottom - top, right - left, 3)
    return picture


def _blend(
    pixels: torch.Tensor,  # [P, 2]
    means: torch.Tensor,  # [n, 2]
    conics: torch.Tensor,  # [n, 3]
    colors: torch.Tensor,  # [n, 3]
    opacities: torch.Tensor,  # [n]
) -> torch.Tensor:  # [P, 3]
    """Front-to-back blending with the cuts that `h3d.renderers.gaussians` names."""
    dx, dy = (pixels[:, None] - means[None]).unbind(-1)  # [P, n]
    a, b, c = conics.unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp_max(ALPHA_MOST)
    alpha = torch.where((sigma >= 0.0) & (alpha >= ALPHA_CUT), alpha, 0.0)
    after = torch.cumprod(1.0 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weight = torch.where(after > T_STOP, alpha * before, 0.0)
    return weight @ colors
