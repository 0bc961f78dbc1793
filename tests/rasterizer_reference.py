"""The rasteriser written from the formulas in float64, one Gaussian after the other: slow and obvious.

Every Gaussian is projected alone (Zwicker et al. 2001), then all are blended in depth order over whole pictures
(Kerbl et al. 2023): alpha is clamped at 0.999 and skipped below 1/255, a pixel stops where its transmittance would fall
to 1e-4. Also the random scenes that the tests of all backends share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from h3d.renderers import RasterOptions, SplatScene, harmonics
from h3d.renderers.cameras import quat_to_rotation


@dataclass(frozen=True)
class Projected:
    """One Gaussian on the picture plane."""

    row: int
    depth: float
    mean: np.ndarray  # [2]
    conic: np.ndarray  # [2, 2] inverse of the 2D covariance
    opacity: float
    rgb: np.ndarray  # [3]
    features: np.ndarray  # [D]


@dataclass(frozen=True)
class Reference:
    """What the formulas give, one camera."""

    rgb: np.ndarray  # [H, W, 3]
    alpha: np.ndarray  # [H, W]
    depth: np.ndarray  # [H, W]
    features: np.ndarray  # [H, W, D]
    contribution_sum: np.ndarray  # [N]
    contribution_max: np.ndarray  # [N]
    contribution_count: np.ndarray  # [N] pixels
    top_id: np.ndarray  # [H, W]
    top_margin: np.ndarray  # [H, W] by how much the largest alpha T leads the second


def render(scenes, viewmat, K, width: int, height: int, options: RasterOptions) -> Reference:
    """Blends all scenes' Gaussians from near to far over the whole picture."""
    splats = [p for p in _project_scenes(scenes, viewmat, K, width, height, options) if p is not None]
    rows = sum(len(scene.means) for scene in scenes)
    channels = max((scene.features.shape[1] for scene in scenes if scene.features is not None), default=0)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    T = np.ones((height, width))
    running = np.ones((height, width), bool)
    rgb, depth, features = np.zeros((height, width, 3)), np.zeros((height, width)), np.zeros((height, width, channels))
    total, most, pixels = np.zeros(rows), np.zeros(rows), np.zeros(rows, np.int64)
    best, second, top = np.zeros((height, width)), np.zeros((height, width)), np.full((height, width), -1)
    for splat in sorted(splats, key=lambda s: (s.depth, s.row)):
        d = np.stack([x - splat.mean[0], y - splat.mean[1]], -1)
        sigma = 0.5 * np.einsum("hwi,ij,hwj->hw", d, splat.conic, d)
        alpha = np.minimum(splat.opacity * np.exp(-sigma), 0.999)
        alpha = np.where(running & (alpha >= 1 / 255), alpha, 0.0)
        stop = running & (alpha > 0) & (T * (1 - alpha) <= 1e-4)
        running &= ~stop
        weight = np.where(stop, 0.0, alpha * T)
        rgb += weight[..., None] * splat.rgb
        depth += weight * splat.depth
        features += weight[..., None] * splat.features
        total[splat.row], most[splat.row], pixels[splat.row] = weight.sum(), weight.max(), (weight > 0).sum()
        second = np.where(weight > best, best, np.maximum(second, weight))
        top = np.where(weight > best, splat.row, top)
        best = np.maximum(best, weight)
        T = T - weight
    alpha = 1 - T
    depth = np.where(alpha > 0, depth / np.maximum(alpha, 1e-30), 0.0)
    rgb = rgb + T[..., None] * np.array(options.background)
    return Reference(rgb, alpha, depth, features, total, most, pixels, top, best - second)


def _project_scenes(scenes, viewmat, K, width, height, options):
    first = 0
    channels = max((scene.features.shape[1] for scene in scenes if scene.features is not None), default=0)
    for scene in scenes:
        for i in range(len(scene.means)):
            if scene.visible is None or bool(scene.visible[i]):
                yield _project(scene, i, first + i, channels, viewmat, K, width, height, options)
        first += len(scene.means)


