"""Pictures of an object from any side: colour, depth and cover, lit by lights that stand in object space.

The light does not turn with the camera: a point of the surface has one colour from every side, which is what
multi-view reconstruction and score distillation rest on. V views of one picture size, R rays.
Source of the tracing: `h3d.renderers.sphere_tracing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h3d.renderers.cameras import Camera, orbit, pixel_directions
from h3d.renderers.sphere_tracing import SURFACE, Clearance, TracingOptions, trace_spheres

from .solid import OBJECT_RADIUS, Solid

FOV_Y_RADIANS = math.radians(49.1)
"""As Zero123's and DreamGaussian's pictures have it."""
ELEVATIONS_DEGREES = (-10.0, 60.0)
RADII = (1.85, 2.2)
"""Distances of the camera from the object's middle, in units of object space."""
UP = np.array([0.0, 0.0, 1.0])

KEY = np.array([0.45, 0.55, 0.70], np.float32) / np.float32(math.sqrt(0.45**2 + 0.55**2 + 0.70**2))
"""Unit direction to the key light: from above, in front and to one side of the object."""
AMBIENT, SKY, KEY_STRENGTH = 0.30, 0.30, 0.62
"""Shares of the light, linear; a surface that faces the key light gets about 1."""
CLEARANCE_CELLS = 32
NORMAL_STEP = 2e-3
TRACING = TracingOptions(arrived=1e-3, step_scale=1.0, max_steps=48)
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)


@dataclass(frozen=True)
class Views:
    """What V cameras see."""

    rgb: np.ndarray  # [V, H, W, 3] float32 sRGB, premultiplied by alpha
    alpha: np.ndarray  # [V, H, W] float32, share of the pixel that the object covers
    depth: np.ndarray  # [V, H, W] float32, mean distance along the camera's axis where alpha > 0, else 0

    def over(self, background: float) -> np.ndarray:  # [V, H, W, 3]
        """The pictures in front of a grey of this sRGB value."""
        return self.rgb + (1.0 - self.alpha[..., None]) * np.float32(background)


def view_camera(azimuth_degrees: float, elevation_degrees: float, radius: float, size: int) -> Camera:
    """A square camera on the orbit; azimuth 0 sees the object's front."""
    return orbit(
        np.zeros(3),
        radius,
        azimuth_degrees=azimuth_degrees,
        elevation_degrees=elevation_degrees,
        up=UP,
        fov_y_radians=FOV_Y_RADIANS,
        width=size,
        height=size,
    )


def random_poses(rng: np.random.Generator, count: int) -> np.ndarray:  # [count, 3] float32
    """Azimuth and elevation in degrees and radius of cameras such as the denoiser learns from."""
    low, high = np.array([0.0, ELEVATIONS_DEGREES[0], RADII[0]]), np.array([360.0, ELEVATIONS_DEGREES[1], RADII[1]])
    return rng.uniform(low, high, (count, 3)).astype(np.float32)


def render_views(solid: Solid, cameras: Sequence[Camera], *, supersampling: int = 2) -> Views:
    """Pictures by cameras of one size outside the object; every pixel is the mean of `supersampling`^2 rays.

    Raises:
        ValueError: the cameras' sizes differ, or one is inside the ball that holds the object.
    """
    sizes = {(camera.height, camera.width) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"render_views: cameras must be of one size, they are of {sorted(sizes)}")
    for camera in cameras:
        if np.linalg.norm(camera.position) <= OBJECT_RADIUS:
            raise ValueError(f"render_views: camera at {camera.position.tolist()} is within the object's ball")
    fine = [camera.resized(camera.width * supersampling, camera.height * supersampling) for camera in cameras]
    directions = np.concatenate([pixel_directions(c, (0, 0, c.width, c.height)) for c in fine]).astype(np.float32)
    origins = np.repeat(np.stack([c.position for c in fine]), fine[0].width * fine[0].height, axis=0)
    axes = np.repeat(np.stack([c.forward for c in fine]), fine[0].width * fine[0].height, axis=0)
    hit, t, colors = _seen(solid, origins.astype(np.float32), directions)
    depth = np.where(hit, t * np.einsum("rk,rk->r", directions, axes), 0.0)
    height, width = sizes.pop()
    pooled = _pooled(np.concatenate([colors, hit[:, None], depth[:, None]], axis=1), height, width, supersampling)
    alpha = pooled[..., 3]
    return Views(pooled[..., :3], alpha, pooled[..., 4] / np.where(alpha > 0.0, alpha, 1.0))


def lit(albedo: np.ndarray, normals: np.ndarray) -> np.ndarray:  # [R, 3] sRGB, [R, 3] unit -> [R, 3] sRGB
    """Colour of a matt surface under the lights of object space."""
    light = AMBIENT + SKY * (0.5 + 0.5 * normals[:, 2]) + KEY_STRENGTH * np.maximum(normals @ KEY, 0.0)
    linear = np.minimum(albedo**2.2 * light[:, None], 1.0)
    return linear ** np.float32(1 / 2.2)


def surface_normals(solid: Solid, points: np.ndarray) -> np.ndarray:  # [R, 3] -> [R, 3] unit
    """Outward normals by differences along the corners of a tetrahedron."""
    asked = points[:, None] + np.float32(NORMAL_STEP) * _TETRAHEDRON
    found = solid.distance(asked.reshape(-1, 3)).reshape(-1, 4) @ _TETRAHEDRON
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def _seen(solid: Solid, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each ray meets the object [R], where along it [R], and the colour there [R, 3], 0 where it does not."""
    spans = _ball_spans(origins, directions)
    traced = trace_spheres(solid.distance, origins, directions, spans, clearance=_clearance(solid), options=TRACING)
    hit = (traced.met == SURFACE) & (spans[:, 1] > spans[:, 0])
    points = origins[hit] + traced.t[hit, None] * directions[hit]
    colors = np.zeros((len(origins), 3), np.float32)
    colors[hit] = lit(solid.albedo(points), surface_normals(solid, points))
    return hit, traced.t, colors


def _ball_spans(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:  # -> [R, 2] float32, no stretch: passes
    """Where each ray enters and leaves the ball that holds the object."""
    nearest = -np.einsum("rk,rk->r", origins, directions)
    off_squared = np.einsum("rk,rk->r", origins, origins) - nearest**2
    # A little more than the ball, so that a ray never begins on the surface.
    half = np.sqrt(np.maximum((1.01 * OBJECT_RADIUS) ** 2 - off_squared, 0.0))
    return np.stack([nearest - half, nearest + half], axis=1).astype(np.float32)


def _clearance(solid: Solid) -> Clearance:
    box = np.array([[-OBJECT_RADIUS] * 3, [OBJECT_RADIUS] * 3], np.float32)
    axis = (np.arange(CLEARANCE_CELLS, dtype=np.float32) + 0.5) / CLEARANCE_CELLS * (box[1, 0] - box[0, 0]) + box[0, 0]
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return Clearance.of(solid.distance(centres).reshape((CLEARANCE_CELLS,) * 3), box, trust=1.0)


def _pooled(values: np.ndarray, height: int, width: int, times: int) -> np.ndarray:  # [V * rays, C] -> [V, H, W, C]
    return values.reshape(-1, height, times, width, times, values.shape[1]).mean(axis=(2, 4), dtype=np.float32)
