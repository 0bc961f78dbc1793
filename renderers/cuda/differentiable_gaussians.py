"""Differentiable Gaussians on a GPU with gsplat: the same names, signature and meaning as the CPU's twin.

Colours are evaluated by gsplat's harmonics and handed on as plain channels beside the features. The gradients on the
picture come from gsplat's projected means, which it calls means2d. Differs from the CPU in what gsplat does: gradients
that reach a row are summed by atomics, so that bits differ from run to run. Sources: gsplat 1.5.3, `rasterization`,
`spherical_harmonics`.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.differentiable_gaussians import TrainingPictures
from h3d.renderers.gaussians import RasterOptions, Rendered
from h3d.renderers.harmonics import degree_of


def rasterize_for_training(
    rows: dict[str, torch.Tensor],
    viewmats: torch.Tensor,  # [C, 4, 4]
    Ks: torch.Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions,
    cancel: CancelFlag | None = None,
) -> TrainingPictures:
    """See the door; `options.rect` is set."""
    import gsplat

    if cancel is not None and cancel.is_set():
        raise Cancelled
    device = rows["means"].device
    viewmats = viewmats.to(device, torch.float32)
    x0, y0, x1, y1 = options.rect or (0, 0, width, height)
    moved = Ks.to(device, torch.float32).clone()
    moved[:, 0, 2] -= x0
    moved[:, 1, 2] -= y0
    rows = _finite(rows)
    colors = _colors(rows["means"], rows["sh"], viewmats, options)
    features = rows.get("features")
    if features is not None:
        colors = torch.cat([colors, features.expand(len(viewmats), -1, -1)], dim=-1)
    render, alpha, info = gsplat.rasterization(
        rows["means"],
        rows["quats"],
        rows["scales"] * options.splat_scale,
        rows["opacities"],
        colors,
        viewmats,
        moved,
        x1 - x0,
        y1 - y0,
        near_plane=options.near_plane,
        far_plane=options.far_plane,
        eps2d=options.eps2d,
        packed=False,
        absgrad=True,
        render_mode="RGB+ED" if options.depth else "RGB",
        rasterize_mode="antialiased" if options.antialiased else "classic",
    )
    norms, abs_norms = (torch.zeros(len(viewmats), len(rows["means"]), device=device) for _ in range(2))
    _fill_at_backward(info["means2d"], norms, abs_norms)
    background = torch.tensor(options.background, device=device)
    pictures = Rendered(
        rgb=render[..., :3] + (1.0 - alpha) * background,
        alpha=alpha[..., 0],
        depth=torch.where(alpha[..., 0] > 0, render[..., -1], 0.0) if options.depth else None,
        features=None if features is None else render[..., 3 : 3 + features.shape[1]],
    )
    return TrainingPictures(pictures, info["radii"].amax(dim=-1).float(), norms, abs_norms)


def _finite(rows: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rows that hold a NaN, or have no orientation, are not drawn and get no gradient, as on the CPU."""
    fine = torch.stack([torch.isfinite(array.detach()).flatten(1).all(1) for array in map(_wide, rows.values())]).all(0)
    fine &= (rows["quats"].detach() != 0).any(1)
    clean = {name: torch.where(_like(fine, array), array, 0.0) for name, array in rows.items()}
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0], device=rows["quats"].device)
    return clean | {"quats": torch.where(fine[:, None], rows["quats"], upright)}


def _wide(array: torch.Tensor) -> torch.Tensor:  # [N] or [N, ...] -> [N, ...]
    return array[:, None] if array.dim() == 1 else array


def _like(fine: torch.Tensor, array: torch.Tensor) -> torch.Tensor:  # [N] -> [N, 1, ...]
    return fine.view(-1, *[1] * (array.dim() - 1))


def _colors(
    means: torch.Tensor,  # [N, 3]
    sh: torch.Tensor,  # [N, K, 3]
    viewmats: torch.Tensor,  # [C, 4, 4]
    options: RasterOptions,
) -> torch.Tensor:  # [C, N, 3]
    """Colours as each camera sees them; gradients go on to means and cameras."""
    import gsplat

    degree = degree_of(sh.shape[1])
    degree = degree if options.sh_degree is None else min(degree, options.sh_degree)
    eyes = -torch.linalg.solve(viewmats[:, :3, :3], viewmats[:, :3, 3])
    directions = means - eyes[:, None]
    coefficients = sh.expand(len(viewmats), -1, -1, -1)
    return (0.5 + gsplat.spherical_harmonics(degree, directions, coefficients)).clamp_min(0.0)


def _fill_at_backward(means2d: torch.Tensor, norms: torch.Tensor, abs_norms: torch.Tensor) -> None:
    """Let `backward()` leave the lengths of the gradients on the picture; gsplat puts the absolute ones beside means2d.

    The hook holds no means2d: it would keep the graph alive that holds the hook.
    """
    if not means2d.requires_grad:
        return
    held: Any = weakref.ref(means2d)

    def fill(gradient: torch.Tensor) -> None:
        norms.copy_(gradient.norm(dim=-1))
        projected = held()
        if projected is not None:
            abs_norms.copy_(projected.absgrad.norm(dim=-1))

    means2d.register_hook(fill)
