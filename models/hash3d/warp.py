"""A feature of one view moved to where another view sees the same surface.

A camera looks along its z axis with square pixels; h x w is the feature's size. For each pixel of the view that asks,
its depth gives the point, and the point's place in the stored view gives what was computed of it there. Where nothing
is seen, or the stored view does not see that point (outside its picture, or behind something), the feature stays as it
lay. Not in the paper, which reuses features in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

HIDDEN = 0.05
"""How far behind the stored view's surface a point may lie, as a share of its depth, and still be that surface."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A camera, and how far it sees at every place of the feature."""

    camera_to_world: Tensor  # [4, 4] OpenCV axes, float64
    fov_y_radians: float
    depth: Tensor  # [h, w] along the axis, 0 where there is nothing

    @property
    def nbytes(self) -> int:
        return self.depth.nbytes


def warped(value: Tensor, stored: Sight, asking: Sight) -> Tensor:  # [R, C, h, w] -> [R, C, h, w]
    """The feature of the stored view as the asking view sees its surface."""
    places, away = _projected(_points(asking), stored, value.shape[-2:])
    grid = places[None]
    known = functional.grid_sample(
        stored.depth[None, None].to(places), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )[0, 0]
    seen = (asking.depth > 0) & (away > 0) & (known > 0) & ((known - away).abs() < HIDDEN * away)
    moved = functional.grid_sample(
        value.float(), grid.float().expand(len(value), -1, -1, -1), padding_mode="border", align_corners=False
    )
    return torch.where(seen, moved.to(value.dtype), value)


def _points(sight: Sight) -> Tensor:  # -> [h, w, 3] in the world
    height, width = sight.depth.shape
    z, focal = sight.depth.double(), 0.5 * height / math.tan(0.5 * sight.fov_y_radians)
    y, x = torch.meshgrid(torch.arange(height).to(z) + 0.5, torch.arange(width).to(z) + 0.5, indexing="ij")
    local = torch.stack([(x - 0.5 * width) * z / focal, (y - 0.5 * height) * z / focal, z], dim=-1)
    pose = sight.camera_to_world.to(z)
    return local @ pose[:3, :3].T + pose[:3, 3]


def _projected(points: Tensor, sight: Sight, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Where points [h, w, 3] lie on a picture, -1 to 1 across it [h, w, 2], and their depth [h, w]."""
    pose = sight.camera_to_world.to(points)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    tangent = math.tan(0.5 * sight.fov_y_radians)
    z = local[..., 2:].clamp(min=1e-9)
    height, width = size
    return local[..., :2] / z / torch.tensor([tangent * width / height, tangent]).to(points), local[..., 2]
