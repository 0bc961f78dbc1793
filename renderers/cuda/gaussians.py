"""Rasterising 3D Gaussians on a GPU with gsplat: the same names, signature and meaning as `renderers/cpu/gaussians.py`.

Scenes are merged into one set of rows in world axes. Colours are evaluated here, in each scene's own frame, and handed
to gsplat as plain channels beside the features, so that rotated scenes need no rotated harmonics. A rectangle is a
picture of that size with the principal point moved; then the border at which gsplat clamps the Jacobian moves too,
which shows only in large Gaussians outside the picture. Sources: gsplat 1.5.3, `rasterization`.

Not offered: points, ellipsoids and rings, and the row of the top contributor; the errors say so. `contribution_max`
stays None: gsplat has no maximum to ask for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from h3d.renderers.cameras import rotation_to_quat
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.gaussians import RasterOptions, Rendered, SplatScene
from h3d.renderers.harmonics import basis, degree_of


@dataclass(frozen=True)
class Rows:
    """All scenes' rows together, in world axes; rows that are hidden or hold a NaN have opacity 0."""

    means: torch.Tensor  # [N, 3]
    quats: torch.Tensor  # [N, 4]
    scales: torch.Tensor  # [N, 3]
    opacities: torch.Tensor  # [N]


def rasterize_scenes(
    scenes: Sequence[SplatScene],
    viewmats: torch.Tensor,  # [C, 4, 4]
    Ks: torch.Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions,
    cancel: CancelFlag | None = None,
) -> Rendered:
    """Pictures of several scenes together; `options.rect` is set. Raises `Cancelled`."""
    _refuse(options)
    start = time.perf_counter()
    scenes = [scene.mapped(lambda array: array.detach().cuda()) for scene in scenes]
    rows = _merged(scenes, options)
    pictures: list[Rendered] = []
    for viewmat, K in zip(viewmats.double().cpu(), Ks.double().cpu(), strict=True):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        pictures.append(_picture(scenes, rows, viewmat, K, options))
    torch.cuda.synchronize()
    return _stacked(pictures, {"raster_ms": 1e3 * (time.perf_counter() - start)})


def _refuse(options: RasterOptions) -> None:
    if options.shape != "splats":
        raise ValueError(f'shape: "{options.shape}" is drawn by the cpu backend only; use backend="cpu"')
    if options.top_id:
        raise ValueError('top_id: is computed by the cpu backend only; use backend="cpu"')


def _picture(
    scenes: Sequence[SplatScene],
    rows: Rows,
    viewmat: torch.Tensor,  # [4, 4] float64
    K: torch.Tensor,  # [3, 3] float64
    options: RasterOptions,
) -> Rendered:
    """One camera's pictures, with a leading axis of 1."""
    import gsplat

    assert options.rect is not None
    x0, y0, x1, y1 = options.rect
    moved = K.clone()
    moved[0, 2] -= x0
    moved[1, 2] -= y0
    colors = torch.cat([_colors(scene, viewmat, options) for scene in scenes]) if len(scenes) > 0 else rows.means
    features = _features(scenes)
    channels = [torch.nan_to_num(colors, posinf=0.0, neginf=0.0)]
    if features is not None:
        channels.append(torch.nan_to_num(features, posinf=0.0, neginf=0.0))
    if options.contributions:
        # The gradient of the sum of a channel of ones is each row's sum of alpha T.
        channels.append(torch.ones_like(rows.opacities[:, None]).requires_grad_())
    with torch.set_grad_enabled(options.contributions):
        render, alpha, _ = gsplat.rasterization(
            rows.means,
            rows.quats,
            rows.scales,
            rows.opacities,
            torch.cat(channels, dim=1),
            viewmat.float().cuda()[None],
            moved.float().cuda()[None],
            x1 - x0,
            y1 - y0,
            near_plane=options.near_plane,
            far_plane=options.far_plane,
            eps2d=options.eps2d,
            packed=False,
            render_mode="RGB+ED" if options.depth else "RGB",
            rasterize_mode="antialiased" if options.antialiased else "classic",
        )
    contribution_sum = None
    if options.contributions:
        place = sum(channel.shape[1] for channel in channels) - 1
        (gradient,) = torch.autograd.grad(render[..., place].sum(), channels[-1])
        contribution_sum = gradient[:, 0]
    return _split(render.detach(), alpha.detach(), features, contribution_sum, options)


