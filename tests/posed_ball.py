"""A data set made in the test: a coloured ball before nothing, photographed from all around, and its exact pictures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from h3d.models.datasets import PosedImages
from h3d.renderers.cameras import Camera, orbit

RADIUS = 1.0
DISTANCE = 3.5
FOV_DEGREES = 50.0
SUPERSAMPLING = 4
BANDS = 4.0


def write_posed_ball(folder: Path, *, cameras: int = 24, test_cameras: int = 3, size: int = 48) -> Path:
    """A data set in Blender's layout with RGBA photos; returns its folder."""
    total = cameras + test_cameras
    for label, count, first in (("train", cameras, 0), ("test", test_cameras, cameras)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        frames = []
        for index in range(count):
            camera = _camera(first + index, total, size)
            picture = Image.fromarray(photograph(camera))
            picture.save(folder / label / f"{index:03}.png")
            opengl = camera.camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": f"./{label}/{index:03}", "transform_matrix": opengl.tolist()})
        value = {"camera_angle_x": math.radians(FOV_DEGREES), "frames": frames}
        (folder / f"transforms_{label}.json").write_text(json.dumps(value))
    return folder


def misplaced_cameras(ball: PosedImages, turn_degrees: float = 1.0, move: float = 0.03) -> PosedImages:
    """The same photos with wrong poses to train on; the standard deviations are those of each axis.

    The errors have mean zero: what all cameras have in common could not be found by any means.
    """
    rng, count = np.random.default_rng(0), len(ball.train)
    turns, moves = np.radians(turn_degrees) * rng.normal(size=(count, 3)), move * rng.normal(size=(count, 3))
    images = list(ball.images)
    for index, turn, shift in zip(ball.train, turns - turns.mean(axis=0), moves - moves.mean(axis=0), strict=True):
        pose = images[index].camera_to_world.copy()
        pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ pose[:3, :3]
        pose[:3, 3] += shift
        images[index] = replace(images[index], camera_to_world=pose)
    return replace(ball, images=tuple(images))


def photograph(camera: Camera) -> np.ndarray:  # [H, W, 4] uint8, straight alpha
    """The ball as it is: bands of colour along each axis, which the direction of the view alone does not explain."""
    large = camera.resized(SUPERSAMPLING * camera.width, SUPERSAMPLING * camera.height)
    columns, rows = np.meshgrid(np.arange(large.width) + 0.5, np.arange(large.height) + 0.5)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    directions = pixels @ np.linalg.inv(large.K).T @ large.camera_to_world[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    along = -(directions @ large.position)
    inside = RADIUS**2 - (large.position @ large.position - along**2)
    hit = inside > 0
    points = large.position + (along - np.sqrt(np.maximum(inside, 0.0)))[..., None] * directions
    color = np.where(hit[..., None], 0.5 + 0.4 * np.sin(BANDS * points / RADIUS), 0.0)
    blocks = (camera.height, SUPERSAMPLING, camera.width, SUPERSAMPLING)
    alpha = hit.reshape(blocks).mean(axis=(1, 3))
    mean = color.reshape(*blocks, 3).sum(axis=(1, 3)) / np.maximum(hit.reshape(blocks).sum(axis=(1, 3)), 1)[..., None]
    return np.rint(255.0 * np.concatenate([mean, alpha[..., None]], axis=2)).astype(np.uint8)


def _camera(index: int, total: int, size: int) -> Camera:
    """Golden-angle directions: any stretch of them looks from all around."""
    height = 0.8 - 1.6 * (index * 7 % total) / max(total - 1, 1)
    return orbit(
        np.zeros(3),
        DISTANCE,
        azimuth_degrees=137.508 * index,
        elevation_degrees=math.degrees(math.asin(height)),
        up=np.array([0.0, 0.0, 1.0]),
        fov_y_radians=math.radians(FOV_DEGREES),
        width=size,
        height=size,
    )
