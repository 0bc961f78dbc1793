"""Where a camera stands when nobody has said so: the whole scene in view, upright, from a little above.

Up is -y (OpenCV axes: captures trained from COLMAP or NeRF poses are mostly stored y down); a scene that lies on its
side is put right by its viewer. Bounds are robust: stray Gaussians far away do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from h3d.app.workspace.scene import Asset, Home, Layer
from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import Camera, look_at

DEFAULT_UP = (0.0, -1.0, 0.0)
DEFAULT_DIRECTION = (-0.5, -0.3, -0.85)
"""From the scene to the eye: a three-quarter view from the side that an untouched camera looks from, slightly above."""
FOV_Y_DEGREES = 45.0
FILL = 0.9  # of the picture's half size that the scene may fill
MAX_SAMPLES = 50_000
BOX_POINTS = 7  # along each side of a field's bounds


_known_bounds: WeakKeyDictionary[Asset, tuple[np.ndarray, float]] = WeakKeyDictionary()  # Assets never change.


def home_direction(home: Home) -> tuple[float, float, float]:
    """From the scene to the eye, for a layer that has a home but no camera of its own."""
    if home.direction is not None:
        return home.direction
    if np.allclose(home.up, DEFAULT_UP):
        return DEFAULT_DIRECTION
    x, y, z = three_quarter(np.array(home.up)).tolist()
    return x, y, z


def three_quarter(up: np.ndarray) -> np.ndarray:  # [3] -> [3]
    """`DEFAULT_DIRECTION` for another way up: from the scene to the eye, slightly above."""
    side = np.eye(3)[int(np.argmin(np.abs(up)))]
    forward = np.cross(up, np.cross(side, up))
    forward /= np.linalg.norm(forward)
    return 0.85 * forward + 0.5 * np.cross(up, forward) + 0.3 * up


def robust_bounds(asset: Asset) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the sphere that holds the scene without its strays, in the asset's own axes."""
    if not isinstance(asset, Gaussians):
        low, high = asset.bounds
        return 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
    points = _sample(asset)
    if len(points) == 0:
        return np.zeros(3), 1.0
    return _bounds(points, _typical_size(asset))


def scene_bounds(layers: Sequence[Layer]) -> tuple[np.ndarray, float] | None:
    """Centre [3] and radius of the visible layers together, in world axes; None when there is nothing to see."""
    points, size = _world_points(layers)
    return None if len(points) == 0 else _bounds(points, size)


def frame_camera(
    layers: Sequence[Layer],
    *,
    direction: Sequence[float] = DEFAULT_DIRECTION,
    up: Sequence[float] = DEFAULT_UP,
    fov_y_radians: float = math.radians(FOV_Y_DEGREES),
    width: int = 1280,
    height: int = 720,
) -> Camera:
    """A camera with the whole scene in view; `direction` points from the scene to the eye, in world axes."""
    points, size = _world_points(layers)
    if len(points) == 0:
        points, size = np.zeros((1, 3)), 0.5
    center, radius = _bounds(points, size)
    toward_eye = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    camera = look_at(
        center + toward_eye, center, np.asarray(up), fov_y_radians=fov_y_radians, width=width, height=height
    )
    axes = camera.camera_to_world[:3, :3]
    local = (points[np.linalg.norm(points - center, axis=1) <= 1.2 * radius] - center) @ axes  # right, down, forward
    half_height = FILL * math.tan(0.5 * fov_y_radians)
    eye = _fitted_eye(local, half_height * width / height, half_height) if len(local) > 0 else np.zeros(3)
    eye[2] = min(eye[2], -0.5 * radius) - size
    pose = camera.camera_to_world.copy()
    pose[:3, 3] = center + axes @ eye
    return replace(camera, camera_to_world=pose)


def _fitted_eye(local: np.ndarray, half_width: float, half_height: float) -> np.ndarray:  # [M, 3] -> [3]
    """Where the eye stands, in the camera's axes, so that nearly all points fill the frustum from edge to edge.

    A point lies between two opposite planes of the frustum where |x - eye_x| <= half_width * (z - eye_z); the extremes
    of x - half_width * z and of x + half_width * z tell where the planes have to stand, and likewise for y.
    """
    eye, depths = np.zeros(3), []
    for axis, slope in ((0, half_width), (1, half_height)):
        right = float(np.quantile(local[:, axis] - slope * local[:, 2], 0.999))
        left = float(np.quantile(local[:, axis] + slope * local[:, 2], 0.001))
        eye[axis] = 0.5 * (right + left)
        depths.append(0.5 * (left - right) / slope)
    eye[2] = min(depths)
    return eye


def _bounds(points: np.ndarray, size: float) -> tuple[np.ndarray, float]:  # [M, 3]
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    middle = np.median(points, axis=0)
    # Where a far background stretches the box, the median keeps the centre at what the capture is about.
    spread = np.maximum(np.quantile(np.abs(points - middle), 0.75, axis=0), 1e-12)
    center = np.where(high - low > 12.0 * spread, middle, 0.5 * (low + high))
    distances = np.linalg.norm(points - center, axis=1)
    radius = min(float(np.quantile(distances, 0.995)), 3.0 * float(np.median(distances)))
    return center, max(radius, 2.0 * size, 1e-6)


def _world_points(layers: Sequence[Layer]) -> tuple[np.ndarray, float]:
    """Means [M, 3] of the visible rows in world axes, and a typical standard deviation of theirs."""
    seen = [layer for layer in layers if layer.visible]
    clouds, sizes = [np.zeros((0, 3))], [0.0]
    for layer in seen:
        points = _sample(layer.asset, layer)
        if len(points) > 0:
            matrix = layer.asset_to_world
            clouds.append(points @ matrix[:3, :3].T + matrix[:3, 3])
            sizes.append(layer.scale * _typical_size(layer.asset))
    return np.concatenate(clouds), max(sizes)


def _sample(asset: Asset, layer: Layer | None = None) -> np.ndarray:
    """Means [M, 3] float64 of an even sample of the rows that can be seen; of a field, points all over its bounds."""
    if not isinstance(asset, Gaussians):
        low, high = asset.bounds
        along = np.linspace(0.0, 1.0, BOX_POINTS)
        return low + (high - low) * np.stack(np.meshgrid(along, along, along), axis=-1).reshape(-1, 3)
    step = max(1, len(asset) // MAX_SAMPLES)
    means = asset.means[::step].cpu().numpy().astype(np.float64)
    solid = asset.logit_opacities[::step].cpu().numpy() > -3.0  # opacity above 5 %
    if layer is not None and layer.hidden_rows is not None:
        shown = ~layer.hidden_rows[::step].cpu().numpy()
        means, solid = means[shown], solid[shown]
    return means[solid] if solid.any() else means


def _typical_size(asset: Asset) -> float:
    """Median over an even sample of the rows of their largest standard deviation, in the asset's units."""
    if not isinstance(asset, Gaussians) or len(asset) == 0:
        return 0.0
    step = max(1, len(asset) // MAX_SAMPLES)
    return float(asset.log_scales[::step].amax(dim=1).median().exp())