def _project(scene, i, row, channels, viewmat, K, width, height, options) -> Projected | None:
    pose = np.eye(4) if scene.asset_to_world is None else np.asarray(scene.asset_to_world, np.float64)
    to_camera = np.asarray(viewmat, np.float64) @ pose
    mean = np.asarray(scene.means[i], np.float64)
    x, y, z = to_camera[:3, :3] @ mean + to_camera[:3, 3]
    if not options.near_plane < z < options.far_plane:
        return None
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # The Jacobian is taken no farther out than 0.15 pictures beyond the border.
    u = z * np.clip(x / z, -(cx / fx + 0.15 * width / fx), (width - cx) / fx + 0.15 * width / fx)
    v = z * np.clip(y / z, -(cy / fy + 0.15 * height / fy), (height - cy) / fy + 0.15 * height / fy)
    J = np.array([[fx / z, 0, -fx * u / z**2], [0, fy / z, -fy * v / z**2]])
    R = quat_to_rotation(np.asarray(scene.quats[i], np.float64))
    S = np.diag(np.asarray(scene.scales[i], np.float64) * options.splat_scale)
    M = J @ to_camera[:3, :3] @ R @ S
    sharp = M @ M.T
    blurred = sharp + options.eps2d * np.eye(2)
    opacity = float(scene.opacities[i])
    if options.antialiased:
        opacity *= np.sqrt(max(np.linalg.det(sharp) / np.linalg.det(blurred), 0.0))
    if opacity < 1 / 255:
        return None
    features = np.zeros(channels) if scene.features is None else np.asarray(scene.features[i], np.float64)
    return Projected(
        row=row,
        depth=float(z),
        mean=np.array([fx * x / z + cx, fy * y / z + cy]),
        conic=np.linalg.inv(blurred),
        opacity=opacity,
        rgb=_color(scene, i, to_camera, pose, R, options),
        features=features,
    )


def _color(scene, i, to_camera, pose, R, options) -> np.ndarray:
    eye = -np.linalg.solve(to_camera[:3, :3], to_camera[:3, 3])
    direction = np.asarray(scene.means[i], np.float64) - eye
    if options.color == "normals":
        normal = R[:, int(np.argmin(np.asarray(scene.scales[i])))]
        normal = -normal if normal @ direction > 0 else normal
        turn = pose[:3, :3] / np.cbrt(np.linalg.det(pose[:3, :3]))
        return 0.5 + 0.5 * turn @ normal
    degree = harmonics.degree_of(scene.sh.shape[1])
    degree = degree if options.sh_degree is None else min(degree, options.sh_degree)
    basis = harmonics.basis(torch.from_numpy(direction / np.linalg.norm(direction)), degree).numpy()
    return np.maximum(0.5 + basis @ np.asarray(scene.sh[i, : len(basis)], np.float64), 0.0)


def random_scene(
    seed: int, count: int = 60, *, degree: int = 3, channels: int = 0, size: float = 0.25, device: str = "cpu"
) -> SplatScene:
    """Gaussians in a box of two units around the origin, from needles to blobs, from faint to opaque."""
    rng = np.random.default_rng(seed)

    def tensor(a) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(device)

    return SplatScene(
        means=tensor(rng.uniform(-1, 1, (count, 3))),
        quats=tensor(rng.normal(size=(count, 4))),
        scales=tensor(size * np.exp(rng.normal(-1.0, 0.8, (count, 3)))),
        opacities=tensor(rng.uniform(0.02, 1.0, count)),
        sh=tensor(rng.normal(0, 0.3, (count, (degree + 1) ** 2, 3))),
        features=tensor(rng.uniform(-1, 1, (count, channels))) if channels > 0 else None,
    )


def random_pose(seed: int, scale: float | None = None) -> torch.Tensor:
    """A random rotation times a uniform scale, and a small translation."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    scale = float(np.exp(rng.uniform(-0.4, 0.4))) if scale is None else scale
    pose[:3, :3] = scale * quat_to_rotation(rng.normal(size=4))
    pose[:3, 3] = rng.uniform(-0.3, 0.3, 3)
    return torch.from_numpy(pose)
