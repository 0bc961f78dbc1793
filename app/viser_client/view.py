"""The camera of a tab, in viser's terms. Axes OpenCV; wxyz turns camera axes into world axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from h3d.renderers.cameras import Camera, look_at, rotation_to_quat

from .wire import Message

Vector = tuple[float, float, float]

# viser's messages that move a camera, the field that carries the value, and ours.
_TOLD: dict[str, tuple[str, str]] = {
    "SetCameraPositionMessage": ("position", "position"),
    "SetCameraLookAtMessage": ("look_at", "look_at"),
    "SetCameraUpDirectionMessage": ("position", "up"),
    "SetCameraFovMessage": ("fov", "fov_y_radians"),
    "SetCameraNearMessage": ("near", "near"),
    "SetCameraFarMessage": ("far", "far"),
}


@dataclass(frozen=True)
class View:
    """Where the tab looks from, and how large its picture is. The defaults are viser's."""

    position: Vector = (3.0, 3.0, 3.0)
    look_at: Vector = (0.0, 0.0, 0.0)
    up: Vector = (0.0, 0.0, 1.0)
    fov_y_radians: float = math.radians(75.0)
    width: int = 640
    """Of the canvas in device pixels."""
    height: int = 360
    near: float = 0.01
    far: float = 1000.0

    @property
    def camera(self) -> Camera:
        """The same as a camera of ours."""
        position, target, up = (np.array(v, np.float64) for v in (self.position, self.look_at, self.up))
        return look_at(position, target, up, fov_y_radians=self.fov_y_radians, width=self.width, height=self.height)

    def moved(self, **changes: Any) -> View:
        """With other fields; vectors may be any sequence of three numbers."""
        for name in ("position", "look_at", "up"):
            if name in changes:
                x, y, z = (float(value) for value in changes[name])
                changes[name] = (x, y, z)
        return replace(self, **changes)

    def told(self, message: Message) -> View:
        """After a SetCamera...Message from the server."""
        if message["type"] not in _TOLD:
            return self
        theirs, ours = _TOLD[message["type"]]
        return self.moved(**{ours: message[theirs]})

    def ray(self, x: float, y: float) -> list[float]:
        """The unit direction, in the world, through a point of the picture; x right and y down, 0 to 1."""
        half_height = math.tan(0.5 * self.fov_y_radians)
        half_width = half_height * self.width / self.height
        direction = self.camera.camera_to_world[:3, :3] @ [(2 * x - 1) * half_width, (2 * y - 1) * half_height, 1.0]
        return (direction / np.linalg.norm(direction)).tolist()

    def message(self) -> Message:
        """The ViewerCameraMessage that the page sends."""
        return {
            "type": "ViewerCameraMessage",
            "wxyz": rotation_to_quat(self.camera.camera_to_world[:3, :3]).tolist(),
            "position": list(self.position),
            "fov": self.fov_y_radians,
            "near": self.near,
            "far": self.far,
            "image_height": self.height,
            "image_width": self.width,
            "look_at": list(self.look_at),
            "up_direction": list(self.up),
        }
