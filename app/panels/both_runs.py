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
        layers = {layer.run: layer.key for layer in self._session.workspace.layers}
        a, b = (layers.get(run) for run in self._awaited)
        if a is not None and b is not None:
            self._awaited = None
            self._session.set_compare(mode="wipe", layer_a=a, layer_b=b, own_b=None, photo=None)
