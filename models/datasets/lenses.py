"""From pixels to rays and back, lens distortion included.

(x, y) = (X/Z, Y/Z) is where a pinhole of focal length 1 sees a point. With r^2 = x^2 + y^2:
    radial   x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + 2 p1 x y + p2 (r^2 + 2 x^2), y' likewise with p1 and p2
             changing places (OPENCV; SIMPLE_RADIAL and RADIAL are its cases)
    fisheye  theta = atan2(hypot(X, Y), Z), (x', y') = (X, Y)/hypot(X, Y) theta (1 + k1 theta^2 + ... + k4 theta^8)
A pixel is then (fx x' + cx, fy y' + cy). `camera_directions` inverts this by Newton's method.
Source: OpenCV's camera calibration pages; Kannala and Brandt 2006 for the fisheye.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from .posed_images import Distortion, PosedImage

NEWTON_STEPS = 30
_TINY = 1e-12


def rays(posed: PosedImage, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [P, 2] -> [P, 3], [P, 3]
    """Origins and unit directions, float32, of the rays through pixel positions (x, y) of the full-size photo.

    The centre of the pixel in column i and row j of the photo reduced by f is at ((i + 0.5) f, (j + 0.5) f).
    """
    directions = camera_directions(posed, pixels) @ posed.camera_to_world[:3, :3].T
    origins = np.broadcast_to(posed.position.astype(np.float32), directions.shape).copy()
    return origins, directions.astype(np.float32)


def pixel_grid(posed: PosedImage, downscale: int) -> np.ndarray:  # [H // f * (W // f), 2]
    """Centres of all pixels of the photo reduced by `downscale`, row by row, in pixels of the full-size photo."""
    columns, rows = max(1, posed.width // downscale), max(1, posed.height // downscale)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    return (grid + 0.5) * downscale


def camera_directions(posed: PosedImage, pixels: np.ndarray) -> np.ndarray:  # [P, 2] -> [P, 3] float64, unit
    """Directions in camera space in which the camera sees its pixels; the inverse of `camera_to_pixels`."""
    pixels = np.asarray(pixels, np.float64)
    focal, center = np.diag(posed.K)[:2], posed.K[:2, 2]
    bent = (pixels - center) / focal
    distortion = posed.distortion
    if distortion is not None and distortion.model == "fisheye":
        radius = np.linalg.norm(bent, axis=-1)
        theta = _fisheye_angle(distortion, radius)
        ratio = np.where(radius > _TINY, np.sin(theta) / np.maximum(radius, _TINY), 1.0)
        return np.concatenate([bent * ratio[..., None], np.cos(theta)[..., None]], axis=-1)
    straight = bent if distortion is None else _straightened(distortion, bent)
    directions = np.concatenate([straight, np.ones_like(straight[..., :1])], axis=-1)
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def camera_to_pixels(posed: PosedImage, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P, 2] float64
    """Where the camera sees points of camera space (z > 0; a fisheye also sees those beside and behind it)."""
    focal, center = np.diag(posed.K)[:2], posed.K[:2, 2]
    points = np.asarray(points, np.float64)
    distortion = posed.distortion
    if distortion is None:
        return points[..., :2] / points[..., 2:] * focal + center
    match distortion.model:
        case "radial":
            bent = bend(distortion, points[..., :2] / points[..., 2:])[0]
        case "fisheye":
            radius = np.linalg.norm(points[..., :2], axis=-1)
            theta = np.arctan2(radius, points[..., 2])
            bent = points[..., :2] * (_fisheye(distortion, theta)[0] / np.maximum(radius, _TINY))[..., None]
        case _:
            assert_never(distortion.model)
    return bent * focal + center


def world_to_pixels(posed: PosedImage, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P, 2] float64
    """Where the camera sees points of the data set's world."""
    return camera_to_pixels(posed, (np.asarray(points) - posed.position) @ posed.camera_to_world[:3, :3])


