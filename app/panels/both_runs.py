"""Two runs under the wipe, as soon as there is something to see of both."""

from __future__ import annotations

from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, RunChanged, SessionEvent, WorkspaceEvent


class BothRuns:
    """Waits for the layers of two runs, for the panel that began the second."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._awaited: tuple[int, int] | None = None

    def wipe(self, first: int, second: int) -> None:
        """Show the first as A and the second as B; what was awaited before is not any more."""
        self._awaited = (first, second)
        self._look()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, RunChanged | LayersChanged):
            self._look()

    def _look(self) -> None:
        if self._awaited is None:
            return
        workspace = self._session.workspace
        layers = {layer.run: layer for layer in workspace.layers}
        a, b = (layers.get(run) for run in self._awaited)
        if a is None or b is None:
            return
        self._awaited = None
        place = {"wxyz": a.wxyz, "position": a.position, "scale": a.scale}
        if place != {"wxyz": b.wxyz, "position": b.position, "scale": b.scale}:  # They are to lie upon each other.
            workspace.change(b.key, f"place {b.name}", **place)
        self._session.set_compare(mode="wipe", layer_a=a.key, layer_b=b.key, own_b=None, photo=None)
