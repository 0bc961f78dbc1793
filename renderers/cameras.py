"""Pinhole cameras: pose and field of view on one side, view matrix and intrinsics on the other.

Letters and axes are those of `h3d.renderers`. A `Camera` is what a person has (a pose, an angle, a picture
size); `viewmat` and `K` are what a rasteriser wants. The pair `camera_from_json` / `camera_to_json` is the file
that `h3d render --camera` reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and the principal point in the middle of the picture."""

    camera_to_world: np.ndarray  # [4, 4] float64, OpenCV axes, rotation orthonormal
    fov_y_radians: float
    width: int
    height: int

    @property
    def position(self) -> np.ndarray:  # [3]
        return self.camera_to_world[:3, 3]

    @property
    def forward(self) -> np.ndarray:  # [3], unit
        return self.camera_to_world[:3, 2]

    @property
    def up(self) -> np.ndarray:  # [3], unit
        return -self.camera_to_world[:3, 1]

    @property
    def viewmat(self) -> np.ndarray:
        """World to camera, [4, 4] float64."""
        rotation = self.camera_to_world[:3, :3].T
        viewmat = np.eye(4)
        viewmat[:3, :3] = rotation
        viewmat[:3, 3] = -rotation @ self.camera_to_world[:3, 3]
        return viewmat

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return 0.5 * self.height / math.tan(0.5 * self.fov_y_radians)

    @property
    def K(self) -> np.ndarray:
        """Intrinsics, [3, 3] float64, for pixel centres at + 0.5."""
        f = self.focal
        return np.array([[f, 0.0, 0.5 * self.width], [0.0, f, 0.5 * self.height], [0.0, 0.0, 1.0]])

    def resized(self, width: int, height: int) -> Camera:
        """The same pose and vertical field of view for a picture of another size."""
        return replace(self, width=int(width), height=int(height))


def look_at(
    position: np.ndarray,  # [3]
    target: np.ndarray,  # [3]
    up: np.ndarray,  # [3]
    *,
    fov_y_radians: float = math.radians(50.0),
    width: int = 640,
    height: int = 360,
) -> Camera:
    """A camera at `position` that looks at `target`, `up` pointing up in the picture as far as it can."""
    position, target, up = (np.asarray(v, np.float64) for v in (position, target, up))
    forward = target - position
    length = float(np.linalg.norm(forward))
    if length == 0.0:
        raise ValueError(f"look_at: position and target are both {position.tolist()}; they must differ")
    forward = forward / length
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9 * max(1.0, float(np.linalg.norm(up))):
        # Looking along `up`: any right vector will do; take the axis least aligned with the view.
        right = np.cross(forward, np.eye(3)[int(np.argmin(np.abs(forward)))])
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    return Camera(pose, fov_y_radians, width, height)


def orbit(
    center: np.ndarray,  # [3]
    radius: float,
    *,
    azimuth_degrees: float,
    elevation_degrees: float,
    up: np.ndarray,  # [3]
    fov_y_radians: float = math.radians(50.0),
    width: int = 640,
    height: int = 360,
) -> Camera:
    """A camera on a sphere around `center`; azimuth turns about `up`, elevation rises towards it."""
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    seed = np.eye(3)[int(np.argmin(np.abs(up)))]
    east = np.cross(up, seed)
    east = east / np.linalg.norm(east)
    north = np.cross(up, east)
    azimuth, elevation = math.radians(azimuth_degrees), math.radians(elevation_degrees)
    flat = math.cos(azimuth) * east + math.sin(azimuth) * north
    direction = math.cos(elevation) * flat + math.sin(elevation) * up
    position = np.asarray(center, np.float64) + radius * direction
    return look_at(position, center, up, fov_y_radians=fov_y_radians, width=width, height=height)


def pixel_directions(
    camera: Camera, rect: tuple[int, int, int, int], shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:  # [h * w, 3] float64, unit, in the world
    """Through the centres of pixels, row by row, or beside them by a shift in pixels.

    `rect` is x0, y0, x1, y1 in pixels of the picture; x1 and y1 are one past the last.
    """
    x, y = np.arange(rect[0], rect[2]) + (0.5 + shift[0]), np.arange(rect[1], rect[3]) + (0.5 + shift[1])
    local = np.empty((len(y), len(x), 3))
    local[..., 0] = (x - 0.5 * camera.width) / camera.focal
    local[..., 1] = ((y - 0.5 * camera.height) / camera.focal)[:, None]
    local[..., 2] = 1.0
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local.reshape(-1, 3) @ camera.camera_to_world[:3, :3].T


def quat_to_rotation(wxyz: np.ndarray) -> np.ndarray:  # [4] -> [3, 3]
    """Rotation matrix of a quaternion (normalised first)."""
    w, x, y, z = np.asarray(wxyz, np.float64) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_to_quat(rotation: np.ndarray) -> np.ndarray:  # [3, 3] -> [4]
    """Unit quaternion wxyz, w >= 0, of a rotation matrix."""
    m = np.asarray(rotation, np.float64)
    # The largest of the four squared components is found first: dividing by it is safe (Shepperd 1978).
    squares = np.array([m.trace(), *np.diag(m)])
    k = int(np.argmax(squares))
    if k == 0:
        q = np.array([1 + m.trace(), m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    else:
        i, j, n = k - 1, k % 3, (k + 1) % 3
        q = np.empty(4)
        q[0] = m[n, j] - m[j, n]
        q[1 + i] = 1 + m[i, i] - m[j, j] - m[n, n]
        q[1 + j] = m[j, i] + m[i, j]
        q[1 + n] = m[n, i] + m[i, n]
    q /= np.linalg.norm(q)
    return -q if q[0] < 0 else q


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """The camera as the JSON object that `camera_from_json` reads."""
    return {
        "camera_to_world": camera.camera_to_world.tolist(),
        "fov_y_degrees": math.degrees(camera.fov_y_radians),
        "width": camera.width,
        "height": camera.height,
    }


def camera_from_json(value: Any) -> Camera:
    """A camera from a parsed JSON object.

    Raises:
        ValueError: a key is missing or has the wrong shape or range; the sentence says which.
    """
    if not isinstance(value, dict) or "camera_to_world" not in value:
        raise ValueError('camera: expected an object with "camera_to_world" (4x4), "fov_y_degrees", "width", "height"')
    try:
        pose = np.array(value["camera_to_world"], np.float64)
        fov, width, height = float(value["fov_y_degrees"]), int(value["width"]), int(value["height"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"camera: {error!r}; see `h3d render --help` for the layout of the file") from error
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"camera: camera_to_world must be 4x4 and finite, it is {pose.shape}")
    rotation = pose[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError("camera: the 3x3 part of camera_to_world is not a rotation; remove scale and mirroring")
    if not (0.0 < fov < 180.0) or width < 1 or height < 1:
        raise ValueError(f"camera: fov_y_degrees={fov} must lie in (0, 180), width={width} and height={height} be >= 1")
    return Camera(pose, math.radians(fov), width, height)
