"""What colour the surface of 3D Gaussians has: what cameras all around see of it.

A point has no colour of its own among Gaussians that blend, pictures have. A camera sees a point that looks towards it
and is not behind the depth of its picture; the more it faces the camera, the more that counts. What nobody sees gets
the colour of the nearest point that somebody does. V views, P points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from h3d.renderers.cameras import Camera, look_at
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.gaussians import RasterOptions, Rendered, rasterize_gaussians

from .gaussians import Gaussians

VIEWS, SIZE = 32, 256
FOV_Y_RADIANS = math.radians(30.0)
BEHIND = 0.04
"""How far behind the depth of a picture a point may lie and still be seen, as a share of the surface's radius:
Gaussians are a fog, whose depth is not that of a wall."""
COVERED = 0.5
"""The least cover of a pixel that shows the surface."""
FACING = 0.2
"""The least cosine of the angle between the normal and the way to the camera."""
SHARPNESS = 4
"""The power of that cosine that a view counts with: cameras that look askance blur what they see."""
UNSEEN = 0.5
"""The grey of a surface that no camera sees anything of."""


@dataclass(frozen=True, eq=False)
class _Surface:
    """Points, and the ball that holds them."""

    points: np.ndarray  # [P, 3] float64
    normals: np.ndarray  # [P, 3] unit
    middle: np.ndarray  # [3]
    radius: float


def seen_colors(
    gaussians: Gaussians,
    points: np.ndarray,  # [P, 3] on the surface
    normals: np.ndarray,  # [P, 3] unit, outwards
    *,
    progress: Callable[[float], None],
    cancel: CancelFlag | None = None,
) -> np.ndarray:  # [P, 3] float32, sRGB in [0, 1]
    """Raises: Cancelled."""
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    radius = max(float(np.linalg.norm(points - middle, axis=1).max()), 1e-12)
    surface, gaussians = _Surface(points, normals, middle, radius), gaussians.to("cpu")
    sums, weights = np.zeros((len(points), 3)), np.zeros(len(points))
    for done, camera in enumerate(_all_around(surface)):
        progress(done / VIEWS)
        rows, weight, rgb = _seen(surface, camera, _picture(gaussians, surface, camera, cancel))
        sums[rows] += weight[:, None] * rgb
        weights[rows] += weight
    seen = weights > 0.0
    if not seen.any():
        return np.full((len(points), 3), UNSEEN, np.float32)
    colors = sums / np.where(seen, weights, 1.0)[:, None]
    if not seen.all():
        colors[~seen] = colors[seen][KDTree(points[seen]).query(points[~seen])[1]]
    return np.clip(colors, 0.0, 1.0).astype(np.float32)


def _all_around(surface: _Surface) -> list[Camera]:
    """Cameras evenly on a sphere, by the golden angle, that see all of the surface."""
    height = 1.0 - (2.0 * np.arange(VIEWS) + 1.0) / VIEWS
    angle = np.arange(VIEWS) * math.pi * (3.0 - math.sqrt(5.0))
    across = np.sqrt(1.0 - height**2)
    towards = np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
    away = 1.05 * surface.radius / math.sin(0.5 * FOV_Y_RADIANS)
    return [
        look_at(
            surface.middle + away * direction,
            surface.middle,
            np.array([0.0, 0.0, 1.0]),
            fov_y_radians=FOV_Y_RADIANS,
            width=SIZE,
            height=SIZE,
        )
        for direction in towards
    ]


def _picture(gaussians: Gaussians, surface: _Surface, camera: Camera, cancel: CancelFlag | None) -> Rendered:
    """Over black. What is in front of the ball, of the rest of a scene, is left out."""
    away = float(np.linalg.norm(camera.position - surface.middle))
    options = RasterOptions(near_plane=away - 1.05 * surface.radius, antialiased=gaussians.antialiased, backend="cpu")
    return rasterize_gaussians(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        torch.from_numpy(camera.viewmat)[None],
        torch.from_numpy(camera.K)[None],
        camera.width,
        camera.height,
        options=options,
        cancel=cancel,
    )


def _seen(surface: _Surface, camera: Camera, picture: Rendered) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points that a camera sees, how much each counts, and its colour there."""
    assert picture.depth is not None
    towards = camera.position - surface.points
    cosine = np.einsum("pk,pk->p", towards, surface.normals) / np.linalg.norm(towards, axis=1)
    placed = surface.points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    z = placed[:, 2]
    # Pixel k of a row has its centre at k + 0.5.
    where = camera.focal * placed[:, 1::-1].T / z + 0.5 * SIZE - 0.5
    alpha = picture.alpha[0].numpy()
    cover = map_coordinates(alpha, where, order=1, mode="nearest")
    # The mean depth of covered pixels; 0 of the clear ones beside them would hide what is at an outline.
    depth = map_coordinates(picture.depth[0].numpy() * alpha, where, order=1, mode="nearest")
    behind = z - depth / np.maximum(cover, 1e-6)
    rows = np.flatnonzero((cosine > FACING) & (cover > COVERED) & (behind < BEHIND * surface.radius))
    rgb = [
        map_coordinates(picture.rgb[0, :, :, k].numpy(), where[:, rows], order=1, mode="nearest") / cover[rows]
        for k in range(3)
    ]
    return rows, cosine[rows] ** SHARPNESS, np.stack(rgb, axis=1)
