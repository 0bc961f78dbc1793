"""Layers of fields as pictures: rays in the field's own axes, and what comes back in the camera's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from h3d.app.workspace.scene import Layer
from h3d.models.field_view import Pixels
from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag
from h3d.renderers.cameras import Camera, quat_to_rotation

from .display import Display
from .pictures import Rect
from .shots import Shot, exposed, srgb_of


def field_shot(
    layer: Layer, display: Display, camera: Camera, rect: Rect, *, quick: bool, cancel: CancelFlag | None
) -> Shot:
    """The rectangle of one field; normals in place of colours where the display asks for them. Raises `Cancelled`."""
    field = layer.asset
    assert not isinstance(field, Gaussians)
    turn = quat_to_rotation(np.array(layer.wxyz))
    directions = pixel_directions(camera, rect)  # [R, 3], in the world
    eye = (camera.position - np.array(layer.position)) @ turn / layer.scale
    seen = field.render(
        torch.from_numpy(np.broadcast_to(eye.astype(np.float32), directions.shape).copy()),
        torch.from_numpy((directions @ turn).astype(np.float32)),
        view=replace(display.field, normals=display.mode == "normals", quick=quick, pixels=_pixels(camera, turn)),
        cancel=cancel,
    )
    size = (rect[3] - rect[1], rect[2] - rect[0])
    alpha = seen.alpha.numpy().reshape(size)
    depth = seen.depth.numpy() * layer.scale * (directions @ camera.forward)
    if display.mode == "normals":
        normals = np.zeros_like(directions) if seen.normals is None else seen.normals.numpy() @ turn.T
        rgb = 0.5 * (normals.reshape(*size, 3) + alpha[..., None])
    else:
        rgb = seen.rgb.numpy().reshape(*size, 3)
        if getattr(field, "linear", False):
            rgb = srgb_of(rgb * np.float32(2.0**display.exposure))
        else:
            rgb = exposed(rgb, alpha, display.exposure)
    cost = seen.counts.numpy().astype(np.float32).reshape(size)
    return Shot(rgb.astype(np.float32), alpha, depth.astype(np.float32).reshape(size), cost)


def _pixels(camera: Camera, turn: np.ndarray) -> Pixels:  # [3, 3]
    """How the picture's pixels lie among the rays, in the field's own axes."""
    x, y, z = (float(v) for v in camera.forward @ turn)
    return Pixels((x, y, z), 1.0 / camera.focal)


def pixel_directions(camera: Camera, rect: Rect) -> np.ndarray:  # [h * w, 3] float64, unit, in the world
    """Through the centres of a rectangle's pixels, row by row."""
    x, y = np.arange(rect[0], rect[2]) + 0.5, np.arange(rect[1], rect[3]) + 0.5
    local = np.empty((len(y), len(x), 3))
    local[..., 0] = (x - 0.5 * camera.width) / camera.focal
    local[..., 1] = ((y - 0.5 * camera.height) / camera.focal)[:, None]
    local[..., 2] = 1.0
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local.reshape(-1, 3) @ camera.camera_to_world[:3, :3].T
