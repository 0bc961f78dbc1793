"""How well a distilled asset shows a procedural object: against what it truly looks like from V sides.

PSNR and SSIM over white, and the overlap of outlines (intersection over union of cover above one half).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from h3d.models import losses
from h3d.models.gaussians import Gaussians
from h3d.models.hash_grid import HashGridField
from h3d.models.procedural import make_object, render_views, view_camera
from h3d.renderers.cameras import Camera, pixel_directions
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.gaussians import RasterOptions, rasterize_gaussians

VIEWS, SIZE = 16, 128
ELEVATIONS_DEGREES = (0.0, 15.0, 30.0, 45.0)
WHITE = 1.0

Distilled = Gaussians | HashGridField


@dataclass(frozen=True, eq=False)
class TrueViews:
    """What V cameras see of an object."""

    poses: tuple[tuple[float, float, float], ...]
    rgb: torch.Tensor  # [V, s, s, 3] over white
    alpha: torch.Tensor  # [V, s, s]
    depth: torch.Tensor  # [V, s, s], 0 where there is nothing

    @property
    def cameras(self) -> list[Camera]:
        return [view_camera(*pose, self.rgb.shape[1]) for pose in self.poses]


@lru_cache(maxsize=8)
def true_views(seed: int, radius: float) -> TrueViews:
    """The object of a seed from all around, at elevations in turn."""
    poses = tuple((360.0 * k / VIEWS, ELEVATIONS_DEGREES[k % len(ELEVATIONS_DEGREES)], radius) for k in range(VIEWS))
    seen = render_views(make_object(seed).solid, [view_camera(*pose, SIZE) for pose in poses])
    rgb = torch.from_numpy(seen.over(WHITE)).float()
    return TrueViews(poses, rgb, torch.from_numpy(seen.alpha).float(), torch.from_numpy(seen.depth).float())


def seen_by(
    asset: Distilled, cameras: Sequence[Camera], background: float = WHITE, *, cancel: CancelFlag | None = None
) -> tuple[torch.Tensor, torch.Tensor]:  # [V, s, s, 3], [V, s, s]
    """Pictures of an asset over a grey, and its cover."""
    if isinstance(asset, Gaussians):
        rows = (asset.means, asset.quats, asset.scales, asset.opacities, asset.sh)
        viewmats = torch.stack([torch.from_numpy(camera.viewmat) for camera in cameras]).float()
        Ks = torch.stack([torch.from_numpy(camera.K) for camera in cameras]).float()
        options = RasterOptions(background=(background, background, background), depth=False, backend="cpu")
        size = (cameras[0].width, cameras[0].height)
        seen = rasterize_gaussians(*rows, viewmats, Ks, *size, options=options, cancel=cancel)
        return seen.rgb.clamp(0.0, 1.0), seen.alpha
    found = []
    for camera in cameras:
        directions = pixel_directions(camera, (0, 0, camera.width, camera.height))
        origins = np.broadcast_to(camera.position, directions.shape)
        rays = (torch.from_numpy(np.ascontiguousarray(array)).float() for array in (origins, directions))
        found.append(asset.render(*rays, background=(background, background, background), cancel=cancel))
    shape = (len(cameras), cameras[0].height, cameras[0].width)
    rgb = torch.stack([one.rgb for one in found]).view(*shape, 3)
    return rgb.clamp(0.0, 1.0), torch.stack([one.alpha for one in found]).view(*shape)


def agreement(truth: TrueViews, rgb: torch.Tensor, alpha: torch.Tensor) -> dict[str, float]:
    """Means over the views: `psnr` in dB, `ssim`, `iou`."""
    psnr = [float(losses.psnr(found, wanted)) for found, wanted in zip(rgb, truth.rgb, strict=True)]
    mine, other = alpha > 0.5, truth.alpha > 0.5
    both, either = (mine & other).sum(dim=(1, 2)), (mine | other).sum(dim=(1, 2)).clamp(min=1)
    return {
        "psnr": float(np.mean(psnr)),
        "ssim": float(losses.ssim(rgb, truth.rgb)),
        "iou": float((both / either).mean()),
    }


def copying(truth: TrueViews, rgb: torch.Tensor, alpha: torch.Tensor) -> dict[str, float]:
    """The agreement of showing one picture [s, s, 3] over white, with its cover [s, s], from every side."""
    views = len(truth.poses)
    return agreement(truth, rgb[None].expand(views, -1, -1, -1), alpha[None].expand(views, -1, -1))
