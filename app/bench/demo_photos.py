"""Photos of the demo scene from all around, as a data set: a scene to train on where no other is at hand.

Rendered by our rasteriser at twice the size and averaged, with alpha, in Blender's layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from h3d.renderers import RasterOptions, SplatScene, rasterize_scenes
from h3d.renderers.cameras import Camera, orbit

from . import scenes

TRAIN, TEST = 80, 8
SIZE = 400
SUPERSAMPLING = 2
DISTANCE, FOV_DEGREES = 3.4, 40.0
LOWEST, HIGHEST = -10.0, 70.0
"""Degrees of elevation; the scene stands on a table, and little is to be seen from below."""


def write_demo_photos(folder: Path) -> Path:
    """Writes the data set where it is not there yet; returns its folder."""
    if (folder / "transforms_test.json").exists():
        return folder
    scene = scenes.splat_scene(scenes.demo())
    for label, count, first in (("train", TRAIN, 0), ("test", TEST, TRAIN)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        frames = []
        for index in range(count):
            camera = _camera(first + index)
            Image.fromarray(_photograph(scene, camera)).save(folder / label / f"{index:03}.png")
            opengl = camera.camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": f"./{label}/{index:03}", "transform_matrix": opengl.tolist()})
        value = {"camera_angle_x": math.radians(FOV_DEGREES), "frames": frames}
        (folder / f"transforms_{label}.json").write_text(json.dumps(value))
    return folder


def _camera(index: int) -> Camera:
    """Golden-angle azimuths, elevations spread evenly over the sphere's belt: any stretch looks from all around."""
    low, high = (math.sin(math.radians(angle)) for angle in (LOWEST, HIGHEST))
    share = index * 0.7548776662466927 % 1.0
    return orbit(
        np.zeros(3),
        DISTANCE,
        azimuth_degrees=137.508 * index,
        elevation_degrees=math.degrees(math.asin(low + share * (high - low))),
        up=np.array([0.0, -1.0, 0.0]),
        fov_y_radians=math.radians(FOV_DEGREES),
        width=SIZE,
        height=SIZE,
    )


def _photograph(scene: SplatScene, camera: Camera) -> np.ndarray:  # [H, W, 4] uint8, straight alpha
    large = camera.resized(SUPERSAMPLING * SIZE, SUPERSAMPLING * SIZE)
    viewmats, Ks = torch.from_numpy(large.viewmat)[None], torch.from_numpy(large.K)[None]
    options = RasterOptions(depth=False, backend="cpu")
    rendered = rasterize_scenes([scene], viewmats, Ks, large.width, large.height, options=options)
    over_black = torch.cat([rendered.rgb[0], rendered.alpha[0][..., None]], dim=2)
    mean = over_black.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING, 4).mean(dim=(1, 3))
    alpha = mean[..., 3:]
    straight = torch.where(alpha > 0, mean[..., :3] / alpha.clamp(min=1e-6), 0.0)
    return (torch.cat([straight, alpha], dim=2).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