def folds(posed: PosedImage) -> bool:
    """Whether pixels along the border have no ray: the distortion is so strong there that it turns back on itself."""
    if posed.distortion is None:
        return False
    along = np.linspace(0.0, 1.0, 33)
    sides = [(along, 0 * along), (along, 1 + 0 * along), (0 * along, along), (1 + 0 * along, along)]
    border = np.concatenate([np.stack(side, axis=-1) for side in sides]) * [posed.width, posed.height]
    # A senseless lens overflows here; the comparison below is then false.
    with np.errstate(all="ignore"):
        seen = camera_to_pixels(posed, camera_directions(posed, border))
    return not bool(np.all(np.abs(seen - border) < 0.5))


def bend(lens: Distortion, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [P, 2] -> [P, 2], [P, 2, 2]
    """The radial model: where straight image points come to lie, and its Jacobian."""
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (lens.k1 + r2 * (lens.k2 + r2 * (lens.k3 + r2 * lens.k4)))
    slope = lens.k1 + r2 * (2 * lens.k2 + r2 * (3 * lens.k3 + r2 * 4 * lens.k4))
    bent = np.stack(
        [
            x * radial + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x),
            y * radial + 2 * lens.p2 * x * y + lens.p1 * (r2 + 2 * y * y),
        ],
        axis=-1,
    )
    jacobian = np.empty((*points.shape, 2))
    jacobian[..., 0, 0] = radial + 2 * x * x * slope + 2 * lens.p1 * y + 6 * lens.p2 * x
    jacobian[..., 0, 1] = 2 * x * y * slope + 2 * lens.p1 * x + 2 * lens.p2 * y
    jacobian[..., 1, 0] = jacobian[..., 0, 1]
    jacobian[..., 1, 1] = radial + 2 * y * y * slope + 2 * lens.p2 * x + 6 * lens.p1 * y
    return bent, jacobian


def _straightened(lens: Distortion, bent: np.ndarray) -> np.ndarray:  # [P, 2] -> [P, 2]
    """Newton's method from the bent point; a step stops where the model folds over (determinant not positive)."""
    points = bent.copy()
    for _ in range(NEWTON_STEPS):
        guess, jacobian = bend(lens, points)
        error = guess - bent
        if float(np.abs(error).max(initial=0.0)) < 1e-12:
            break
        a, b, c, d = jacobian[..., 0, 0], jacobian[..., 0, 1], jacobian[..., 1, 0], jacobian[..., 1, 1]
        determinant = a * d - b * c
        step = np.stack([d * error[..., 0] - b * error[..., 1], a * error[..., 1] - c * error[..., 0]], axis=-1)
        step /= np.maximum(determinant, 0.05)[..., None]
        # Long steps leave the region around the axis where the model means anything.
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        points -= step * np.minimum(1.0, 0.25 / np.maximum(length, _TINY))
    return points


def _fisheye(lens: Distortion, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [P] -> [P], [P]
    """Distance from the principal point at an angle from the axis, and its derivative."""
    t2 = theta * theta
    radius = theta * (1 + t2 * (lens.k1 + t2 * (lens.k2 + t2 * (lens.k3 + t2 * lens.k4))))
    slope = 1 + t2 * (3 * lens.k1 + t2 * (5 * lens.k2 + t2 * (7 * lens.k3 + t2 * 9 * lens.k4)))
    return radius, slope


def _fisheye_angle(lens: Distortion, radius: np.ndarray) -> np.ndarray:  # [P] -> [P]
    """The inverse of `_fisheye`, between 0 and pi."""
    theta = np.minimum(radius, np.pi)
    for _ in range(NEWTON_STEPS):
        guess, slope = _fisheye(lens, theta)
        error = guess - radius
        if float(np.abs(error).max(initial=0.0)) < 1e-12:
            break
        step = error / np.maximum(slope, 0.05)
        theta = np.clip(theta - np.clip(step, -0.5, 0.5), 0.0, np.pi)
    return theta
