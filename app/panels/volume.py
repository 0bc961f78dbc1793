"""A box or a ball in the scene of one tab, moved and turned by a gizmo or by numbers, to select rows by."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.session import Session
from h3d.models.selection import Box, Sphere

from .handles import on_choice, on_person, show

NONE, BOX, SPHERE = "none", "box", "sphere"
COLOR = (255, 190, 40)
SMALLEST = 1e-4
# The twelve edges of a box: pairs of corners that differ in one coordinate.
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
EDGES = np.array([[a, b] for i, a in enumerate(CORNERS) for b in CORNERS[i:] if np.abs(a - b).sum() == 2], np.float32)


class Volume:
    """Part of the Edit panel."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.gizmo: viser.TransformControlsHandle | None = None
        self.outline: Any = None
        self.wxyz = (1.0, 0.0, 0.0, 0.0)
        self.fitted: int | None = None  # the layer that the numbers were taken from

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        self.kind = gui.add_dropdown("Volume", (NONE, BOX, SPHERE), initial_value=NONE, hint="Its gizmo moves it.")
        self.center = gui.add_vector3("Volume centre", (0.0, 0.0, 0.0), step=0.01)
        self.size = gui.add_vector3("Box size", (1.0, 1.0, 1.0), step=0.01, min=np.full(3, SMALLEST))
        self.radius = gui.add_number("Sphere radius", 0.5, step=0.01, min=SMALLEST)
        on_person(session, self.kind, lambda _: self._choose())
        for handle in (self.center, self.size, self.radius):
            on_person(session, handle, lambda _: self._draw())
        self.buttons = gui.add_button_group("Select rows", ("Inside", "Outside"))
        on_choice(session, self.buttons, lambda label: self.select(inside=label == "Inside"))
        self._draw()

    def select(self, *, inside: bool) -> None:
        """Select the rows inside or outside. Raises: ValueError where there is no volume, or no layer of Gaussians."""
        if self.kind.value == NONE:
            raise ValueError("volume: there is none; choose a box or a sphere first")
        self.session.selecting.choose(self._shape(inside))

    def _shape(self, inside: bool) -> Box | Sphere:
        x, y, z = (float(v) for v in self.center.value)
        if self.kind.value == SPHERE:
            return Sphere((x, y, z), float(self.radius.value), inside)
        a, b, c = (0.5 * float(v) for v in self.size.value)
        return Box((x, y, z), (a, b, c), self.wxyz, inside)

    def _choose(self) -> None:
        """Another kind: the first time for a layer it begins in the middle of it."""
        layer = self.session.selected_layer()
        if self.kind.value != NONE and layer is not None and layer.key != self.fitted:
            center, radius = robust_bounds(layer.asset)
            x, y, z = layer.place.point((float(center[0]), float(center[1]), float(center[2])))
            radius = max(layer.scale * float(radius), 2 * SMALLEST)
            self.center.value, self.size.value, self.radius.value = (x, y, z), np.full(3, radius), 0.5 * radius
            self.wxyz, self.fitted = (1.0, 0.0, 0.0, 0.0), layer.key
        self._draw()

    def _draw(self) -> None:
        kind, scene = self.kind.value, self.session.client.scene
        self.center.visible = self.buttons.visible = kind != NONE
        self.size.visible, self.radius.visible = kind == BOX, kind == SPHERE
        for handle in (self.outline, self.gizmo):
            if handle is not None:
                handle.remove()
        self.outline = self.gizmo = None
        if kind != NONE:
            half = 0.5 * np.array(self.size.value) if kind == BOX else np.full(3, self.radius.value)
            self.gizmo = scene.add_transform_controls(
                "/volume",
                scale=1.2 * float(half.max()),
                wxyz=self.wxyz,
                position=self.center.value,
                disable_rotations=kind == SPHERE,
            )
            self.gizmo.on_update(self._moved)
            if kind == BOX:
                points = EDGES * half.astype(np.float32)
                self.outline = scene.add_line_segments(
                    "/volume/outline", points, COLOR, thickness=2.0, thickness_units="screen"
                )
            else:
                self.outline = scene.add_icosphere(
                    "/volume/outline", float(half[0]), COLOR, subdivisions=2, wireframe=True, cast_shadow=False
                )
        self.session.set_overlay("volume", kind != NONE)

    async def _moved(self, event: viser.TransformControlsEvent) -> None:
        if event.client is not None:
            self.session.hands.do(self._place, event.target.position.copy(), event.target.wxyz.copy())

    def _place(self, position: np.ndarray, wxyz: np.ndarray) -> None:
        w, i, j, k = map(float, wxyz)
        self.wxyz = (w, i, j, k)
        show(self.session, self.center, tuple(round(float(v), 4) for v in position))
