"""One browser tab: its camera, its display settings, its comparison and its render loop.

Layers are shared and live in the workspace; all that is here belongs to this tab alone. The session is what the render
loop draws from, and what the panels call.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import viser

from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag
from h3d.renderers.cameras import Camera

from .figures import compare, images
from .figures.display import Display
from .figures.passes import ONE_PASS, GrowingPasses
from .figures.pictures import Backend, View
from .hands import Hands
from .navigation import Navigation
from .photos import Photos
from .pruning import Pruning
from .render_loop import SCALES, Drawn, RenderLoop
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
    Measured,
    Notice,
    RunChanged,
    SessionEvent,
    WorkspaceEvent,
)
from .workspace.optimisation import Optimisation
from .workspace.runs import RunStatus
from .workspace.scene import Layer, placed
from .workspace.workspace import Workspace

logger = logging.getLogger(__name__)

MAX_CANVAS = 2048  # longer sides are rendered smaller and stretched by the browser
MEASURE_HEIGHT = 360
MOVING_MS, MOVING_FIELD_MS = 33.0, 80.0  # what a picture may cost while the camera moves
REFRESH_MS = 1000.0  # a picture of what is being optimised is renewed this often at least
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
        self._live = {run.layer for run in optimisation.statuses() if run.state == "running"}
        self.hands = Hands(self.refuse)
        self.navigation = Navigation(self, settings.up)
        self.passes = GrowingPasses()
        self.screen = Screen(self)
        self.loop = RenderLoop(self, self.screen)
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
        full_width, full_height = self.full_size()
        return self.navigation.camera().resized(width or full_width, height or full_height)

    # What is drawn: `Source` of the render loop.

    def view(self, side: str) -> View:
        """View A or B: which layers, drawn how."""
        key = self.compare.layer_a if side == "a" else self.compare.layer_b
        if self.compare.mode == "off" or key is None:
            layers = tuple(x for x in self.workspace.layers if x.visible)
        else:
            layers = tuple(replace(x, visible=True) for x in self.workspace.layers if x.key == key)
        if side == "b" or self.compare.mode == "off":  # Compared, A stays as it was.
            layers = tuple(self.pruning.layer(x) for x in layers)
        own = None if side == "a" or self.compare.mode == "off" else self.compare.own_b
        display = self.display if own is None else own.over(self.display)
        photo = self._photo_layer()
        if photo is not None and self.compare.photo is not None:
            if side == "b":
                return View((photo,), replace(display, mode="rgb", exposure=0.0))
            if self.compare.photo.overlay > 0.0:
                layers = (*layers, photo)
        return View(layers, display)

    def _photo_layer(self) -> Layer | None:
        """The photo that is compared with, standing where its run's layer stands."""
        shown = self.compare.photo
        if shown is None:
            return None
        found = self.photos.field(shown)
        run_layer = next((x for x in self.workspace.layers if x.run == shown.run), None)
        if found is None or run_layer is None:
            return None
        own = {"key": -1, "name": found.remark, "asset": found, "path": None, "sha256": "", "run": None}
        return replace(run_layer, **own, **placed(run_layer.data_place), visible=True)

    def subject(self) -> View | compare.Comparison:
        """What this tab shows: a view, or two compared."""
        settings = self.compare
        if settings.mode == "off":
            return self.view("a")
        return compare.Comparison(
            self.view("a"),
            self.view("b"),
            settings.mode,
            split=settings.split,
            orientation=settings.orientation,
            show=settings.show,
            labels=(self._side_name(settings.layer_a, "a"), self._side_name(settings.layer_b, "b")),
        )

    def _side_name(self, key: int | None, side: str) -> str:
        """What tells the side apart: its layer, else how it is drawn."""
        if self.compare.photo is not None and (photo := self._photo_layer()) is not None:
            run = next((x.name for x in self.workspace.layers if x.run == self.compare.photo.run), "")
            return photo.name if side == "b" else run
        display = self.view(side).display
        if self.compare.own_b is not None and self.compare.own_b.cached != self.display.field.cached:
            return "with radiance cache" if display.field.cached else "path tracing alone"
        if self.compare.own_b is not None and self.compare.own_b.compensated != self.display.compensated:
            return "compensated" if display.compensated else "raw"
        name = next((x.name for x in self.workspace.layers if x.key == key), display.mode)
        pruned = side == "b" and key is not None and key == self.pruning.key
        return f"{name}, {self.pruning.cut.keep:.1%} kept" if pruned else name

    def full_size(self) -> tuple[int, int]:
        width, height = max(1, self.client.camera.image_width), max(1, self.client.camera.image_height)
        shrink = min(1.0, MAX_CANVAS / max(width, height))
        return max(1, round(width * shrink)), max(1, round(height * shrink))

    def cost_key(self) -> object:
        layers = tuple((x.key, x.visible) for x in self.workspace.layers)
        return layers, self.display.mode, self.display.shape, self.compare.mode, self.display.sh_degree

    def first_scale(self) -> float:
        # An untrained field is a fog that rays go all the way through: a picture can cost a hundred times more or less.
        return SCALES[-1] if self._shows_fields() else 0.5

    def _shows_fields(self) -> bool:
        return any(layer.visible and not isinstance(layer.asset, Gaussians) for layer in self.workspace.layers)

    def budget_ms(self, *, still: bool) -> float | None:
        if not still:
            return MOVING_FIELD_MS if self._shows_fields() else MOVING_MS
        live = any(layer.visible and layer.key in self._live for layer in self.workspace.layers)
        return max(MOVING_FIELD_MS, REFRESH_MS * (1.0 - self.optimisation.share)) if live else None

    def draw(self, width: int, height: int, *, still: bool, cancel: CancelFlag) -> Drawn:
        camera = self.camera(width, height)
        subject, backend = self.selecting.marked(self.subject()), self.settings.backend
        began = time.perf_counter()
        if still:
            self.passes.begin(self.display.path_seconds)
        passes = self.passes if still else ONE_PASS
        with self.optimisation.frames.drawing():
            if isinstance(subject, View):
                drawer = images.painter(subject, camera, quick=not still, passes=passes, cancel=cancel, backend=backend)
                depth = still and (self.gizmo or len(self.overlays) > 0)
            else:
                drawer = compare.painter(
                    subject, camera, quick=not still, passes=passes, cancel=cancel, backend=backend
                )
                depth = False
            picture = drawer.picture(depth=depth, cancel=cancel)
        stats = {**(picture.stats or {}), "total_ms": 1e3 * (time.perf_counter() - began)}
        if not still:
            return Drawn(picture, width, height, stats)
        # While something is being optimised its own pace decides when there is a next picture.
        unfinished = self.passes.unfinished and self.budget_ms(still=True) is None
        return Drawn(picture, width, height, stats, refines=self.passes.refines, unfinished=unfinished)

    def settled(self, cancel: CancelFlag) -> None:
        subject = self.subject()
        if self.compare.photo is not None:
            with self.optimisation.frames.drawing():
                sentence = self.photos.judged(self.compare.photo, cancel)
            self.events.publish(Measured(sentence))
            return
        if len(self.passes.report) > 0:
            parts = [f"{passes:,} passes in {seconds:.1f} s" for passes, seconds in self.passes.report]
            sides = [f"{name}: {part}" for name, part in zip("AB", parts, strict=False)] if len(parts) > 1 else parts
            self.events.publish(Measured(f"{'; '.join(sides)}."))
            return
        if isinstance(subject, View):
            return
        width, height = self.full_size()
        shrink = min(1.0, MEASURE_HEIGHT / height)
        camera = self.camera(max(1, round(width * shrink)), max(1, round(height * shrink)))
        metrics = compare.measure(subject, camera, cancel=cancel, backend=self.settings.backend)
        self.events.publish(Measured(_sentence(metrics)))

    def _on_workspace(self, event: WorkspaceEvent) -> None:
        match event:
            case AssetReplaced():
                self.loop.request("step")
            case RunChanged(status):
                self._on_run(status)
            case LayersChanged():
                self._on_layers(event)

    def _on_run(self, status: RunStatus) -> None:
        before = set(self._live)
        self._live = self._live - {status.layer} | ({status.layer} if status.state == "running" else set())
        if self._live != before:
            self.loop.request("settle")  # It has a budget while something is being optimised, and none afterwards.

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


def _sentence(metrics: compare.Metrics) -> str:
    psnr = "equal" if math.isinf(metrics.psnr_db) else f"{metrics.psnr_db:.2f} dB"
    counts = (
        f" A: {metrics.count_a:,} Gaussians, {metrics.drawn_a:,} in view; "
        f"B: {metrics.count_b:,}, {metrics.drawn_b:,} in view."
    )
    if math.isfinite(metrics.coverage) and metrics.coverage != 1.0:
        counts += f" B covers {100.0 * metrics.coverage:.1f} % of what A covers."
    return f"PSNR {psnr}, SSIM {metrics.ssim:.4f}.{counts if metrics.count_a + metrics.count_b > 0 else ''}"
