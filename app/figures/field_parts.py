"""Layers of fields as pictures: rays in the field's own axes, and what comes back in the camera's.

Fields whose every look is noisy are looked at pass by pass, each through another point of the pixels: see `passes`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import torch

from h3d.app.workspace.scene import Layer
from h3d.models.field_view import Field, FieldView, Pixels
from h3d.models.gaussians import Gaussians
from h3d.models.path_traced import PathTracedScene
from h3d.renderers import CancelFlag
from h3d.renderers.cameras import Camera, pixel_directions, quat_to_rotation
from h3d.renderers.fields import RenderedRays

from .display import Display
from .passes import Passes, offset
from .pictures import Rect
from .shots import Shot, exposed, srgb_of


def field_shot(
    layer: Layer,
    display: Display,
    camera: Camera,
    rect: Rect,
    *,
    quick: bool,
    passes: Passes,
    cancel: CancelFlag | None,
) -> Shot:
    """The rectangle of one field; normals in place of colours where the display asks for them. Raises `Cancelled`."""
    turn = quat_to_rotation(np.array(layer.wxyz))
    view = replace(display.field, normals=display.mode == "normals", quick=quick, pixels=_pixels(camera, turn))
    seen = _seen(layer, view, camera, rect, passes, cancel)
    size = (rect[3] - rect[1], rect[2] - rect[0])
    alpha = seen.alpha.numpy().reshape(size)
    depth = seen.depth.numpy() * layer.scale * (pixel_directions(camera, rect) @ camera.forward)
    if display.mode == "normals":
        normals = np.zeros((*size, 3)) if seen.normals is None else (seen.normals.numpy() @ turn.T).reshape(*size, 3)
        rgb = 0.5 * (normals + alpha[..., None])
    else:
        rgb = seen.rgb.numpy().reshape(*size, 3)
        if getattr(layer.asset, "linear", False):
            rgb = srgb_of(rgb * np.float32(2.0**display.exposure))
        else:
            rgb = exposed(rgb, alpha, display.exposure)
    cost = seen.counts.numpy().astype(np.float32).reshape(size)
    return Shot(rgb.astype(np.float32), alpha, depth.astype(np.float32).reshape(size), cost)


def is_noisy(layer: Layer) -> bool:
    """Whether a picture of the layer is the mean of many passes."""
    return isinstance(layer.asset, PathTracedScene)


def _seen(
    layer: Layer, view: FieldView, camera: Camera, rect: Rect, passes: Passes, cancel: CancelFlag | None
) -> RenderedRays:
    """What the rays of the rectangle see, over all passes where there are several."""
    field, turn = layer.asset, quat_to_rotation(np.array(layer.wxyz))
    assert not isinstance(field, Gaussians)
    eye = (camera.position - np.array(layer.position)) @ turn / layer.scale

    def look(number: int) -> RenderedRays:
        directions = pixel_directions(camera, rect, offset(number))  # [R, 3], in the world
        return field.render(
            torch.from_numpy(np.broadcast_to(eye.astype(np.float32), directions.shape).copy()),
            torch.from_numpy((directions @ turn).astype(np.float32)),
            view=replace(view, sample=number),
            cancel=cancel,
        )

    if not is_noisy(layer):
        return look(0)
    share = (rect[2] - rect[0]) * (rect[3] - rect[1]) / (camera.width * camera.height)
    return passes.mean(_key(layer, field, view, camera, rect), share, look)


def _key(layer: Layer, field: Field, view: FieldView, camera: Camera, rect: Rect) -> Hashable:
    """Passes with equal keys belong to one picture."""
    assert isinstance(field, PathTracedScene)
    place = (layer.wxyz, layer.position, layer.scale)
    pose = (camera.camera_to_world.tobytes(), camera.fov_y_radians, camera.width, camera.height)
    return layer.key, field.passes_of(view), view, place, pose, rect


def _pixels(camera: Camera, turn: np.ndarray) -> Pixels:  # [3, 3]
    """How the picture's pixels lie among the rays, in the field's own axes."""
    x, y, z = (float(v) for v in camera.forward @ turn)
    return Pixels((x, y, z), 1.0 / camera.focal)
