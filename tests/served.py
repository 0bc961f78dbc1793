"""A served viewer and a tab that looks at it over a plain websocket, for tests of panels and of live runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from h3d.app.guard import start_guarded_server
from h3d.app.session import Session, Settings
from h3d.app.viewer import Viewer
from h3d.app.viser_client import View, ViserClient
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.recent import RecentScenes
from h3d.app.workspace.workspace import Workspace

PATIENCE = 120.0


class Served:
    """A workspace that a test fills before it calls `serve`, and a tab from then on; close it."""

    def __init__(self, folder: Path, recent: RecentScenes | None = None) -> None:
        self.folder, self.workspace = folder, Workspace(recent)
        self.optimisation = Optimisation(self.workspace)

    def serve(self) -> None:
        """Start the viewer, and open a tab whose panels all stand."""
        self.guarded = start_guarded_server(port=0)
        folders = AllowedFolders.given([self.folder])
        self.viewer = Viewer(self.guarded.viser, self.workspace, self.optimisation, folders, Settings())
        self.tab = ViserClient(self.guarded.url, View(width=160, height=120))
        # Clicks are bound last.
        self.tab.wait_until(lambda page: page.pointer_modifiers, "the panels were not made", PATIENCE)

    def close(self) -> None:
        self.tab.close()
        self.viewer.close()
        self.optimisation.close()
        self.guarded.stop()

    @property
    def session(self) -> Session:
        return next(iter(self.viewer.sessions.values()))

    def said(self) -> str:
        """The markup of all that panels say."""
        return "\n".join(control.text for control in list(self.tab.page.controls.values()) if control.kind == "Html")


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until it holds; `what` says what is wrong where it never does."""
    deadline, never = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, what
        never.wait(0.01)
