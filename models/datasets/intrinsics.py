"""Focal lengths, principal point and distortion of a frame, in the words of instant-ngp, Blender and nerfstudio.

Focal lengths stand as fl_x, fl_y (pixels), camera_angle_x, camera_angle_y (radians) or x_fov, y_fov (degrees), looked
for in this order; of one axis alone the other takes the same pixels. The principal point is cx, cy, else the middle.
"""

from __future__ import annotations

import math

import numpy as np

from .entries import Entries
from .errors import DatasetError
from .posed_images import Distortion

PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE")
RADIALS = ("OPENCV", "RADIAL", "SIMPLE_RADIAL")
FISHEYES = ("OPENCV_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE")
UNSUPPORTED = ("ftheta_p0", "latlong", "equirectangular", "orthographic")
LONGEST_SIDE = 1 << 20


def stated_size(entries: Entries) -> tuple[int, int] | None:
    """Width and height for which the intrinsics hold, None when the file does not say."""
    width, height = entries.positive("w"), entries.positive("h")
    if width is None or height is None:
        return None
    for key, value in (("w", width), ("h", height)):
        if value != round(value) or value > LONGEST_SIDE:
            raise entries.refused(key, value, f"must be a whole number of pixels up to {LONGEST_SIDE:,}")
    return int(width), int(height)


def intrinsics(entries: Entries, width: int, height: int) -> np.ndarray:  # [3, 3]
    """K for a picture of the stated size.

    Raises: DatasetError when nothing says the focal length.
    """
    fx, fy = _focal(entries, "x", width), _focal(entries, "y", height)
    if fx is None and fy is None:
        rule = "there is no focal length (fl_x, camera_angle_x or x_fov)"
        raise DatasetError(entries.source, entries.place, rule, "add camera_angle_x, the horizontal view in radians")
    cx, cy = entries.number("cx"), entries.number("cy")
    K = np.eye(3)
    K[0, 0], K[1, 1] = fx or fy or 1.0, fy or fx or 1.0
    K[0, 2] = 0.5 * width if cx is None else cx
    K[1, 2] = 0.5 * height if cy is None else cy
    return K


def distortion(entries: Entries) -> Distortion | None:
    """The lens of a frame; None for a pinhole.

    Raises: DatasetError for a camera model that is not read here.
    """
    model = entries.text("camera_model") or ("OPENCV_FISHEYE" if entries.get("is_fisheye") else "OPENCV")
    odd = [key for key in UNSUPPORTED if entries.get(key)]
    if len(odd) > 0 or model not in PINHOLES + RADIALS + FISHEYES:
        name = odd[0] if len(odd) > 0 else model
        known = ", ".join(PINHOLES + RADIALS + FISHEYES)
        rule = f"camera model {ascii(name[:40])} is not read; known are {known}"
        raise DatasetError(entries.source, entries.place, rule, "undistort the photos to PINHOLE first")
    if model in PINHOLES:
        return None
    # nerfstudio may hold all six in one list.
    listed = entries.vector("distortion_params", 6)
    k1, k2, k3, k4, p1, p2 = listed or (entries.number(key) or 0.0 for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    if model in FISHEYES:
        return Distortion("fisheye", k1, k2, k3, k4)
    lens = Distortion("radial", k1, k2, k3, k4, p1, p2)
    return None if lens == Distortion("radial") else lens


def _focal(entries: Entries, axis: str, pixels: int) -> float | None:
    focal = entries.positive(f"fl_{axis}")
    if focal is not None:
        return focal
    angle = entries.angle(f"camera_angle_{axis}", math.pi)
    if angle is None:
        angle = entries.angle(f"{axis}_fov", 180.0)
    return None if angle is None else 0.5 * pixels / math.tan(0.5 * angle)