def _split(
    render: torch.Tensor,  # [1, h, w, 3 + D + ...]
    alpha: torch.Tensor,  # [1, h, w, 1]
    features: torch.Tensor | None,
    contribution_sum: torch.Tensor | None,
    options: RasterOptions,
) -> Rendered:
    """gsplat's channels as the door's pictures, on the CPU."""
    rgb = render[..., :3] + (1.0 - alpha) * torch.tensor(options.background, device=render.device)
    if options.rgb_dtype == "uint8":
        rgb = (rgb.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    depth = torch.where(alpha[..., 0] > 0, render[..., -1], 0.0) if options.depth else None
    return Rendered(
        rgb=rgb.cpu(),
        alpha=alpha[..., 0].cpu(),
        depth=None if depth is None else depth.cpu(),
        features=None if features is None else render[..., 3 : 3 + features.shape[1]].cpu(),
        contribution_sum=None if contribution_sum is None else contribution_sum.cpu(),
    )


def _stacked(pictures: Sequence[Rendered], stats: dict[str, float]) -> Rendered:
    def cat(name: str) -> torch.Tensor | None:
        values = [getattr(picture, name) for picture in pictures]
        return None if len(values) == 0 or values[0] is None else torch.cat(values)

    sums = [p.contribution_sum for p in pictures if p.contribution_sum is not None]
    rgb, alpha = cat("rgb"), cat("alpha")
    assert rgb is not None and alpha is not None
    return Rendered(
        rgb=rgb,
        alpha=alpha,
        depth=cat("depth"),
        features=cat("features"),
        contribution_sum=torch.stack(sums).sum(0) if len(sums) > 0 else None,
        stats=stats,
    )


def _pose(scene: SplatScene) -> torch.Tensor:  # [4, 4] float64
    return torch.eye(4, dtype=torch.float64) if scene.asset_to_world is None else scene.asset_to_world.double().cpu()


def _scale_of(pose: torch.Tensor) -> float:
    return float(torch.linalg.det(pose[:3, :3])) ** (1.0 / 3.0)


def _merged(scenes: Sequence[SplatScene], options: RasterOptions) -> Rows:
    """Every scene's rows in world axes, one after the other."""
    parts: list[tuple[torch.Tensor, ...]] = []
    for scene in scenes:
        pose = _pose(scene)
        scale = _scale_of(pose)
        wxyz = rotation_to_quat((pose[:3, :3] / scale).numpy())
        affine = pose.float().cuda()
        means = scene.means @ affine[:3, :3].T + affine[:3, 3]
        quats = _turned(wxyz.tolist(), scene.quats)
        scales = scene.scales * (scale * options.splat_scale)
        arrays = [means, quats, scales, scene.opacities[:, None], scene.sh.flatten(1)]
        arrays += [] if scene.features is None else [scene.features]
        fine = torch.stack([torch.isfinite(a).all(1) for a in arrays]).all(0)
        fine &= (quats != 0).any(1)
        if scene.visible is not None:
            fine &= scene.visible
        still = torch.zeros_like(quats)
        still[:, 0] = 1.0
        parts.append(
            (
                torch.where(fine[:, None], means, 0.0),
                torch.where(fine[:, None], quats, still),
                torch.where(fine[:, None], scales, 0.0),
                torch.where(fine, scene.opacities, 0.0),
            )
        )
    if len(parts) == 0:
        parts = [tuple(torch.zeros(0, *size, device="cuda") for size in ((3,), (4,), (3,), ()))]
    return Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _turned(wxyz: Sequence[float], quats: torch.Tensor) -> torch.Tensor:  # [4], [N, 4] -> [N, 4]
    """The rotation `quats` followed by `wxyz` (Hamilton product)."""
    w, x, y, z = wxyz
    left = [[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]]
    return quats @ torch.tensor(left, dtype=quats.dtype, device=quats.device).T


def _colors(scene: SplatScene, viewmat: torch.Tensor, options: RasterOptions) -> torch.Tensor:  # [N, 3]
    """Colours as seen from the camera, evaluated in the scene's own frame."""
    pose = _pose(scene)
    to_camera = viewmat @ pose
    eye = -torch.linalg.solve(to_camera[:3, :3], to_camera[:3, 3])
    direction = torch.nn.functional.normalize(scene.means - eye.to(scene.means), dim=1)
    if options.color == "normals":
        return _normals(scene, direction, (pose[:3, :3] / _scale_of(pose)).to(scene.means))
    degree = degree_of(scene.sh.shape[1])
    degree = degree if options.sh_degree is None else min(degree, options.sh_degree)
    bases = basis(direction, degree)
    return (0.5 + torch.einsum("nk,nkc->nc", bases, scene.sh[:, : bases.shape[1]])).clamp_min(0.0)


def _normals(scene: SplatScene, direction: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:  # [N, 3]
    """0.5 + 0.5 n of the shortest axis, in world axes, turned to the eye."""
    axis = torch.nn.functional.one_hot(scene.scales.argmin(1), 3).to(scene.means)
    w, xyz = scene.quats[:, :1], scene.quats[:, 1:]
    unit = scene.quats.norm(dim=1, keepdim=True).clamp_min(1e-30)
    w, xyz = w / unit, xyz / unit
    cross = torch.cross(xyz, axis, dim=1)
    normal = axis + 2.0 * (w * cross + torch.cross(xyz, cross, dim=1))
    facing = (normal * direction).sum(1, keepdim=True)
    return 0.5 + 0.5 * torch.where(facing > 0, -normal, normal) @ turn.T


def _features(scenes: Sequence[SplatScene]) -> torch.Tensor | None:  # [N, D]
    """All scenes' features; zeros where a scene has none."""
    widths = [scene.features.shape[1] for scene in scenes if scene.features is not None]
    if len(widths) == 0:
        return None
    zeros = [scene.means.new_zeros(scene.means.shape[0], widths[0]) for scene in scenes]
    return torch.cat([z if s.features is None else s.features for s, z in zip(scenes, zeros, strict=True)])
