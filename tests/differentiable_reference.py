"""The rasteriser's formulas in float64 torch, so that autograd says what every gradient must be: slow and obvious.

The same model as `rasterizer_reference`, which is numpy: EWA projection, alpha clamped at 0.999 and skipped below
1/255, a pixel finished where its transmittance would fall to 1e-4. The cuts are constants of the graph, as they are in
the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from h3d.renderers import RasterOptions, harmonics


@dataclass(frozen=True)
class Projected:
    """All Gaussians on the picture, N of them."""

    means: torch.Tensor  # [N, 2]
    conics: torch.Tensor  # [N, 2, 2]
    depths: torch.Tensor  # [N]
    opacities: torch.Tensor  # [N]
    rgb: torch.Tensor  # [N, 3]


@dataclass(frozen=True)
class Pictures:
    """One camera's."""

    rgb: torch.Tensor  # [H, W, 3]
    alpha: torch.Tensor  # [H, W]
    depth: torch.Tensor  # [H, W]
    features: torch.Tensor  # [H, W, D]
    means_per_pixel: torch.Tensor  # [N, H, W, 2] each pixel's own copy of the means on the picture


def render(rows: dict, viewmat, K, width: int, height: int, options: RasterOptions) -> Pictures:
    """Blends from near to far over the whole picture; `rows` by the names of the rasteriser's arguments, in float64."""
    seen = project(rows, viewmat, K, width, height, options)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([x, y], -1).double()
    features = rows.get("features", torch.zeros(len(rows["means"]), 0).double())
    means = seen.means[:, None, None, :].expand(-1, height, width, 2)
    if means.requires_grad:
        means.retain_grad()
    T, running = torch.ones(height, width).double(), torch.ones(height, width, dtype=torch.bool)
    sums = torch.zeros(height, width, 4 + features.shape[1]).double()
    for i in torch.argsort(seen.depths, stable=True).tolist():
        if (
            not options.near_plane < float(seen.depths[i].detach()) < options.far_plane
            or float(seen.opacities[i].detach()) < 1 / 255
        ):
            continue
        d = places - means[i]
        sigma = 0.5 * torch.einsum("hwi,ij,hwj->hw", d, seen.conics[i], d)
        alpha = torch.clamp(seen.opacities[i] * torch.exp(-sigma), max=0.999)
        drawn = running & (alpha >= 1 / 255)
        stop = drawn & (T * (1 - alpha) <= 1e-4)
        running = running & ~stop
        weight = torch.where(drawn & ~stop, alpha * T, 0.0)
        values = torch.cat([seen.rgb[i], seen.depths[i, None], features[i]])
        sums = sums + weight[..., None] * values
        T = T - weight
    alpha = 1 - T
    rgb = sums[..., :3] + T[..., None] * torch.tensor(options.background).double()
    depth = torch.where(alpha > 0, sums[..., 3] / torch.where(alpha > 0, alpha, 1.0), 0.0)
    return Pictures(rgb, alpha, depth, sums[..., 4:], means)


def project(rows: dict, viewmat, K, width: int, height: int, options: RasterOptions) -> Projected:
    camera = rows["means"] @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y, z = camera.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    u = z * torch.clamp(x / z, -(cx / fx + 0.15 * width / fx), (width - cx) / fx + 0.15 * width / fx)
    v = z * torch.clamp(y / z, -(cy / fy + 0.15 * height / fy), (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z**2, zero, fy / z, -fy * v / z**2], -1).reshape(-1, 2, 3)
    sides = rotations(rows["quats"]) * (rows["scales"] * options.splat_scale)[:, None, :]
    axes = jacobian @ viewmat[:3, :3] @ sides
    sharp = axes @ axes.mT
    blurred = sharp + options.eps2d * torch.eye(2).double()
    opacities = torch.clamp(rows["opacities"], max=1.0)
    if options.antialiased:
        opacities = opacities * torch.sqrt(torch.linalg.det(sharp) / torch.linalg.det(blurred))
    means = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    return Projected(means, torch.linalg.inv(blurred), z, opacities, colors(rows, viewmat, options))


def colors(rows: dict, viewmat, options: RasterOptions) -> torch.Tensor:  # [N, 3]
    eye = -torch.linalg.solve(viewmat[:3, :3], viewmat[:3, 3])
    directions = rows["means"] - eye
    degree = harmonics.degree_of(rows["sh"].shape[1])
    degree = degree if options.sh_degree is None else min(degree, options.sh_degree)
    basis = harmonics.basis(directions / directions.norm(dim=-1, keepdim=True), degree)
    return torch.clamp(0.5 + torch.einsum("nk,nkc->nc", basis, rows["sh"][:, : basis.shape[1]]), min=0.0)


def rotations(quats: torch.Tensor) -> torch.Tensor:  # [N, 4] -> [N, 3, 3]
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(-1, 3, 3)
