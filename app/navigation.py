"""Moving one tab's camera: flights, framing, axis views, the way up, the pivot of the orbit, bookmarks."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from h3d.renderers.cameras import Camera, camera_from_json, look_at, quat_to_rotation

from .figures import framing, images
from .flight import fly
from .workspace.events import FovChanged, UpChanged
from .workspace.scene import Home, Layer

if TYPE_CHECKING:
    from .session import Session

SOLID_ALPHA = 0.3  # less than this is seen through: no pivot is set there


class Navigation:
    """The camera of one tab, which the browser moves by hand and this moves on request."""

    def __init__(self, session: Session, up: Sequence[float]) -> None:
        self._session, self._client = session, session.client
        self.up = np.array(up, np.float64)
        self.bookmarks: dict[str, Camera] = {}
        self._began: np.ndarray | None = np.array(self._client.camera.position, np.float64)
        self._flight = threading.Event()

    @property
    def placed(self) -> bool:
        """Whether the camera has left the place where viser puts it."""
        return self._began is None or not np.array_equal(self._client.camera.position, self._began)

    def resume(self, up: np.ndarray, bookmarks: dict[str, Camera]) -> None:  # [3]
        """Go on as before the connection broke; the browser's camera still stands where it was left."""
        self.up, self.bookmarks, self._began = up, bookmarks, None

    def stop(self) -> None:
        """End a flight where it is."""
        self._flight.set()

    def camera(self) -> Camera:
        """Where the tab looks from now, for a picture of the canvas's size."""
        handle = self._client.camera
        pose = np.eye(4)
        pose[:3, :3] = quat_to_rotation(handle.wxyz)
        pose[:3, 3] = handle.position
        return Camera(pose, float(handle.fov), *self._session.drawing.full_size())

    def goto(self, camera: Camera, *, distance: float | None = None, seconds: float = 0.35) -> None:
        """Fly to a pose; `distance` says how far ahead of it the orbit's pivot lies (None: as far as now)."""
        handle = self._client.camera
        if distance is None:
            distance = float(np.linalg.norm(handle.look_at - handle.position))
        self._flight.set()  # An earlier flight ends here.
        self._flight = threading.Event()
        if abs(camera.fov_y_radians - handle.fov) > 1e-6:
            self.set_fov(math.degrees(camera.fov_y_radians))
        fly(self._client, camera, self.up, distance, seconds, self._flight)

    def goto_json(self, value: object) -> None:
        """Fly to a camera that was pasted.

        Raises:
            ValueError: it is not a camera; the sentence says why.
        """
        self.goto(camera_from_json(value))

    def set_fov(self, fov_y_degrees: float) -> None:
        """Set the vertical field of view."""
        self._client.camera.fov = math.radians(fov_y_degrees)
        self._session.events.publish(FovChanged(fov_y_degrees))
        self._session.loop.request("change")

    def frame(self, layers: tuple[Layer, ...] | None = None) -> None:
        """Fly to where the whole scene, or the given layers, are in view."""
        framed = self._framed(layers, -self.camera().forward, float(self._client.camera.fov))
        if framed is not None:
            self._reach(layers)
            self.goto(framed[0], distance=framed[1])

    def place_at_start(self) -> None:
        """Stand where the whole scene is in view, at once: for a tab that has just opened."""
        start = self._start()
        if start is None:
            return
        camera, distance = start
        self._reach()
        handle = self._client.camera
        with self._client.atomic():
            handle.up_direction = self.up
            handle.position = camera.position
            handle.look_at = camera.position + distance * camera.forward
        self.set_fov(math.degrees(camera.fov_y_radians))

    def reset(self, seconds: float = 0.35) -> None:
        """Fly back to where a new tab begins."""
        start = self._start()
        if start is not None:
            self._reach()
            self.goto(start[0], distance=start[1], seconds=seconds)

    def _start(self) -> tuple[Camera, float] | None:
        """Where a new tab begins, and how far ahead its pivot lies; None while the scene is empty."""
        self._adopt_up()
        framed = self._framed(None, self._default_direction(), math.radians(framing.FOV_Y_DEGREES))
        camera, home = self._session.settings.camera, self._home()
        if framed is not None and camera is None and home is not None and home.camera is not None:
            return home.camera, float(np.linalg.norm(np.array(home.pivot) - home.camera.position))
        if framed is None or camera is None:
            return framed
        return camera, float(np.linalg.norm(self._center() - camera.position))

    def _home(self) -> Home | None:
        """Of the first visible layer that has one."""
        return next((x.home for x in self._session.workspace.layers if x.visible and x.home is not None), None)

    def _adopt_up(self) -> None:
        """Take the way up from the scene, where nobody has said which it is."""
        home = self._home()
        if home is not None and not self._session.settings.up_is_given:
            self.up = np.array(home.up)
            self._session.events.publish(UpChanged(home.up))

    def _default_direction(self) -> np.ndarray:  # [3], from the scene to the eye
        home = self._home()
        return np.array(framing.DEFAULT_DIRECTION if home is None else framing.home_direction(home))

    def _reach(self, layers: tuple[Layer, ...] | None = None) -> None:
        """Let the browser's camera come as near and go as far as the scene's size asks for."""
        bounds = framing.scene_bounds(layers or self._session.workspace.layers)
        if bounds is None:
            return
        radius, handle = bounds[1], self._client.camera
        handle.near, handle.far = 1e-3 * radius, 1e4 * radius
        # In this order: the smaller bound must never pass the larger one on the way.
        if 1e4 * radius >= handle.min_orbit_distance:
            handle.max_orbit_distance, handle.min_orbit_distance = 1e4 * radius, 1e-3 * radius
        else:
            handle.min_orbit_distance, handle.max_orbit_distance = 1e-3 * radius, 1e4 * radius

    def _framed(
        self, layers: tuple[Layer, ...] | None, direction: np.ndarray, fov: float
    ) -> tuple[Camera, float] | None:
        """A camera with the layers (None: all visible ones) in view, and its distance from their centre."""
        layers = tuple(replace(x, visible=True) for x in layers) if layers else self._session.workspace.layers
        if framing.scene_bounds(layers) is None:
            return None
        width, height = self._session.drawing.full_size()
        camera = framing.frame_camera(
            layers, direction=direction.tolist(), up=self.up.tolist(), fov_y_radians=fov, width=width, height=height
        )
        return camera, float(np.linalg.norm(self._center(layers) - camera.position))

    def _center(self, layers: tuple[Layer, ...] | None = None) -> np.ndarray:  # [3]
        bounds = framing.scene_bounds(layers or self._session.workspace.layers)
        return np.zeros(3) if bounds is None else bounds[0]

    def look_along(self, direction: np.ndarray) -> None:
        """Turn around the pivot so that the view runs along `direction`."""
        handle = self._client.camera
        pivot, distance = np.array(handle.look_at), float(np.linalg.norm(handle.look_at - handle.position))
        direction = direction / np.linalg.norm(direction)
        self.goto(look_at(pivot - distance * direction, pivot, self.up, fov_y_radians=float(handle.fov)))

    def set_up(self, up: np.ndarray) -> None:  # [3]
        """Say which way is up: orbiting turns about it, and the scene is framed again, upright."""
        self.up = np.asarray(up, np.float64) / np.linalg.norm(up)
        self._client.camera.up_direction = self.up
        x, y, z = self.up.tolist()
        self._session.events.publish(UpChanged((x, y, z)))
        self.frame()

    def pivot_at(self, x: float, y: float) -> bool:
        """Fly the orbit's pivot to what is seen at (x, y) in [0, 1] of the canvas; False where nothing is."""
        side, x, width = self._side_at(x, y)
        camera = self.camera().resized(width, self._session.drawing.full_size()[1])
        column, row = min(int(x * width), width - 1), min(int(y * camera.height), camera.height - 1)
        rect = (column, row, column + 1, row + 1)
        backend = self._session.settings.backend
        picture = images.render(self._session.drawing.view(side), camera, rect=rect, depth=True, backend=backend)
        if picture.depth is None or picture.alpha is None or picture.alpha[0, 0] < SOLID_ALPHA:
            return False
        ray = np.linalg.inv(camera.K) @ np.array([column + 0.5, row + 0.5, 1.0])
        target = camera.position + camera.camera_to_world[:3, :3] @ (ray * float(picture.depth[0, 0]))
        self.goto(
            look_at(camera.position, target, self.up, fov_y_radians=camera.fov_y_radians),
            distance=float(np.linalg.norm(target - camera.position)),
        )
        return True

    def part_of(
        self, low: tuple[float, float], high: tuple[float, float]
    ) -> tuple[str, tuple[float, float], tuple[float, float], Camera]:
        """A rectangle of the canvas, in [0, 1], as one of the view under its middle, cut to it: that view's letter, the
        corners in its picture, and its camera."""
        width, height = self._session.drawing.full_size()
        middle = 0.5 * (low[0] + high[0])
        side, x, part = self._side_at(middle, 0.5 * (low[1] + high[1]))
        left, right = (min(max(x + (end - middle) * width / part, 0.0), 1.0) for end in (low[0], high[0]))
        return side, (left, max(low[1], 0.0)), (right, min(high[1], 1.0)), self.camera().resized(part, height)

    def _side_at(self, x: float, y: float) -> tuple[str, float, int]:
        """Which view lies under a point of the canvas, the point's x in that view, and the view's width in pixels."""
        settings, width = self._session.compare, self._session.drawing.full_size()[0]
        if settings.mode == "flip":
            return settings.show, x, width
        if settings.mode == "wipe":
            return "a" if (x if settings.orientation == "vertical" else y) < settings.split else "b", x, width
        if settings.mode == "side_by_side":
            half = width // 2
            return (
                ("a", x * width / half, half)
                if x * width < half
                else ("b", (x * width - half) / (width - half), width - half)
            )
        return "a", x, width
