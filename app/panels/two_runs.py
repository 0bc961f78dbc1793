"""What is compared, where both sides are runs: what differs in their settings, how far they are, and their curves."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping

from h3d.app.session import Session
from h3d.app.workspace.events import CompareChanged, LayersChanged, RunChanged, SessionEvent, WorkspaceEvent
from h3d.app.workspace.runs import RunStatus
from h3d.app.workspace.two_runs import Axis, Gap, common_metric, curve_of, gap, losses_of
from h3d.models.gaussians import Gaussians
from h3d.models.training import METRIC_TEXTS
from h3d.models.training.settings import differing, text_of, values_of

from .curves import Curve, plot
from .handles import note, on_person, on_press

HINT = "The two that began last: A the earlier one."
NONE = "Where A and B each show the layer of a run, their numbers stand here."
A_COLOR, B_COLOR = "#4dabf7", "#ffa94d"
PLOT_SECONDS = 1.0  # between two updates of the curves


class TwoRunsPart:
    """Part of the Compare panel."""

    def __init__(self, session: Session) -> None:
        self.session, self.optimisation = session, session.optimisation
        self.plotted: object = None  # which points the plots show
        self.plotted_at = 0.0

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        with gui.add_folder("Two runs", expand_by_default=True):
            self.last = gui.add_button("Wipe the last two runs", hint=HINT, visible=False)
            on_press(self.session, self.last, self.wipe)
            self.numbers = gui.add_html(note(NONE))
            self.axis = gui.add_dropdown("Curves over", ("seconds", "steps"), initial_value="seconds", visible=False)
            on_person(self.session, self.axis, lambda _: self._show(at_once=True))
            self.curves = gui.add_html("", visible=False)
        self._show(at_once=True)

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, RunChanged):
            self._show(at_once=False)
        elif isinstance(event, CompareChanged | LayersChanged):
            self._show(at_once=True)

    def wipe(self) -> None:
        """Compare the two runs that began last.

        Raises:
            ValueError: there are not two that show something.
        """
        layers = self._layers()
        shown = [layers[run.key] for run in self.optimisation.statuses() if run.key in layers]
        if len(shown) < 2:
            raise ValueError("two runs are needed; Run again in the Optimise panel begins one beside another")
        self.session.set_compare(mode="wipe", layer_a=shown[-2], layer_b=shown[-1], own_b=None, photo=None)

    def _layers(self) -> dict[int, int]:
        """Keys of layers by the runs that they show."""
        return {layer.run: layer.key for layer in self.session.workspace.layers if layer.run is not None}

    def _pair(self) -> tuple[RunStatus, RunStatus] | None:
        """The runs that A and B show."""
        settings = self.session.compare
        if settings.mode == "off" or settings.photo is not None:
            return None
        runs = {layer.key: layer.run for layer in self.session.workspace.layers}
        statuses = {status.key: status for status in self.optimisation.statuses()}
        a, b = (
            statuses.get(runs.get(key) or -1) if key is not None else None
            for key in (settings.layer_a, settings.layer_b)
        )
        return None if a is None or b is None or a.key == b.key else (a, b)

    def _show(self, *, at_once: bool) -> None:
        pair = self._pair()
        self.last.visible = pair is None and len(self._layers()) > 1
        for handle in (self.axis, self.curves):
            handle.visible = pair is not None
        if pair is None:
            self.numbers.content, self.plotted = note(NONE), None
            return
        a, b = pair
        self.numbers.content = self._table(a, b)
        points = (a.key, b.key, self.axis.value, len(a.judged), len(b.judged), a.losses[-1:], b.losses[-1:])
        now = time.monotonic()
        if points != self.plotted and (at_once or now - self.plotted_at > PLOT_SECONDS):
            self.plotted, self.plotted_at = points, now
            self._draw(a, b, "steps" if self.axis.value == "steps" else "seconds")

    def _table(self, a: RunStatus, b: RunStatus) -> str:
        rows = [("", f"A: {a.name}", f"B: {b.name}")]
        if a.model != b.model:  # Settings of the same name mean other things then.
            rows.append(("model", a.model, b.model))
        else:
            settings = differing(self._settings(a), self._settings(b))
            rows += [
                (name.replace("_", " "), text_of(mine), text_of(other)) for name, (mine, other) in settings.items()
            ]
        first, second = self._facts(a), self._facts(b)
        rows += [(name, first.get(name, ""), second.get(name, "")) for name in {**first, **second}]
        return _columns(rows) + "".join(note(text) for text in _differences(a, b))

    def _settings(self, run: RunStatus) -> Mapping[str, object]:
        """As they began, and as they have been turned since."""
        return values_of(self.optimisation.task(run.key).config) | run.settings

    def _facts(self, run: RunStatus) -> dict[str, str]:
        layer = next((layer for layer in self.session.workspace.layers if layer.run == run.key), None)
        count = f"{len(layer.asset):,}" if layer is not None and isinstance(layer.asset, Gaussians) else "a field"
        last = run.judged[-1] if run.judged else None
        tested = "not yet" if last is None else ", ".join(METRIC_TEXTS[n].format(v) for n, v in last.metrics.items())
        return {
            "state": run.state,
            "step": f"{run.step:,}",
            "its own time": f"{run.seconds:.1f} s",
            "speed": f"{run.steps_per_second:.1f} steps/s",
            "Gaussians": count,
            "loss": "none" if run.loss is None else f"{run.loss:.5g}",
            "test": tested if last is None else f"{tested} at step {last.step:,}",
            "tested on": "" if last is None else last.subject,
            **run.facts,
        }

    def _draw(self, a: RunStatus, b: RunStatus, axis: Axis) -> None:
        losses = [Curve(*losses_of(run, axis), color) for run, color in ((a, A_COLOR), (b, B_COLOR))]
        plots = [plot(f"loss, by {axis}", losses, logarithmic=True)]
        metric = common_metric(a, b)
        if metric is not None:
            found = [Curve(*curve_of(run.judged, metric, axis), color) for run, color in ((a, A_COLOR), (b, B_COLOR))]
            plots.insert(0, plot(f"{metric}, by {axis}", found))
        self.curves.content = "".join(plots)


def _differences(a: RunStatus, b: RunStatus) -> list[str]:
    """How far apart the two are, in sentences that say what was measured."""
    metric = common_metric(a, b)
    if metric is None:
        return ["The two have not both been judged yet by a metric that they share."]
    sentences = [_gap_sentence(gap(a, b, metric, axis), metric, axis) for axis in ("seconds", "steps")]
    if a.judged[-1].subject != b.judged[-1].subject:
        sentences.append("They are tested on different samples: a part of the difference may be that.")
    if a.model != b.model:
        sentences.append("Losses of different models are not of one kind.")
    return sentences


def _gap_sentence(found: Gap | str, metric: str, axis: Axis) -> str:
    where = "At equal time" if axis == "seconds" else "At equal step"
    if isinstance(found, str):
        return f"{where}: {found}."
    at = f"{found.at:.1f} s" if axis == "seconds" else f"{found.at:,.0f}"
    a, b = (METRIC_TEXTS[metric].format(value) for value in (found.a, found.b))
    difference = f"{found.difference:+.2f} dB" if metric == "psnr" else f"{found.difference:+.4g}"
    return f"{where} ({at}): A {a}, B {b}; B - A {difference}."


def _columns(rows: list[tuple[str, str, str]]) -> str:
    """A table of a name and two values as HTML, escaped; the first row is its head."""
    colors = ("inherit", A_COLOR, B_COLOR)
    lines = []
    for number, row in enumerate(rows):
        head = zip(row, colors, strict=True)
        cells = (
            f'<th style="color:{color};text-align:left">{html.escape(text)}</th>'
            if number == 0
            else f"<td>{html.escape(text)}</td>"
            for text, color in head
        )
        lines.append(f'<tr style="vertical-align:top">{"".join(cells)}</tr>')
    style = "font-size:.8em;line-height:1.5;margin:.2em .6em;border-spacing:.8em 0;font-variant-numeric:tabular-nums"
    return f'<table style="{style};margin-left:-.2em">{"".join(lines)}</table>'
