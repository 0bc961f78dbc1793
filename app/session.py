"""One browser tab: its camera, its display settings, its comparison and its render loop.

Layers are shared and live in the workspace; all that is here belongs to this tab alone. The session is what the panels
call; what it shows is drawn by `drawing`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import viser

from h3d.renderers.cameras import Camera

from .drawing import Drawing
from .figures.display import Display
from .figures.pictures import Backend
from .hands import Hands
from .navigation import Navigation
from .photos import Photos
from .pruning import Pruning
from .render_loop import RenderLoop
from .screen import Screen
from .selecting import Selecting
from .workspace.comparing import CompareSettings
from .workspace.events import (
    AssetReplaced,
    Channel,
    CompareChanged,
    DisplayChanged,
    FrameAcknowledged,
    LayersChanged,
    LayerSelected,
    Notice,
    RunChanged,
    SessionEvent,
    WorkspaceEvent,
)
from .workspace.optimisation import Optimisation
from .workspace.scene import Layer
from .workspace.workspace import Workspace

logger = logging.getLogger(__name__)

COLORS: dict[str, Literal["blue", "yellow", "red"]] = {"info": "blue", "warning": "yellow", "error": "red"}


@dataclass(frozen=True)
class Settings:
    """What the command line decides for all tabs."""

    backend: Backend = "auto"
    display: Display = Display(background=(0.09, 0.09, 0.1))  # Black would swallow the outline of dark scenes.
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)
    up_is_given: bool = False  # else a scene that knows its own way up is stood upright by it
    camera: Camera | None = None  # where new tabs begin; None = the whole scene in view


@dataclass(frozen=True)
class Kept:
    """What a tab gets back when its connection broke and it comes again."""

    position: np.ndarray  # [3] of its camera, by which it is known again
    display: Display
    compare: CompareSettings
    up: np.ndarray
    bookmarks: dict[str, Camera]


class Session:
    """The state of one tab and the methods that its panels call. Subscribe to `events` to hear of changes."""

    def __init__(
        self, client: viser.ClientHandle, workspace: Workspace, settings: Settings, optimisation: Optimisation
    ) -> None:
        self.client, self.workspace, self.settings, self.optimisation = client, workspace, settings, optimisation
        self.events: Channel[SessionEvent] = Channel()
        self.display = settings.display
        self.compare = CompareSettings()
        self.selected: int | None = workspace.layers[-1].key if workspace.layers else None
        self.gizmo = False
        self.overlays: frozenset[str] = frozenset()  # what the browser itself draws into the scene, by name
        self.photos = Photos(workspace, optimisation)
        self.hands = Hands(self.refuse)
        self.navigation = Navigation(self, settings.up)
        self.screen = Screen(self)
        self.drawing = Drawing(self)
        self.loop = RenderLoop(self.drawing, self.screen)
        self._closing = threading.Lock()
        self._closed = False
        self._at_close: list[Callable[[], object]] = []
        self.at_close(workspace.events.subscribe(self._on_workspace))
        self.loop.on_acknowledged = self._acknowledged
        self.selecting = Selecting(self)
        self.pruning = Pruning(self)

    def start(self) -> None:
        """Begin to draw; nothing happens if the tab is gone already."""

        @self.client.camera.on_update
        async def _(_: viser.CameraHandle) -> None:
            self.loop.request("move")

        with self._closing:
            if self._closed:
                return
            self.loop.start()
        self.loop.request("change")

    def at_close(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the tab is gone; at once if it is."""
        with self._closing:
            if not self._closed:
                self._at_close.append(stop)
                return
        stop()

    def close(self) -> None:
        """The tab is gone: end what runs for it."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        for stop in self._at_close:
            stop()
        self.hands.close()
        self.navigation.stop()
        self.loop.close()
        self.screen.close()

    @property
    def closed(self) -> bool:
        """Whether the tab is gone."""
        return self._closed

    def kept(self) -> Kept:
        """What would be missed if the connection broke now."""
        position = np.array(self.client.camera.position, np.float64)
        return Kept(position, self.display, self.compare, self.navigation.up, self.navigation.bookmarks)

    def resume(self, kept: Kept) -> None:
        """Go on as before the connection broke. For a session that has not started."""
        self.display, self.compare = kept.display, kept.compare
        self.navigation.resume(kept.up, kept.bookmarks)

    def _acknowledged(self, latency_ms: float) -> None:
        self.events.publish(FrameAcknowledged(latency_ms))
        self.optimisation.want_snapshot()

    # What the panels call.

    def set_display(self, **changes: object) -> None:
        """Change display settings of this tab."""
        before, self.display = self.display, replace(self.display, **changes)  # pyright: ignore[reportArgumentType]
        if self.display != before:
            self.events.publish(DisplayChanged(before, self.display))
            self.loop.request("change")

    def set_compare(self, **changes: object) -> None:
        """Change the comparison of this tab."""
        before, self.compare = self.compare, replace(self.compare, **changes)  # pyright: ignore[reportArgumentType]
        if self.compare != before:
            self.events.publish(CompareChanged(before, self.compare))
            self.loop.request("change")

    def set_overlay(self, name: str, shown: bool) -> None:
        """Say that the browser draws something into the scene: depth is sent along then, to hide it rightly."""
        self.overlays = self.overlays | {name} if shown else self.overlays - {name}
        self.loop.request("change")

    def selected_layer(self) -> Layer | None:
        """The layer that the panel edits."""
        return next((x for x in self.workspace.layers if x.key == self.selected), None)

    def select(self, key: int | None, *, gizmo: bool | None = None) -> None:
        """Make a layer the one that the panel edits, and show or hide its gizmo."""
        self.selected = key
        self.gizmo = self.gizmo if gizmo is None else gizmo
        self.events.publish(LayerSelected(self.selected, self.gizmo))
        self.loop.request("change")

    def notify(self, title: str, body: str = "", kind: Literal["info", "warning", "error"] = "info") -> None:
        """Show a notification in this tab."""
        self.events.publish(Notice(title, body, kind))
        if self._closed:  # What a thread of its own says afterwards nobody can read.
            return
        seconds = 12.0 if kind == "error" else 5.0
        self.client.add_notification(title, body, auto_close_seconds=seconds, color=COLORS[kind])

    def refuse(self, error: Exception) -> None:
        """Tell the person why what they asked for was not done; panels show again what stands."""
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        self.notify("Not done", text or type(error).__name__, "error")

    def camera(self, width: int | None = None, height: int | None = None) -> Camera:
        """The tab's camera, for a picture of the canvas's size or of another."""
        full_width, full_height = self.drawing.full_size()
        return self.navigation.camera().resized(width or full_width, height or full_height)

    def _on_workspace(self, event: WorkspaceEvent) -> None:
        match event:
            case AssetReplaced():
                self.loop.request("step")
            case RunChanged(status):
                if self.drawing.heard(status):
                    self.loop.request("settle")  # It has a budget while something is being optimised.
            case LayersChanged():
                self._on_layers(event)

    def _on_layers(self, event: LayersChanged) -> None:
        keys = {layer.key for layer in event.after}
        if self.selected not in keys:
            self.select(event.after[-1].key if event.after else None)
        # A side whose layer is gone shows everything again, and says so.
        sides = {"layer_a": self.compare.layer_a, "layer_b": self.compare.layer_b}
        gone = {side: None for side, key in sides.items() if key is not None and key not in keys}
        if gone:
            self.set_compare(**gone)
        self.loop.request("change")
