"""One run without a screen, from its first step or the last checkpoint to the step where it is enough."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3d.models.training import Judgement, Progress, Step, Task
from h3d.models.training.checkpoints import progress_of

from .recorder import AUTOSAVE_SECONDS, Recorder
from .replay import Recording
from .run_folder import RunFolder

DEFAULT_STEPS = 5000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """How long to go on, and when to look."""

    data: Path | None  # what the task was made of; None = words
    steps: int | None = None  # None with no minutes = the default
    minutes: float | None = None
    evaluate_minutes: float | None = None
    autosave_seconds: float = AUTOSAVE_SECONDS
    default_steps: int = DEFAULT_STEPS


class RunToTheEnd:
    """Steps until it is enough, judged when it is time; may end with the asset for who wants more of it."""

    def __init__(
        self, asked: Asked, task: Task[Any], run: RunFolder, progress: Progress, recording: Recording | None = None
    ) -> None:
        self.asked, self.task, self.folder, self.progress = asked, task, run, progress
        self.recording, self.warned = recording, ""
        self.recorder = Recorder(run, task, autosave_seconds=asked.autosave_seconds)
        enough = asked.default_steps if recording is None else recording.end
        self.steps = asked.steps if asked.steps is not None or asked.minutes is not None else enough
        self.next_evaluation = 60.0 * (asked.evaluate_minutes or float("inf"))
        self.resume: Path | None = None

    def begin(self, *, resume: bool) -> None:
        """Prepares the folder.

        Raises:
            ValueError: there is a run already, or the one to resume is far enough.
        """
        if not resume:
            replayed = {} if self.recording is None else {"replay": str(self.recording.folder.path.resolve())}
            self.recorder.begin(self.asked.data, steps=self.steps, minutes=self.asked.minutes, **replayed)
            return
        if self.folder.checkpoint.exists():
            at = progress_of(self.folder.checkpoint)
            if self._reached(at.step, at.seconds):
                raise ValueError(
                    f"{self.folder.path}: the run is at step {at.step:,}, {at.seconds / 60:.1f} minutes already; "
                    f"ask for more --steps or --minutes"
                )
        self.resume = self.recorder.go_on()

    def run(self) -> tuple[Judgement, Step[Any]]:
        """How good it has become, and its last step.

        Raises:
            OSError: something could not be written.
            RuntimeError: the training went astray.
        """
        event = "start" if self.resume is None else "resume"
        for step in self.task.train(resume=self.resume):
            if event:
                self.recorder.event(step.step - 1, event, steps=self.steps, minutes=self.asked.minutes)
                event = ""
            self._replay(step)
            if self._reached(step.step, step.seconds):
                return self._end(step), step
            found = self._judge(step) if step.seconds >= self.next_evaluation else None
            if self.recorder.record(step, found):
                self._tell(step, found)
            self._warn(step)
        raise AssertionError("a trainer's steps have no end of their own")

    def _replay(self, step: Step[Any]) -> None:
        """Do what was done to the recorded run after this step."""
        if self.recording is not None:
            for deed in self.recording.after(step.step):
                self.recording.do(deed, step)
                self.recorder.did(step, deed.name, **deed.details)

    def _end(self, step: Step[Any]) -> Judgement:
        """Judges, leaves what was learnt, and saves last: a run that is killed here goes on and ends again."""
        self._warn(step)
        found = self._judge(step, final=True)
        self.recorder.record(step, found, autosave=False)
        self._tell(step, found)
        self.recorder.event(step.step, "end", seconds=step.seconds, **found.metrics)
        self.recorder.save(step)
        self.recorder.finish()
        return found

    def _tell(self, step: Step[Any], found: Judgement | None) -> None:
        more = "" if found is None else f", {found.sentence}"
        self.progress(f"step {step.step:,}, {step.seconds:.0f} s, loss {step.loss:.5g}{more}")

    def _warn(self, step: Step[Any]) -> None:
        """Says what went wrong in the step, and once what cannot be written."""
        if step.problem:
            log.warning("%s", step.problem)
        problem = self.recorder.problem
        if problem and problem != self.warned:
            log.warning("%s", problem)
        self.warned = problem

    def _reached(self, step: int, seconds: float) -> bool:
        minutes = self.asked.minutes
        return (self.steps is not None and step >= self.steps) or (minutes is not None and seconds >= 60.0 * minutes)

    def _judge(self, step: Step[Any], *, final: bool = False) -> Judgement:
        """How good it is by now; the asset and a picture of it are left in the folder."""
        asset = step.snapshot()
        every = 60.0 * (self.asked.evaluate_minutes or float("inf"))
        while self.next_evaluation <= step.seconds:
            self.next_evaluation += every
        found = self.task.judge(asset, progress=self.progress)
        self.recorder.leave(asset, found, final=final)
        return found
