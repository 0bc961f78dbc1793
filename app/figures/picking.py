"""Rows that a hand picks in a picture, and the colour in which picked rows are shown. N rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.models.selection import Rectangle
from h3d.renderers import CancelFlag, harmonics
from h3d.renderers.cameras import Camera, rotation_to_quat

from .pictures import Rect, View
from .splat_parts import raster_options, rasterize, splat_scene

HIGHLIGHT = (1.0, 0.72, 0.0)
STRENGTH = 0.7
SEEN_SHARE = 0.1
"""Of a pixel's colour that a row must have somewhere to count as seen."""


def highlighted(asset: Gaussians, rows: torch.Tensor) -> Gaussians:  # [N] bool
    """The same rows with these in a colour of their own, their light and dark still to be told."""
    sh = asset.sh.clone()
    dark = harmonics.dc_to_rgb(sh[rows, 0])
    color = (1.0 - STRENGTH) * dark + STRENGTH * sh.new_tensor(HIGHLIGHT)
    sh[rows] = 0.0
    sh[rows, 0] = harmonics.rgb_to_dc(color)
    return replace(asset, sh=sh)


def rectangle(camera: Camera, low: tuple[float, float], high: tuple[float, float]) -> Rectangle:
    """What a camera sees between two corners of its picture, x and y in [0, 1]; in the world.

    Raises:
        ValueError: the corners lie on one line.
    """
    if not (low[0] < high[0] and low[1] < high[1]):
        raise ValueError(f"rectangle: from {low} to {high}; draw one with a width and a height")
    size = np.array([camera.width, camera.height])
    left, top, right, bottom = ((np.array([*low, *high]) - 0.5) * np.tile(size, 2) / camera.focal).tolist()
    x, y, z = camera.position.tolist()
    w, i, j, k = rotation_to_quat(camera.camera_to_world[:3, :3]).tolist()
    return Rectangle((x, y, z), (w, i, j, k), (left, top, right, bottom))


def seen_rows(view: View, key: int, camera: Camera, rect: Rect, cancel: CancelFlag | None = None) -> torch.Tensor:
    """[N] bool: the rows of the layer `key` that are seen in a rectangle of the picture, before others or through them.

    All visible Gaussians of the view hide each other; fields hide nothing here.
    """
    splats = [x for x in view.layers if x.visible and isinstance(x.asset, Gaussians)]
    if not any(layer.key == key for layer in splats):
        return torch.zeros(0, dtype=torch.bool)
    # The largest share of a pixel is what the CPU's rasteriser alone tells.
    options = replace(
        raster_options(view.display, "cpu"), sh_degree=0, depth=False, contributions=True, rect=rect, shape="splats"
    )
    scenes = [splat_scene(layer) for layer in splats]
    shares = rasterize(scenes, camera, options, cancel).contribution_max
    assert shares is not None
    parts = shares.split([len(scene.means) for scene in scenes])
    return next(part for part, layer in zip(parts, splats, strict=True) if layer.key == key) >= SEEN_SHARE
