"""Wires the browser server, the workspace, the tabs' sessions and their panels. No logic of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, cast

import numpy as np
import viser

from .opening import Opener
from .palette import commands, register
from .panels.camera import CameraPanel
from .panels.capture import CapturePanel
from .panels.compare import ComparePanel
from .panels.dataset import DatasetPanel
from .panels.display import DisplayPanel
from .panels.edit import EditPanel
from .panels.field import FieldPanel
from .panels.gizmo import Gizmo
from .panels.help import HelpPanel
from .panels.layers import LayersPanel
from .panels.optimise import OptimisePanel
from .panels.prune import PrunePanel
from .panels.sphere import SpherePanel
from .panels.stats import StatsPanel
from .session import Kept, Session, Settings
from .workspace.events import LayersChanged, WorkspaceEvent
from .workspace.folders import AllowedFolders
from .workspace.optimisation import Optimisation
from .workspace.workspace import Workspace

logger = logging.getLogger(__name__)

DOUBLE_CLICK_SECONDS, DOUBLE_CLICK_DISTANCE = 0.3, 0.02


class Viewer:
    """The program in the browser: one workspace, one session a tab."""

    def __init__(
        self,
        server: viser.ViserServer,
        workspace: Workspace,
        optimisation: Optimisation,
        folders: AllowedFolders,
        settings: Settings,
    ) -> None:
        self.server, self.workspace, self.optimisation, self.settings = server, workspace, optimisation, settings
        self.opener = Opener(workspace, optimisation, folders)
        self.sessions: dict[int, Session] = {}
        self._left: deque[Kept] = deque(maxlen=16)  # of tabs that have gone, for those that come again
        self._lock = threading.Lock()
        self._seen = {layer.key for layer in workspace.layers}
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
        server.gui.main_panel.dock_right()  # Beside the picture, not over it.
        server.scene.set_up_direction(settings.up)
        self._unsubscribe = workspace.events.subscribe(self._on_workspace)
        server.on_client_connect(self._connect)
        server.on_client_disconnect(self._disconnect)

    def close(self) -> None:
        """End all sessions; whoever started the server stops it."""
        self._unsubscribe()
        for session in list(self.sessions.values()):
            session.close()

    def _on_workspace(self, event: WorkspaceEvent) -> None:
        """Tabs that were empty fly to the first scene. One that comes back by undo is found where it was left."""
        if not isinstance(event, LayersChanged):
            return
        new = {layer.key for layer in event.after} - self._seen
        self._seen |= new
        if new and not event.before:
            for session in list(self.sessions.values()):
                session.navigation.reset(seconds=0.0)

    def _connect(self, client: viser.ClientHandle) -> None:
        session = Session(client, self.workspace, self.settings, self.optimisation)
        kept = self._kept_for(client)
        if kept is not None:
            session.resume(kept)
        with self._lock:
            self.sessions[client.client_id] = session
        layers, camera, compare = LayersPanel(session, self.opener), CameraPanel(session), ComparePanel(session)
        capture, optimise = CapturePanel(session, self.opener.folders), OptimisePanel(session, self.opener)
        dataset, field = DatasetPanel(session), FieldPanel(session, self.opener.folders)
        edit, sphere = EditPanel(session, layers), SpherePanel(session, self.opener)
        prune = PrunePanel(session, layers, self.opener)
        table = commands(session, layers, edit, prune, camera, compare, capture, optimise, dataset, field)
        panels = (
            layers,
            edit,
            prune,
            optimise,
            sphere,
            DisplayPanel(session),
            field,
            dataset,
            camera,
            compare,
            capture,
            StatsPanel(session),
            HelpPanel(session, table),
        )
        tabs = client.gui.add_tab_group()
        for panel in panels:
            with tabs.add_tab(panel.title):
                panel.build()
        gizmo = Gizmo(session)
        for panel in (layers, edit, prune, optimise, sphere, dataset, compare, gizmo):
            session.at_close(self.workspace.events.subscribe(panel.on_event))
        for panel in (*panels, gizmo):
            session.events.subscribe(panel.on_event)
        # What was opened or removed while the panels were being made is caught up with here.
        session.select(self.workspace.layers[-1].key if self.workspace.layers else None)
        register(session, table)
        self._bind_clicks(session, sphere)
        if kept is None:
            session.navigation.place_at_start()
        session.start()
        if client.client_id not in self.server.get_clients():  # It left while its panels were being made.
            self._disconnect(client)

    def _kept_for(self, client: viser.ClientHandle) -> Kept | None:
        """The state of the tab that this one was before its connection broke, by the camera that it still stands at.

        A new tab stands where viser puts it, where no tab of ours stays. The old connection may not have ended yet.
        """
        position = client.camera.position
        with self._lock:
            for kept in self._left:
                if np.allclose(kept.position, position):
                    self._left = deque((k for k in self._left if k is not kept), maxlen=self._left.maxlen)
                    return kept
            for session in self.sessions.values():
                if session.navigation.placed and np.allclose(session.client.camera.position, position):
                    return session.kept()
        return None

    def _disconnect(self, client: viser.ClientHandle) -> None:
        with self._lock:
            session = self.sessions.pop(client.client_id, None)
            if session is not None and session.navigation.placed:
                self._left.append(session.kept())
        if session is not None:
            session.close()

    def _bind_clicks(self, session: Session, sphere: SpherePanel) -> None:
        """A click chooses a cell of the sphere, two quick ones set the orbit's pivot; with shift, a click puts the
        wipe's line there, a drag selects."""
        last = (0.0, (0.0, 0.0))

        # Coroutines run in order on the server's own loop; plain functions would race each other through a pool.
        async def plain_click(event: viser.SceneClickEvent) -> None:
            nonlocal last
            (then, (x, y)), now = last, time.monotonic()
            near = abs(event.screen_pos[0] - x) + abs(event.screen_pos[1] - y) < DOUBLE_CLICK_DISTANCE
            last = (now, event.screen_pos)
            session.hands.do(sphere.click, event.ray_origin, event.ray_direction)
            if near and now - then < DOUBLE_CLICK_SECONDS:
                last = (0.0, (0.0, 0.0))
                session.hands.do(session.navigation.pivot_at, *event.screen_pos)

        async def shift_click(event: viser.SceneClickEvent) -> None:
            if session.compare.mode == "wipe":
                (x, y), upright = event.screen_pos, session.compare.orientation == "vertical"
                session.hands.do(lambda: session.set_compare(split=x if upright else y))

        async def shift_drag(event: viser.SceneRectSelectEvent) -> None:
            session.hands.do(session.selecting.rectangle, event.screen_min, event.screen_max)

        session.client.scene.on_rect_select(modifier="shift")(cast(Any, shift_drag))
        session.client.scene.on_click()(cast(Any, plain_click))
        session.client.scene.on_click(modifier="shift")(cast(Any, shift_click))
