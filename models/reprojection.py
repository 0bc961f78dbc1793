"""How well pictures of one thing agree: a picture seen again from the next camera, through the true depth.

V cameras on a ring, pictures of s x s pixels. A point of the true surface that both cameras see should have one colour;
the mean absolute difference of the two is the reprojection error. Source: the photometric error of multi-view stereo.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from h3d.renderers.cameras import Camera

OCCLUDED = 0.03
"""How much nearer than the point the other camera's true depth may be, as a share of it, before the point is hidden."""


def reprojection_error(
    rgb: torch.Tensor,  # [V, s, s, 3] in [0, 1]
    depth: torch.Tensor,  # [V, s, s] true, along the axis, 0 where there is nothing
    cameras: Sequence[Camera],
) -> float:
    """Mean over each camera and the next one, around the ring; nan where no point is seen by two."""
    total, count = 0.0, 0
    for here in range(len(cameras)):
        there = (here + 1) % len(cameras)
        points, rows = _surface(depth[here], cameras[here])
        pixels, away = _projected(points, cameras[there])
        known = _sampled(depth[there][None], pixels, cameras[there])[:, 0]
        seen = (known > 0.0) & ((known - away).abs() < OCCLUDED * away)
        mine = rgb[here].reshape(-1, 3)[rows[seen]]
        other = _sampled(rgb[there].permute(2, 0, 1), pixels[seen], cameras[there])
        total += float((mine - other).abs().mean(dim=1).sum())
        count += int(seen.sum())
    return total / count if count > 0 else float("nan")


def _surface(depth: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:  # -> [P, 3], [P] int64
    """Points of the surface in the world, and the pixels that see them."""
    rows = depth.reshape(-1).nonzero()[:, 0]
    y, x = rows // camera.width, rows % camera.width
    z = depth.reshape(-1)[rows].double()
    local = torch.stack([(x + 0.5 - camera.width / 2) * z, (y + 0.5 - camera.height / 2) * z, z * camera.focal], dim=1)
    pose = torch.from_numpy(camera.camera_to_world)
    return (local / camera.focal) @ pose[:3, :3].T + pose[:3, 3], rows


def _projected(points: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:  # [P, 3] -> [P, 2], [P]
    """Where points lie on a picture, in pixels, and their depth."""
    view = torch.from_numpy(camera.viewmat)
    local = points @ view[:3, :3].T + view[:3, 3]
    middle = torch.tensor([camera.width / 2, camera.height / 2], dtype=torch.float64)
    return camera.focal * local[:, :2] / local[:, 2:] + middle, local[:, 2]


def _sampled(
    picture: torch.Tensor, pixels: torch.Tensor, camera: Camera
) -> torch.Tensor:  # [C, s, s], [P, 2] -> [P, C]
    """Nearest values, 0 outside: depths of an edge must not be mixed with what is behind."""
    size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    grid = (2.0 * pixels / size - 1.0).float()[None, None]
    found = functional.grid_sample(picture[None].float(), grid, mode="nearest", align_corners=False)
    return found[0, :, 0].T
