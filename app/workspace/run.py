"""One run of the program: what it learns, how far it is, and where it is written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from h3d.models.hash3d import CacheView
from h3d.models.knobs import Knob, Setting
from h3d.models.training import Judgement, Step, Task

from .runs import Curve, Judged, Rate, RunState, RunStatus
from .scene import Home

JUDGE_SECONDS = 4.0

Change = tuple[int, str, Mapping[str, Any]]
"""What was changed by hand: after which step, what, how."""


class RunRecorder(Protocol):
    """Where a run is written down; `h3d.app.recorder.Recorder` is one. A disk that is full is its own affair."""

    @property
    def problem(self) -> str:
        """What could not be written lately; empty when nothing is owed."""
        ...

    def event(self, step: int, name: str, **details: Any) -> None: ...

    def did(self, step: Step[Any], name: str, **details: Any) -> None: ...

    def record(self, step: Step[Any], found: Judgement | None = None) -> bool: ...

    def save(self, step: Step[Any]) -> None: ...

    def leave(self, asset: Any) -> None: ...


class Run:
    """One task under way. Only the optimisation thread touches it, but for `state` and `single`."""

    def __init__(self, key: int, task: Task[Any], name: str, home: Home | None, steps: Iterator[Step[Any]]) -> None:
        self.key, self.task, self.name, self.home = key, task, name, home
        self.steps = steps
        self.state: RunState = "paused"
        self.single = 0  # steps to make although it is paused
        self.layer: int | None = None
        self.step: Step[Any] | None = None
        self.losses, self.counts, self.milliseconds = Curve(), Curve(), Curve()
        self.clock = Curve()  # its seconds at the same steps
        self.judged: list[Judged] = []
        self.judge_at = JUDGE_SECONDS  # of its own seconds
        self.problem = ""
        self.knobs: Mapping[str, Knob] = {}
        self.facts: Mapping[str, str] = {}
        self.meters: dict[str, Curve] = {}
        self.cache: CacheView | None = None
        self.asked: dict[str, Setting] = {}  # of knobs, not turned yet; written under the optimisation's lock
        self.refused = ""  # why a knob is not where it was last asked to be
        self.log: list[Change] = []
        self.rate = Rate()
        self.recorder: RunRecorder | None = None
        self.data: Path | None = None
        self.told_at = 0.0
        self.shown_step = -1

    @property
    def wants_step(self) -> bool:
        return self.state == "running" or (self.state == "paused" and self.single > 0)

    @property
    def seconds(self) -> float:
        """Of its own steps so far."""
        return 0.0 if self.step is None else self.step.seconds

    def advance(self) -> Step[Any]:
        """Make one step."""
        before, step = self.step, next(self.steps)
        self.step = step
        self.losses.add(step.step, step.loss)
        self.clock.add(step.step, step.seconds)
        if step.count > 0:
            self.counts.add(step.step, step.count)
        if before is not None:
            self.milliseconds.add(step.step, 1e3 * (step.seconds - before.seconds))
        return step

    def look(self) -> None:
        """Read what the trainer tells between two steps."""
        if self.step is not None:
            live = self.step.live
            self.knobs, self.facts, self.cache = live.knobs(), live.facts(), live.cache()
            for name, value in live.meters().items():
                self.meters.setdefault(name, Curve()).add(self.step.step, value)

    def status(self) -> RunStatus:
        step = self.step
        kept = self.recorder is not None
        owed = self.recorder.problem if self.recorder is not None else ""
        problem = "; ".join(text for text in (self.problem or self.refused, owed) if text)
        base = RunStatus(self.key, self.name, self.task.model, self.state, self.layer, kept=kept, problem=problem)
        if step is None:
            return base
        rate, share = self.rate.read()
        return replace(
            base,
            step=step.step,
            seconds=step.seconds,
            steps_per_second=rate,
            wall_share=share,
            loss=step.loss,
            rays=step.rays,
            samples=step.samples,
            count=step.count,
            losses=tuple(self.losses.points),
            counts=tuple(self.counts.points),
            milliseconds=tuple(self.milliseconds.points),
            clock=tuple(self.clock.points),
            judged=tuple(self.judged),
            knobs=self.knobs,
            asked=dict(self.asked),
            facts=self.facts,
            meters={name: tuple(curve.points) for name, curve in self.meters.items()},
            cache=self.cache,
        )
