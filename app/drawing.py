"""What one tab shows and how its pictures are made: the `Source` of its render loop."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag

from .figures import compare, images
from .figures.passes import ONE_PASS, GrowingPasses
from .figures.pictures import View
from .render_loop import SCALES, Drawn
from .workspace.events import Measured
from .workspace.runs import RunStatus
from .workspace.scene import Layer, placed

if TYPE_CHECKING:
    from .session import Session

MAX_CANVAS = 2048  # longer sides are rendered smaller and stretched by the browser
MEASURE_HEIGHT = 360
MOVING_MS, MOVING_FIELD_MS = 33.0, 80.0  # what a picture may cost while the camera moves
REFRESH_MS = 1000.0  # a picture of what is being optimised is renewed this often at least


class Drawing:
    """The two views of a tab, and the pictures of what it shows."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._passes = GrowingPasses()
        self._live = {run.layer for run in session.optimisation.statuses() if run.state == "running"}

    def heard(self, status: RunStatus) -> bool:
        """Note whether a run goes on; whether that changes what a picture may cost."""
        before = self._live
        self._live = before - {status.layer} | ({status.layer} if status.state == "running" else set())
        return self._live != before

    def view(self, side: str) -> View:
        """View A or B: which layers, drawn how."""
        session = self._session
        key = session.compare.layer_a if side == "a" else session.compare.layer_b
        if session.compare.mode == "off" or key is None:
            layers = tuple(x for x in session.workspace.layers if x.visible)
        else:
            layers = tuple(replace(x, visible=True) for x in session.workspace.layers if x.key == key)
        if side == "b" or session.compare.mode == "off":  # Compared, A stays as it was.
            layers = tuple(session.pruning.layer(x) for x in layers)
        own = None if side == "a" or session.compare.mode == "off" else session.compare.own_b
        display = session.display if own is None else own.over(session.display)
        photo = self._photo_layer()
        if photo is not None and session.compare.photo is not None:
            if side == "b":
                return View((photo,), replace(display, mode="rgb", exposure=0.0))
            if session.compare.photo.overlay > 0.0:
                layers = (*layers, photo)
        return View(layers, display)

    def _photo_layer(self) -> Layer | None:
        """The photo that is compared with, standing where its run's layer stands."""
        session = self._session
        shown = session.compare.photo
        if shown is None:
            return None
        found = session.photos.field(shown)
        run_layer = next((x for x in session.workspace.layers if x.run == shown.run), None)
        if found is None or run_layer is None:
            return None
        own = {"key": -1, "name": found.remark, "asset": found, "path": None, "sha256": "", "run": None}
        return replace(run_layer, **own, **placed(run_layer.data_place), visible=True)

    def subject(self) -> View | compare.Comparison:
        """What this tab shows: a view, or two compared."""
        settings = self._session.compare
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
        session, own = self._session, self._session.compare.own_b
        if session.compare.photo is not None and (photo := self._photo_layer()) is not None:
            run = next((x.name for x in session.workspace.layers if x.run == session.compare.photo.run), "")
            return photo.name if side == "b" else run
        display = self.view(side).display
        if own is not None and own.cached != session.display.field.cached:
            return "with radiance cache" if display.field.cached else "path tracing alone"
        if own is not None and own.compensated != session.display.compensated and self._shows_networks():
            return "compensated" if display.compensated else "raw"
        name = next((x.name for x in session.workspace.layers if x.key == key), display.mode)
        pruned = side == "b" and key is not None and key == session.pruning.key
        return f"{name}, {session.pruning.cut.keep:.1%} kept" if pruned else name

    def full_size(self) -> tuple[int, int]:
        """See `Source`."""
        camera = self._session.client.camera
        width, height = max(1, camera.image_width), max(1, camera.image_height)
        shrink = min(1.0, MAX_CANVAS / max(width, height))
        return max(1, round(width * shrink)), max(1, round(height * shrink))

    def cost_key(self, *, still: bool) -> object:
        """See `Source`; networks look at still pictures alone."""
        session = self._session
        layers = tuple((x.key, x.visible) for x in session.workspace.layers)
        display, network = session.display, still and self._shows_networks()
        return layers, display.mode, display.shape, session.compare.mode, display.sh_degree, network

    def first_scale(self) -> float:
        """See `Source`."""
        # An untrained field is a fog that rays go all the way through: a picture can cost a hundred times more or less.
        return SCALES[-1] if self._shows_fields() else 0.5

    def _shows_networks(self) -> bool:
        sides = ("a",) if self._session.compare.mode == "off" else ("a", "b")
        views = [view for view in map(self.view, sides) if view.display.compensated]
        assets = (layer.asset for view in views for layer in view.layers)
        return any(isinstance(asset, Gaussians) and asset.compensation is not None for asset in assets)

    def _shows_fields(self) -> bool:
        return any(layer.visible and not isinstance(layer.asset, Gaussians) for layer in self._session.workspace.layers)

    def budget_ms(self, *, still: bool) -> float | None:
        """See `Source`."""
        session = self._session
        if not still:
            return MOVING_FIELD_MS if self._shows_fields() else MOVING_MS
        live = any(layer.visible and layer.key in self._live for layer in session.workspace.layers)
        return max(MOVING_FIELD_MS, REFRESH_MS * (1.0 - session.optimisation.share)) if live else None

    def draw(self, width: int, height: int, *, still: bool, cancel: CancelFlag) -> Drawn:
        """See `Source`."""
        session = self._session
        camera = session.camera(width, height)
        subject, backend = session.selecting.marked(self.subject()), session.settings.backend
        began = time.perf_counter()
        if still:
            self._passes.begin(session.display.path_seconds)
        passes = self._passes if still else ONE_PASS
        with session.optimisation.frames.drawing():
            if isinstance(subject, View):
                drawer = images.painter(subject, camera, quick=not still, passes=passes, cancel=cancel, backend=backend)
                depth = still and (session.gizmo or len(session.overlays) > 0)
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
        unfinished = self._passes.unfinished and self.budget_ms(still=True) is None
        return Drawn(picture, width, height, stats, refines=self._passes.refines, unfinished=unfinished)

    def settled(self, cancel: CancelFlag) -> None:
        """See `Source`."""
        session = self._session
        subject = self.subject()
        if session.compare.photo is not None:
            with session.optimisation.frames.drawing():
                sentence = session.photos.judged(session.compare.photo, cancel)
            session.events.publish(Measured(sentence))
            return
        if len(self._passes.report) > 0:
            parts = [f"{passes:,} passes in {seconds:.1f} s" for passes, seconds in self._passes.report]
            sides = [f"{name}: {part}" for name, part in zip("AB", parts, strict=False)] if len(parts) > 1 else parts
            session.events.publish(Measured(f"{'; '.join(sides)}."))
            return
        if isinstance(subject, View):
            return
        width, height = self.full_size()
        shrink = min(1.0, MEASURE_HEIGHT / height)
        camera = session.camera(max(1, round(width * shrink)), max(1, round(height * shrink)))
        metrics = compare.measure(subject, camera, cancel=cancel, backend=session.settings.backend)
        session.events.publish(Measured(_sentence(metrics)))


def _sentence(metrics: compare.Metrics) -> str:
    psnr = "equal" if math.isinf(metrics.psnr_db) else f"{metrics.psnr_db:.2f} dB"
    counts = (
        f" A: {metrics.count_a:,} Gaussians, {metrics.drawn_a:,} in view; "
        f"B: {metrics.count_b:,}, {metrics.drawn_b:,} in view."
    )
    if math.isfinite(metrics.coverage) and metrics.coverage != 1.0:
        counts += f" B covers {100.0 * metrics.coverage:.1f} % of what A covers."
    return f"PSNR {psnr}, SSIM {metrics.ssim:.4f}.{counts if metrics.count_a + metrics.count_b > 0 else ''}"
