"""The one thread that optimises: it steps all running runs in turn (`Turns`) and shows how far they are.

Pictures go first (`FramesFirst`): between two steps the thread waits while one is being drawn, but never long, so that
a person who keeps moving the camera does not stop the run. A new snapshot is made only when a tab has shown the last
one, and not so often that pictures, copying and compressing included, take more than the person gave them: `share` is
the optimisation's part of the time.
Runs are judged on their test data now and then, for at most a tenth of the time. No lock is held while a step runs;
whoever wants something of a run leaves a word that is read before the next step.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from h3d.models.knobs import Setting
from h3d.models.training import Judgement, Step, Task

from .events import LayersChanged, RunChanged, WorkspaceEvent
from .frames_first import FramesFirst
from .run import JUDGE_SECONDS, Change, Run, RunRecorder
from .run_edits import RunEdits
from .runs import Judged, RunState, RunStatus
from .scene import Asset, Home
from .turns import Sharing, Turns
from .workspace import Workspace

logger = logging.getLogger(__name__)

STATUS_SECONDS = 0.2  # between two events of a run that goes on
SOONEST_SNAPSHOT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 0.2  # for pictures, between two steps
JUDGE_SHARE = 0.1
Outcome = TypeVar("Outcome")


class Optimisation:
    """All runs of the program and the thread that steps them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.frames = FramesFirst()
        self.share = 0.85
        """Of the time, what steps get while pictures of a run are shown."""
        self.sharing: Sharing = "time"
        """How runs that go on at once share those steps."""
        self._runs: dict[int, Run] = {}
        self._keys = itertools.count(1)
        self._wake = threading.Condition()
        self._chores: list[Callable[[], object]] = []  # for the thread, between two steps
        self._wanted = True  # a snapshot: no tab is behind
        self._shown_at, self._copying_seconds = 0.0, 0.0  # when snapshots were published, and how long they took
        self._closed = False
        self._thread: threading.Thread | None = None
        self.edits = RunEdits(workspace, self)
        workspace.events.subscribe(self._on_workspace)

    # What panels call; from any thread.

    def begin(
        self,
        task: Task[Any],
        *,
        name: str = "",
        home: Home | None = None,
        resume: Path | None = None,
        running: bool = True,
        recorder: RunRecorder | None = None,
        data: Path | None = None,
        steps: Iterator[Step[Any]] | None = None,
        log: Sequence[Change] = (),
    ) -> int:
        """Start a run; its layer appears with its first step. Returns its key. `data` is what its task was made of.

        `name` tells it apart from other runs of the task; `steps` are taken where they are not the task's own, `log` is
        what has been changed by hand before them.
        """
        made = steps if steps is not None else task.train(resume=resume)
        run = Run(next(self._keys), task, name or task.name, home, made)
        run.recorder, run.data, run.log = recorder, data, list(log)
        run.state = "running" if running else "paused"
        run.single = 0 if running else 1  # One step, so that there is something to look at.
        with self._wake:
            self._runs[run.key] = run
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="optimisation", daemon=True)
                self._thread.start()
            self._wake.notify_all()
        self._tell(run)
        return run.key

    def start(self, key: int) -> None:
        """Let a paused run go on."""
        self._order(key, "running")

    def pause(self, key: int) -> None:
        """Hold a run after the step that it is making."""
        self._order(key, "paused")

    def stop(self, key: int) -> None:
        """End a run for good; its layer stays as it is."""
        self._order(key, "stopped")

    def step(self, key: int) -> None:
        """Make one step of a paused run."""
        run = self._run(key)
        with self._wake:
            run.single += 1
            self._wake.notify_all()

    def change(self, key: int, name: str, value: Setting) -> None:
        """Turn one of a run's knobs from its next step on; what was asked last before it counts.

        Nothing happens where it has no such knob; one that cannot be there is said in the run's status.

        Raises:
            ValueError: the run has ended.
        """
        run = self._run(key)
        with self._wake:
            self._refuse_ended(run)
            run.asked.pop(name, None)  # What was asked last comes last.
            run.asked[name] = value
            self._chores.append(lambda: self._change(run))
            self._wake.notify_all()

    def statuses(self) -> tuple[RunStatus, ...]:
        """All runs, in the order in which they began."""
        return tuple(run.status() for run in list(self._runs.values()))

    def task(self, key: int) -> Task[Any]:
        """What a run learns. Raises: KeyError when there is no such run."""
        return self._run(key).task

    def data(self, key: int) -> Path | None:
        """What a run's task was made of, where that is known. Raises: KeyError when there is no such run."""
        return self._run(key).data

    def keep(self, key: int, recorder: RunRecorder) -> None:
        """Record the run from now on; its checkpoint is written at once, after the step that is being made."""
        run = self._run(key)
        with self._wake:
            self._chores.append(lambda: self._keep(run, recorder))
            self._wake.notify_all()

    def between_steps(self, key: int, what: Callable[[Run], Outcome]) -> Outcome:
        """Do something with a run in the optimisation's thread, and wait for what comes of it, errors included.

        Not for that thread itself, nor for who holds what it may want. Raises: ValueError when the program ends.
        """
        run, done = self._run(key), Future[Outcome]()

        def act() -> None:
            try:
                done.set_result(what(run))
            except Exception as error:  # noqa: BLE001 - it is raised again where it was asked for.
                done.set_exception(error)

        with self._wake:
            if self._closed:
                raise ValueError("the program is ending; nothing more is done")
            self._chores.append(act)
            self._wake.notify_all()
        return done.result()

    def want_snapshot(self) -> None:
        """A tab has shown what there was: it would like to see more."""
        if not self._wanted:
            with self._wake:
                self._wanted = True
                self._wake.notify_all()

    def close(self) -> None:
        """End the thread after the step that it is making."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    # The thread.

    def _loop(self) -> None:
        turns = Turns()
        while (runs := self._next_runs()) is not None:
            if len(runs) > 0:
                told = next((run for run in runs if run.single > 0), None)
                run = told or turns.pick(runs, self.sharing)
                before, first = run.seconds, run.step is None
                self._advance(run)
                # The clock of a run that goes on does not begin with its first step here.
                turns.took(run.key, 0.0 if first else run.seconds - before)
        for chore in self._chores:  # What was asked for before the end is done, and nobody waits in vain.
            chore()

    def _next_runs(self) -> list[Run] | None:
        """Runs that want a step, waiting until there are some; None = closed."""
        with self._wake:
            while not self._closed:
                chores, self._chores = self._chores, []
                if chores:
                    break
                if runs := [run for run in self._runs.values() if run.wants_step]:
                    return runs
                self._wake.wait()
            else:
                return None
        for chore in chores:
            chore()
        return []

    def _advance(self, run: Run) -> None:
        self.frames.wait(LONGEST_WAIT_SECONDS)
        run.single = max(run.single - 1, 0)
        began = time.monotonic()
        try:
            step = run.advance()
        except Exception as error:  # noqa: BLE001 - whatever ends one run must not end the others.
            self._fail(run, error)
            return
        run.rate.add(began, time.monotonic() - began)
        run.problem = step.problem or run.problem
        self._show(run)
        found = self._judge(run) if step.seconds >= run.judge_at and run.layer is not None else None
        if run.recorder is not None:
            self._write(run, lambda recorder, step: recorder.record(step, found))
        if time.monotonic() - run.told_at > STATUS_SECONDS or run.state != "running":
            run.look()
            self._tell(run)

    def _show(self, run: Run) -> None:
        """Give layers their newest snapshots, when somebody waits for them and it is time.

        All runs that have gone on are shown at once: one picture then has the news of both sides of a comparison.
        """
        assert run.step is not None
        share = min(self.share, 0.99)
        cost = self._copying_seconds + self.frames.last_seconds
        pause = max(SOONEST_SNAPSHOT_SECONDS, cost * share / (1.0 - share))
        due = self._wanted and time.monotonic() - self._shown_at > pause
        held = run.state != "running" and run.single == 0
        if run.layer is None:
            run.shown_step, self._wanted = run.step.step, False
            run.layer = self.workspace.add(run.name, run.step.snapshot(), run=run.key, home=run.home).key
        elif due or held:
            self._show_newest(list(self._runs.values()) if due else [run])

    def _show_newest(self, runs: Sequence[Run]) -> None:
        began, assets = time.monotonic(), dict[int, Asset]()
        for run in runs:
            if run.step is not None and run.layer is not None and run.shown_step != run.step.step:
                run.shown_step, assets[run.layer] = run.step.step, run.step.snapshot()
        if len(assets) > 0:
            self._wanted = False
            self.workspace.show_progress(assets)
            self._shown_at = time.monotonic()
            self._copying_seconds = self._shown_at - began

    def _judge(self, run: Run) -> Judgement | None:
        """Measure the run quickly, and say when to do it next."""
        assert run.step is not None
        began = time.monotonic()
        try:
            found = run.task.judge(run.step.snapshot(), quick=True)
        except Exception as error:
            logger.exception("a run could not be judged")
            run.problem, run.judge_at = f"not judged: {error}", float("inf")
            return None
        run.judged.append(Judged(run.step.step, run.step.seconds, found.metrics, found.subject))
        took = time.monotonic() - began
        run.judge_at = run.step.seconds + max(JUDGE_SECONDS, took / JUDGE_SHARE)
        return found

    def _write(self, run: Run, what: Callable[[RunRecorder, Step[Any]], object]) -> None:
        """Record something, where the run is recorded."""
        if run.recorder is not None and run.step is not None:
            what(run.recorder, run.step)

    def _fail(self, run: Run, error: Exception) -> None:
        if not isinstance(error, (ValueError, OSError, RuntimeError)):  # Those are sentences for the person.
            logger.exception("run %s failed", run.name)
        run.state, run.problem = "failed", str(error) or type(error).__name__
        self._tell(run)

    def _change(self, run: Run) -> None:
        """Turn the knobs as they were asked to be."""
        with self._wake:
            asked = dict(run.asked)
        if len(asked) == 0:
            return  # They were turned together with an earlier one.
        for name, value in asked.items():
            run.look()  # One knob may bring others.
            if run.step is not None and name in run.knobs and run.knobs[name].value != value:
                self._turn(run, run.step, name, value)
            with self._wake:
                if run.asked.get(name) == value:
                    del run.asked[name]
        run.look()
        self._tell(run)

    def _turn(self, run: Run, step: Step[Any], name: str, value: Setting) -> None:
        try:
            step.live.change(name, value)
        except (ValueError, OSError) as error:
            run.refused = f"not changed: {error}"
            return
        run.refused = ""
        self.note(run, "change", {name: value})

    def note(self, run: Run, name: str, details: Mapping[str, Any]) -> None:
        """Something was changed by hand, between two steps; for the optimisation's thread alone."""
        assert run.step is not None
        run.log.append((run.step.step, name, details))
        self._write(run, lambda recorder, step: recorder.did(step, name, **details))
        if run.state != "running":  # No later step will leave what it has changed.
            self._write(run, lambda recorder, step: recorder.leave(step.snapshot()))

    def _keep(self, run: Run, recorder: RunRecorder) -> None:
        run.recorder = recorder
        for at, name, details in run.log:  # Without them what is recorded would not be how it was made.
            self._write(run, lambda recorder, _, at=at, name=name, of=details: recorder.event(at, name, **of))
        self._write(run, lambda recorder, step: recorder.event(step.step, "kept"))
        self._save(run)
        self._tell(run)

    def _save(self, run: Run) -> None:
        """Checkpoint and asset, so that nothing is lost whatever comes next."""

        def write(recorder: RunRecorder, step: Step[Any]) -> None:
            recorder.save(step)
            recorder.leave(step.snapshot())

        self._write(run, write)

    def _order(self, key: int, state: RunState) -> None:
        run = self._run(key)
        with self._wake:
            self._refuse_ended(run)
            run.state = state
            self._chores.append(lambda: self._settle(run, state))
            self._wake.notify_all()
        self._tell(run)

    def _refuse_ended(self, run: Run) -> None:
        if run.state in ("stopped", "failed"):
            raise ValueError(f"{run.name}: the run has {run.state}; start a new one")

    def _settle(self, run: Run, state: RunState) -> None:
        """What goes with an order, between two steps."""
        if run.step is None:
            return
        self._write(run, lambda recorder, step: recorder.event(step.step, state))
        if state != "running":
            self._show(run)  # As far as it went, though nobody may have asked yet.
            self._save(run)

    def _on_workspace(self, event: WorkspaceEvent) -> None:
        """A run whose layer was removed is held; undo brings the layer back, and the run can go on."""
        if isinstance(event, LayersChanged):
            gone = {x.run for x in event.before} - {x.run for x in event.after}
            for run in list(self._runs.values()):
                if run.key in gone and run.state == "running":
                    self.pause(run.key)

    def _run(self, key: int) -> Run:
        if key not in self._runs:
            raise KeyError(f"run {key} is gone")
        return self._runs[key]

    def _tell(self, run: Run) -> None:
        run.told_at = time.monotonic()
        self.workspace.events.publish(RunChanged(run.status()))
