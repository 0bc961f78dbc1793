"""A run once more beside itself: which settings are to differ, and one button that starts it and wipes the two."""

from __future__ import annotations

import viser

from h3d.app.session import Session
from h3d.app.workspace.beside import begin_beside
from h3d.app.workspace.events import SessionEvent, WorkspaceEvent

from .both_runs import BothRuns
from .config_fields import ConfigFields
from .handles import note, on_press

HINT = "The photos are shared. The two run in turns, A the first and B the new one, each by its own clock."
CHANGE = "Change below what is to differ; what you leave is as the run began."


class AgainPart:
    """Part of the Optimise panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.optimisation = session, session.optimisation
        self.run: int | None = None  # asked for
        self.offered: int | None = None  # what the handles are of
        self.fields: ConfigFields | None = None
        self.both = BothRuns(session)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.folder: viser.GuiFolderHandle = gui.add_folder("Run again", expand_by_default=False, visible=False)
        with self.folder:
            on_press(self.session, gui.add_button("Run again beside it", color="green", hint=HINT), self.begin)
            gui.add_html(note(CHANGE))

    def follow(self, run: int | None) -> None:
        """Offer the settings of this run. Handles are made where presses are answered: none meets half of them."""
        if run != self.run:
            self.run = run
            self.session.hands.do(self._offer, run)

    def begin(self) -> None:
        """Start the run again with the settings as they are typed, and wipe the two.

        Raises:
            ValueError: a value that the setting cannot have.
        """
        if self.offered is not None and self.fields is not None:
            self.both.wipe(self.offered, begin_beside(self.optimisation, self.offered, self.fields.changes()))

    def _offer(self, run: int | None) -> None:
        self.offered = run
        self.folder.visible = run is not None
        if run is None:
            return
        config = self.optimisation.task(run).config
        if self.fields is not None and type(self.fields.config) is type(config):
            self.fields.show(config)
            return
        if self.fields is not None:
            self.fields.remove()
        with self.folder:
            self.fields = ConfigFields(self.session, config)

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        self.both.on_event(event)
