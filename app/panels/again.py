"""A run once more beside itself: which settings are to differ, and one button that starts it and wipes the two."""

from __future__ import annotations

from typing import Any

import viser

from h3d.app.session import Session
from h3d.app.workspace.beside import begin_beside
from h3d.app.workspace.events import LayersChanged, RunChanged, SessionEvent, WorkspaceEvent

from .config_fields import ConfigFields
from .handles import note, on_press

HINT = "The photos are shared. The two run in turns, A the first and B the new one, each by its own clock."
CHANGE = "Change below what is to differ; what you leave is as the run began."


class AgainPart:
    """Part of the Optimise panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.optimisation = session, session.optimisation
        self.run: int | None = None
        self.fields: ConfigFields | None = None
        self.awaited: tuple[int, int] | None = None  # runs to wipe as soon as both have layers

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.folder: viser.GuiFolderHandle = gui.add_folder("Run again", expand_by_default=False, visible=False)
        with self.folder:
            on_press(self.session, gui.add_button("Run again beside it", color="green", hint=HINT), self.begin)
            gui.add_html(note(CHANGE))

    def follow(self, run: int | None) -> None:
        """Offer the settings of this run."""
        if run == self.run:
            return
        self.run = run
        config: Any = None if run is None else self.optimisation.task(run).config
        self.folder.visible = config is not None
        if self.fields is not None and self.fields.config == config:
            return
        if self.fields is not None:
            self.fields.remove()
        with self.folder:
            self.fields = None if config is None else ConfigFields(self.session, config)

    def begin(self) -> None:
        """Start the run again with the settings as they are typed, and wipe the two.

        Raises:
            ValueError: a value that the setting cannot have.
        """
        if self.run is not None and self.fields is not None:
            first = self.run
            self.awaited = (first, begin_beside(self.optimisation, first, self.fields.changes()))
            self._wipe()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, RunChanged | LayersChanged):
            self._wipe()

    def _wipe(self) -> None:
        """Compare the two that are awaited, when there is something to see of both."""
        if self.awaited is None:
            return
        layers = {layer.run: layer.key for layer in self.session.workspace.layers}
        a, b = (layers.get(run) for run in self.awaited)
        if a is not None and b is not None:
            self.awaited = None
            self.session.set_compare(mode="wipe", layer_a=a, layer_b=b, own_b=None, photo=None)
