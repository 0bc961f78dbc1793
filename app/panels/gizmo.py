"""The selected layer's transform gizmo in one tab: arrows and rings to move and turn it."""

from __future__ import annotations

import uuid

import numpy as np
import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, SessionEvent, WorkspaceEvent


class Gizmo:
    """The selected layer's transform gizmo in one tab."""

    title = ""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.handle: viser.TransformControlsHandle | None = None
        self.key: int | None = None
        self.drag = ""

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, LayersChanged | LayerSelected):
            self.follow()

    def follow(self) -> None:
        """Make the gizmo stand where the selected layer stands, or take it away."""
        layer = self.session.selected_layer()
        wanted = layer is not None and self.session.gizmo and not layer.locked
        if self.handle is not None and (not wanted or layer is None or layer.key != self.key):
            self.handle.remove()
            self.handle = None
        if layer is None or not wanted:
            return
        if self.handle is None:
            _, radius = robust_bounds(layer.asset)
            self.handle = self.session.client.scene.add_transform_controls(
                "/gizmo", scale=max(0.6 * radius * layer.scale, 1e-3), wxyz=layer.wxyz, position=layer.position
            )
            self.key = layer.key
            self.handle.on_update(self._moved)
        elif not np.allclose(self.handle.position, layer.position) or not np.allclose(self.handle.wxyz, layer.wxyz):
            self.handle.position, self.handle.wxyz = layer.position, layer.wxyz

    def _moved(self, event: viser.TransformControlsEvent) -> None:
        if event.client is None or self.key is None:
            return
        if event.phase == "start" or not self.drag:
            self.drag = uuid.uuid4().hex
        place = {"wxyz": tuple(map(float, event.target.wxyz)), "position": tuple(map(float, event.target.position))}
        key, workspace = self.key, self.session.workspace
        self.session.attempt(
            lambda: workspace.change(key, f"place {workspace.layer(key).name}", merge_key=self.drag, **place),
            "Not moved",
        )
