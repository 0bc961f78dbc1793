"""The sphere of camera cells in the scene of one tab: tiles, rims of the cells that hit last, cameras of the last call.

Everything hangs on one frame, which stands where the run's layer does; inside it the object is at the origin.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import viser

from h3d.app.figures.colormaps import SEQUENTIAL, colored
from h3d.app.figures.glb import Part, glb
from h3d.app.session import Session
from h3d.models.hash3d import CacheView, Looked
from h3d.models.hash3d.sphere import UP, Patches, angles
from h3d.models.hash3d.sphere_mesh import rim_mesh, sphere_mesh
from h3d.models.similarity import IDENTITY, Similarity
from h3d.renderers.cameras import look_at, orbit, rotation_to_quat

logger = logging.getLogger(__name__)

Sides = Literal["far", "near", "both"]
RECENT = 8
"""Cells with a rim: those that hit last."""
MOST_CAMERAS = 16
LONGEST_WAIT_SECONDS = 10.0
FRUSTUM_RADIANS = math.radians(49.0)
HIT, MISS, UNTRIED = (64, 192, 87), (250, 176, 5), (134, 142, 150)


@dataclass(frozen=True)
class Look:
    """How the sphere is drawn."""

    radius: float  # in the run's world
    place: Similarity = IDENTITY  # of that world
    sides: Sides = "far"
    opacity: float = 0.5  # of the near side; the far one hides what is behind it


class SphereScene:
    """Nodes below /sphere."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._nodes: dict[str, Any] = {}
        self._drawn: tuple[Patches, Look] | None = None
        self._turn = 0  # of two nodes with tiles, the one that is shown

    def hide(self) -> None:
        """Take everything away."""
        if "/sphere" in self._nodes:
            self._nodes["/sphere"].remove()  # And all that hangs on it.
        self._nodes.clear()
        self._drawn = None

    def draw(self, view: CacheView, found: Patches, look: Look) -> None:
        """Let the scene show this; returns when the browser has it."""
        scene = self.session.client.scene
        data = sphere_file(found, look)
        self._drawn = found, look
        old, self._turn = f"/sphere/tiles{self._turn}", 1 - self._turn
        with self.session.client.atomic():
            frame = self._node("/sphere", lambda name: scene.add_frame(name, show_axes=False))
            frame.position, frame.wxyz = look.place.position, look.place.wxyz
            size = look.radius * look.place.scale
            plain = {"scale": size, "cast_shadow": False, "receive_shadow": False}
            self._node(f"/sphere/tiles{self._turn}", lambda name: scene.add_glb(name, data, **plain))
            self._cameras(view.last[:MOST_CAMERAS], size)
        # A node whose file is exchanged is empty until the browser has read it: the old one stays until then.
        self._wait_until_there()
        if old in self._nodes:
            self._nodes.pop(old).remove()

    def _wait_until_there(self) -> None:
        # See `Screen`: the browser answers in order. A hidden tab answers when it is looked at again, and is not sent
        # one sphere after the other until then.
        try:
            self.session.client.local_storage.get_item("h3d-sphere", timeout=LONGEST_WAIT_SECONDS)
        except (RuntimeError, TimeoutError):
            logger.debug("the tab did not say that it has the sphere", exc_info=True)

    def direction(self, origin: tuple[float, ...], ray: tuple[float, ...]) -> tuple[float, float] | None:
        """Azimuth and elevation where a ray of the world meets a tile of the side that is drawn; None where none."""
        if self._drawn is None:
            return None
        found, look = self._drawn
        inverse = look.place.inverse
        start = np.array(inverse.point((origin[0], origin[1], origin[2]))) / look.radius
        along = inverse.rotation @ np.array(ray)
        along = along / np.linalg.norm(along)
        middle = -float(start @ along)
        reach = 1.0 - float(start @ start) + middle * middle
        if reach < 0.0:
            return None
        near, far = middle - math.sqrt(reach), middle + math.sqrt(reach)
        for t in {"near": (near,), "far": (far,), "both": (near, far)}[look.sides]:
            at = angles(start + t * along)
            if t > 0.0 and found.at(*at) is not None:
                return at
        return None

    def frame(self, look: Look) -> None:
        """Fly to where the whole sphere is in view, from the side where the camera is now."""
        navigation, fov = self.session.navigation, self.session.camera().fov_y_radians
        center, eye = np.array(look.place.position), self.session.camera().position
        distance = 1.1 * look.radius * look.place.scale / math.sin(0.5 * fov)
        away = (eye - center) / max(float(np.linalg.norm(eye - center)), 1e-9)
        camera = look_at(center + distance * away, center, navigation.up, fov_y_radians=fov)
        navigation.goto(camera, distance=distance)

    def _node(self, name: str, make: Callable[[str], Any]) -> Any:
        if name not in self._nodes:
            self._nodes[name] = make(name)
        return self._nodes[name]

    def _cameras(self, last: tuple[Looked, ...], size: float) -> None:
        for i in range(MOST_CAMERAS):
            name = f"/sphere/camera{i}"
            if i >= len(last):
                if name in self._nodes:
                    self._nodes.pop(name).remove()
                continue
            azimuth, elevation = last[i].key[0], last[i].key[1]
            camera = orbit(np.zeros(3), size, azimuth_degrees=azimuth, elevation_degrees=elevation, up=UP)
            frustum = self._node(name, lambda name: self._frustum(name, size))
            frustum.position, frustum.wxyz = camera.position, rotation_to_quat(camera.camera_to_world[:3, :3])
            frustum.color = HIT if last[i].hit else MISS if last[i].tried else UNTRIED
            frustum.scale = 0.12 * size

    def _frustum(self, name: str, size: float) -> viser.CameraFrustumHandle:
        return self.session.client.scene.add_camera_frustum(
            name, FRUSTUM_RADIANS, 1.0, scale=0.12 * size, thickness=2.0, thickness_units="screen", variant="filled"
        )


def sphere_file(found: Patches, look: Look) -> bytes:
    """Tiles and rims of the sides that are drawn, the far one first, so that the near one is seen before it."""
    parts = []
    for inward in {"near": (False,), "far": (True,), "both": (True, False)}[look.sides]:
        mesh, rims = sphere_mesh(found, inward=inward), rim_mesh(found, found.recent_hits(RECENT), inward=inward)
        colors = colored(found.values, SEQUENTIAL, *found.span)[mesh.patch]
        parts.append(Part(mesh.vertices, mesh.faces, colors, 1.0 if inward else look.opacity))
        parts.append(Part(rims.vertices, rims.faces, np.ones_like(rims.vertices)))
    return glb(parts)


def camera_radius(view: CacheView) -> float:
    """How far the cameras are from the object: those of the last call, else those of what is stored."""
    radii = [looked.key[2] for looked in view.last] or view.stored.keys[:, 2].tolist()
    return float(np.median(radii)) if len(radii) > 0 and np.median(radii) > 0.0 else 1.0
