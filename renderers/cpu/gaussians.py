"""Rasterising 3D Gaussians on the CPU: allocates the pictures and hands the arrays to the C++ kernels.

Same names and signatures as `renderers/cuda/gaussians.py`. The door, `renderers/gaussians.py`, has checked the
arguments; the mathematics is in raster.h and the files of its stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from h3d.renderers.backends import kernels
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.gaussians import RasterOptions, Rendered, SplatScene

NEVER = CancelFlag()


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
    compiled = kernels()
    cancel = cancel if cancel is not None else NEVER
    # No copy where the kernels can read the arrays as they lie.
    scenes = [scene.mapped(lambda array: array.detach().cpu().contiguous()) for scene in scenes]
    views, intrinsics = viewmats.double().cpu().numpy(), Ks.double().cpu().numpy()
    pictures = Pictures.empty(scenes, len(views), options)
    settings = kernel_settings(compiled, scenes, width, height, options)
    stats: dict[str, float] = {}
    for camera, (viewmat, K) in enumerate(zip(views, intrinsics, strict=True)):
        settings.intrinsics = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
        views_of_scenes = [posed(compiled, scene, viewmat) for scene in scenes]
        done = compiled.rasterize(views_of_scenes, settings, pictures.targets(compiled, camera), cancel.address)
        if done is None:
            raise Cancelled
        stats = {key: stats.get(key, 0.0) + value for key, value in done.items()}
    return pictures.rendered(stats)


@dataclass(frozen=True)
class Pictures:
    """The arrays that the kernels write; None = not wanted."""

    rgb: torch.Tensor  # [C, h, w, 3]
    alpha: torch.Tensor  # [C, h, w]
    depth: torch.Tensor | None  # [C, h, w]
    features: torch.Tensor | None  # [C, h, w, D]
    contribution_sum: torch.Tensor | None  # [N]
    contribution_max: torch.Tensor | None  # [N]
    contribution_count: torch.Tensor | None  # [N] int64
    top_id: torch.Tensor | None  # [C, h, w]

    @staticmethod
    def empty(scenes: Sequence[SplatScene], cameras: int, options: RasterOptions) -> Pictures:
        assert options.rect is not None
        x0, y0, x1, y1 = options.rect
        size = (cameras, y1 - y0, x1 - x0)
        channels = _channels(scenes)
        rows = sum(scene.means.shape[0] for scene in scenes)
        return Pictures(
            rgb=torch.empty(*size, 3, dtype=torch.uint8 if options.rgb_dtype == "uint8" else torch.float32),
            alpha=torch.empty(size),
            depth=torch.empty(size) if options.depth else None,
            features=torch.empty(*size, channels) if channels > 0 else None,
            contribution_sum=torch.zeros(rows) if options.contributions else None,
            contribution_max=torch.zeros(rows) if options.contributions else None,
            contribution_count=torch.zeros(rows, dtype=torch.int64) if options.contributions else None,
            top_id=torch.empty(size, dtype=torch.int32) if options.top_id else None,
        )

    def targets(self, compiled: Any, camera: int) -> Any:
        """The kernels' view of one camera's pictures."""
        targets = compiled.Targets()
        setattr(targets, "rgb_bytes" if self.rgb.dtype == torch.uint8 else "rgb", self.rgb[camera].numpy())
        for name in ("alpha", "depth", "features", "top_id"):
            pictures = getattr(self, name)
            if pictures is not None:
                setattr(targets, name, pictures[camera].numpy())
        for name in ("contribution_sum", "contribution_max", "contribution_count"):
            totals = getattr(self, name)
            if totals is not None:  # All three or none: over the cameras the kernels add to what is there.
                setattr(targets, name, totals.numpy())
        return targets

    def rendered(self, stats: dict[str, float]) -> Rendered:
        return Rendered(
            rgb=self.rgb,
            alpha=self.alpha,
            depth=self.depth,
            features=self.features,
            contribution_sum=self.contribution_sum,
            contribution_max=self.contribution_max,
            contribution_count=self.contribution_count,
            top_id=self.top_id,
            stats=stats,
        )


def _channels(scenes: Sequence[SplatScene]) -> int:
    return max((scene.features.shape[1] for scene in scenes if scene.features is not None), default=0)


def kernel_settings(
    compiled: Any, scenes: Sequence[SplatScene], width: int, height: int, options: RasterOptions
) -> Any:
    """The kernels' view of the options; the intrinsics are still to be set."""
    settings = compiled.Settings()
    settings.width, settings.height, settings.rect = width, height, options.rect
    settings.background = options.background
    settings.shape = getattr(compiled.Shape, options.shape)
    settings.normals = options.color == "normals"
    settings.sh_degree = 3 if options.sh_degree is None else options.sh_degree
    settings.channels = _channels(scenes)
    settings.antialiased = options.antialiased
    for name in ("near_plane", "far_plane", "eps2d", "splat_scale", "point_size"):
        setattr(settings, name, getattr(options, name))
    return settings


def posed(compiled: Any, scene: SplatScene, viewmat: np.ndarray) -> Any:
    """The kernels' view of a scene: its arrays, and the one map from its own frame to the camera."""
    pose = np.eye(4) if scene.asset_to_world is None else scene.asset_to_world.cpu().numpy()
    to_camera = viewmat @ pose
    eye = -np.linalg.solve(to_camera[:3, :3], to_camera[:3, 3])
    turn = pose[:3, :3] / np.cbrt(np.linalg.det(pose[:3, :3]))
    return compiled.Scene(
        scene.means.numpy(),
        scene.quats.numpy(),
        scene.scales.numpy(),
        scene.opacities.numpy(),
        scene.sh.numpy(),
        features=None if scene.features is None else scene.features.numpy(),
        visible=None if scene.visible is None else scene.visible.view(torch.uint8).numpy(),
        to_camera=to_camera[:3].ravel().tolist(),
        eye=eye.tolist(),
        turn=turn.ravel().tolist(),
    )
