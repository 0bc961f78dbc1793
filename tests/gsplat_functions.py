"""gsplat's rasteriser from its own torch functions, which run without a GPU: projection, harmonics, plain blending.

They work on the CPU; what they are given, and what they give, may lie elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics


def rasterization(
    means: torch.Tensor,  # [N, 3]
    quats: torch.Tensor,  # [N, 4]
    scales: torch.Tensor,  # [N, 3]
    opacities: torch.Tensor,  # [N]
    colors: torch.Tensor,  # [C, N, D]
    viewmats: torch.Tensor,  # [C, 4, 4]
    Ks: torch.Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    packed: bool = True,
    absgrad: bool = False,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """As `gsplat.rasterization` is called by ours: channels and, with RGB+ED, expected depth; alpha; what it learnt."""
    assert not packed and render_mode in ("RGB", "RGB+ED")
    device, given = means.device, (means, quats, scales, opacities, colors, viewmats, Ks)
    means, quats, scales, opacities, colors, viewmats, Ks = (array.cpu() for array in given)
    covars, _ = _quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    assert covars is not None
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        means,
        covars,
        viewmats,
        Ks,
        width,
        height,
        eps2d=eps2d,
        near_plane=near_plane,
        far_plane=far_plane,
        calc_compensations=rasterize_mode == "antialiased",
    )
    means2d = means2d.to(device)
    pictures, alphas = [], []
    for camera in range(len(viewmats)):
        faded = opacities if compensations is None else opacities * compensations[camera]
        channels = torch.cat([colors[camera], depths[camera, :, None]], dim=1)
        drawn = (radii[camera] > 0).all(dim=-1)
        # A copy for every pixel, so that absolute values of what flows back can be summed.
        places = means2d[camera].cpu().expand(height, width, -1, -1)
        if absgrad and means2d.requires_grad:
            _sum_absolutes(places, means2d, camera)
        picture, alpha = blended(places, conics[camera], channels, faded, depths[camera], drawn)
        mean_depth = picture[..., -1:] / alpha[..., None].clamp_min(1e-10)
        pictures.append(torch.cat([picture[..., :-1], mean_depth], dim=-1)[..., : None if "D" in render_mode else -1])
        alphas.append(alpha[..., None])
    return (
        torch.stack(pictures).to(device),
        torch.stack(alphas).to(device),
        {"means2d": means2d, "radii": radii.to(device)},
    )


def spherical_harmonics(degree: int, directions: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """As `gsplat.spherical_harmonics`."""
    return _spherical_harmonics(degree, directions.cpu(), coefficients.cpu()).to(directions.device)


def _sum_absolutes(places: torch.Tensor, means2d: Any, camera: int) -> None:
    def keep(gradient: torch.Tensor) -> None:
        if not hasattr(means2d, "absgrad"):
            means2d.absgrad = torch.zeros_like(means2d)
        means2d.absgrad[camera] = gradient.abs().sum((0, 1)).to(means2d.device)

    places.register_hook(keep)


def blended(
    places: torch.Tensor,  # [H, W, N, 2]
    conics: torch.Tensor,  # [N, 3]
    channels: torch.Tensor,  # [N, D]
    opacities: torch.Tensor,  # [N]
    depths: torch.Tensor,  # [N]
    drawn: torch.Tensor,  # [N] bool
) -> tuple[torch.Tensor, torch.Tensor]:  # [H, W, D], [H, W]
    """Blends in depth order with gsplat's cuts: alpha below 1/255, and pixels whose transmittance reaches 1e-4."""
    height, width = places.shape[:2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    T, picture = torch.ones_like(x), torch.zeros(height, width, channels.shape[1])
    running = torch.ones_like(x, dtype=torch.bool)
    for i in torch.argsort(depths).tolist():
        if not drawn[i]:
            continue
        dx, dy = x - places[..., i, 0], y - places[..., i, 1]
        a, b, c = conics[i]
        alpha = (opacities[i] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)).clamp_max(0.999)
        alpha = torch.where(running & (alpha >= 1 / 255), alpha, 0.0)
        running = running & (T * (1 - alpha) > 1e-4)
        weight = torch.where(running, alpha * T, 0.0)
        picture, T = picture + weight[..., None] * channels[i], T - weight
    return picture, 1 - T
