"""The selected layer's transform gizmo in one tab: arrows and rings to move and turn it."""

from __future__ import annotations

import uuid

import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, SessionEvent, WorkspaceEvent


class Gizmo:
    """Follows the selected layer, and moves it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.handle: viser.TransformControlsHandle | None = None
        self.key: int | None = None
        self.drag = ""  # one name a drag, so that it is one step to undo
        self.dragging = False

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
        elif not self.dragging:
            self.handle.position, self.handle.wxyz = layer.position, layer.wxyz

    async def _moved(self, event: viser.TransformControlsEvent) -> None:
        """Note where the hand put it; the layer follows in the order of the drags."""
        if event.client is None or self.key is None:
            return
        if event.phase == "start" or not self.drag:
            self.drag = uuid.uuid4().hex
        self.dragging = event.phase != "end"
        wxyz, position = tuple(map(float, event.target.wxyz)), tuple(map(float, event.target.position))
        self.session.hands.do(self._place, self.key, self.drag, wxyz, position)

    def _place(self, key: int, drag: str, wxyz: tuple[float, ...], position: tuple[float, ...]) -> None:
        workspace = self.session.workspace
        cause = f"place {workspace.layer(key).name}"
        workspace.change(key, cause, merge_key=drag, wxyz=wxyz, position=position)
