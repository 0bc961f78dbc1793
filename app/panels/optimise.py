"""What is being optimised: start, hold, step, end; how fast it goes, how well, and how the time is shared."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import viser
from viser import uplot

from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.app.workspace.events import Notice, RunChanged, SessionEvent, WorkspaceEvent
from h3d.app.workspace.runs import RunStatus
from h3d.app.workspace.turns import Sharing
from h3d.models.training import METRIC_TEXTS
from h3d.models.training.tasks import KINDS, Model, models_text

from .again import AgainPart
from .handles import ask, note, on_person, on_press, show, table
from .knobs import KnobFolders

NOTHING = "nothing yet"
BY_DATA = "what the data is for"
PLOT_ASPECT = 1.8
SHARINGS = get_args(Sharing)
SHARING_HINT = (
    "Of what goes on at once. Time: as many seconds from now on; steps: as many steps; "
    "clocks: the one whose own time is behind goes on alone until it has caught up."
)
KEEP_HINT = "Metrics, events and checkpoints, as h3d train leaves them; h3d-view FOLDER goes on with it."


class OptimisePanel:
    title = "Optimise"

    def __init__(self, session: Session, opener: Opener) -> None:
        self.session, self.opener, self.optimisation = session, opener, session.optimisation
        self.chosen: int | None = None
        self.knobs = KnobFolders(session)
        self.drawn: tuple[int, int, int] | None = None  # what the plots show: run, points of each
        self.again = AgainPart(session)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        self.run: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Run", (NOTHING,), initial_value=NOTHING)
        on_person(session, self.run, self._choose)
        self.toggle = gui.add_button("Start", color="green", hint="Key K. Holds and goes on; nothing is lost.")
        on_press(session, self.toggle, self.start_or_pause)
        self.single = gui.add_button("One step", hint="Of a run that is held.")
        on_press(session, self.single, self.step)
        self.end = gui.add_button("Stop", color="red", hint="Ends the run for good; what it has learnt stays.")
        on_press(session, self.end, self.stop)
        self.facts = gui.add_html(note("Open a data set, a mesh or a picture to learn from it."))
        self.share = gui.add_slider(
            "Time for training",
            min=0.1,
            max=0.95,
            step=0.05,
            initial_value=self.optimisation.share,
            hint="Share of the time; the rest is for pictures of what is being optimised.",
        )
        on_person(session, self.share, self._set_share)
        self.sharing = gui.add_dropdown(
            "Runs get equal", SHARINGS, initial_value=SHARINGS[0], hint=SHARING_HINT, visible=False
        )
        on_person(session, self.sharing, self._set_sharing)
        self.knobs.build()
        self.loss_plot = self._plot_of("loss", "Loss, by steps", _LOG)
        self.metric_plot = self._plot_of("metric", "Test", _LINEAR)
        with gui.add_folder("How many, how long", expand_by_default=False):
            self.count_plot = self._plot_of("thousands", "Thousands of Gaussians, by steps", _LINEAR)
            self.time_plot = self._plot_of("ms", "Milliseconds a step, by steps", _LINEAR)
        self.again.build()
        with gui.add_folder("Keep the run", expand_by_default=False):
            self.folder = gui.add_text("Folder", "", hint=f"A new folder below {self.opener.folders.text}")
            on_press(session, gui.add_button("Record it there", hint=KEEP_HINT), self._keep)
        with gui.add_folder("New run", expand_by_default=False):
            self.path = gui.add_text("Data", "", hint=f"A path below {self.opener.folders.text}")
            self.words = gui.add_text("Or words", "", hint="To make 3D of, such as: a red mug with blue stripes.")
            self.model = gui.add_dropdown("Learn", (BY_DATA, *KINDS), initial_value=BY_DATA, hint=models_text())
            on_press(session, gui.add_button("Begin"), self._begin)
        self._show()

    def _plot_of(self, name: str, title: str, scales: dict[str, uplot.Scale]) -> viser.GuiUplotHandle:
        empty = (np.zeros(1), np.ones(1))
        return self.session.client.gui.add_uplot(empty, _series(name), title=title, aspect=PLOT_ASPECT, scales=scales)

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        self.again.on_event(event)
        if isinstance(event, RunChanged):
            if self.chosen is None or event.status.step == 0:
                self.chosen = event.status.key
            self._show()
        elif isinstance(event, Notice):
            self._show()

    def start_or_pause(self) -> None:
        """Hold the run, or let it go on."""
        status = self._status()
        if status is not None:
            (self.optimisation.pause if status.state == "running" else self.optimisation.start)(status.key)

    def step(self) -> None:
        """Make one step of a run that is held."""
        status = self._status()
        if status is not None:
            if status.state == "running":
                self.optimisation.pause(status.key)
            self.optimisation.step(status.key)

    def stop(self) -> None:
        """End the run, after asking: it cannot go on then."""
        status = self._status()
        if status is not None:
            text = f"{status.name} stays in the scene as it is at step {status.step:,}; the run cannot go on."
            ask(self.session, "End the run?", text, "End it", lambda: self.optimisation.stop(status.key))

    def _set_share(self, value: float) -> None:
        self.optimisation.share = float(value)

    def _set_sharing(self, label: Sharing) -> None:
        self.optimisation.sharing = label

    def _keep(self) -> None:
        if self.chosen is not None:
            self.opener.keep(self.chosen, self.folder.value)
            self.session.notify("Recording the run", self.folder.value)

    def _begin(self) -> None:
        model: Model | None = next((name for name in KINDS if name == self.model.value), None)
        if self.words.value.strip() and not self.path.value.strip():
            self.opener.words(self.words.value, self.session, model)
        else:
            self.opener.typed(self.path.value, self.session, model)

    def _choose(self, label: str) -> None:
        chosen = next((s for s in self.optimisation.statuses() if _label(s) == label), None)
        self.chosen = None if chosen is None else chosen.key
        self._show()

    def _status(self) -> RunStatus | None:
        return next((s for s in self.optimisation.statuses() if s.key == self.chosen), None)

    def _show(self) -> None:
        statuses, status = self.optimisation.statuses(), self._status()
        labels = tuple(_label(s) for s in statuses) or (NOTHING,)
        if tuple(self.run.options) != labels:
            self.run.options = labels
        live = status is not None and status.state in ("running", "paused")
        for handle in (self.toggle, self.single, self.end):
            handle.disabled = not live
        show(self.session, self.share, self.optimisation.share)
        self.sharing.visible = len(statuses) > 1
        show(self.session, self.sharing, self.optimisation.sharing)
        self.again.follow(self.chosen)
        if status is None:
            return
        show(self.session, self.run, _label(status))
        self.knobs.show(status, live=live)
        self.toggle.label = "Pause" if status.state == "running" else "Start" if status.step <= 1 else "Go on"
        self.facts.content = table(_facts(status))
        self._plot(status)

    def _plot(self, status: RunStatus) -> None:
        shape = (status.key, status.step if len(status.losses) > 0 else 0, len(status.judged))
        if shape == self.drawn:
            return
        self.drawn = shape
        self.count_plot.visible = status.count > 0
        thousands = tuple((step, count / 1000) for step, count in status.counts)
        plots = (self.loss_plot, self.count_plot, self.time_plot)
        for plot, points in zip(plots, (status.losses, thousands, status.milliseconds), strict=True):
            if len(points) > 1:
                steps, values = np.array(points, np.float64).T
                plot.data = (steps, np.maximum(values, 1e-12))  # Of which there is a logarithm.
        name = next(iter(status.judged[0].metrics), None) if status.judged else None
        if name is not None:
            seconds = np.array([judged.seconds for judged in status.judged])
            values = np.array([judged.metrics.get(name, np.nan) for judged in status.judged])
            self.metric_plot.data = (seconds, values)
            self.metric_plot.title = f"{name} over {status.judged[-1].subject}, by seconds"


def _facts(status: RunStatus) -> list[tuple[str, str]]:
    rows = [("state", status.state), ("model", status.model), ("step", f"{status.step:,}")]
    if status.loss is not None:
        rows += [
            ("speed", f"{status.steps_per_second:.1f} steps/s, {100 * status.wall_share:.0f} % of the time"),
            ("trained", f"{status.seconds:.1f} s"),
            ("loss", f"{status.loss:.5g}"),
            _work(status),
        ]
    if status.judged:
        last = status.judged[-1]
        text = ", ".join(METRIC_TEXTS[name].format(value) for name, value in last.metrics.items())
        rows.append(("test", f"{text} at step {last.step:,} ({last.subject})"))
    rows += status.facts.items()
    rows.append(("recorded", "yes" if status.kept else "no; see Keep the run"))
    if status.problem:
        rows.append(("problem", status.problem))
    return rows


def _work(status: RunStatus) -> tuple[str, str]:
    """What the last step was about."""
    if status.count > 0:
        return "Gaussians", f"{status.count:,} ({status.samples:,} visible in the last photo)"
    return "samples", f"{status.samples:,} of {status.rays:,} rays" if status.rays > 0 else f"{status.samples:,}"


def _label(status: RunStatus) -> str:
    return f"{status.key}. {status.name}"


def _series(name: str) -> tuple[uplot.Series, ...]:
    return uplot.Series(label="x"), uplot.Series(label=name, stroke="#4dabf7", width=2)


_LOG = {"x": uplot.Scale(time=False), "y": uplot.Scale(distr=3)}
_LINEAR = {"x": uplot.Scale(time=False), "y": uplot.Scale()}
