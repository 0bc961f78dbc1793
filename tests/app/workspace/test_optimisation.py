"""Proves the optimisation thread: runs take turns, give way to pictures, hold, step, end and fail on their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from analytic_fields import BallField

from h3d.app.workspace.beside import begin_beside
from h3d.app.workspace.events import AssetReplaced, LayersChanged, RunChanged
from h3d.app.workspace.frames_first import FramesFirst
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.runs import Curve
from h3d.app.workspace.turns import Sharing
from h3d.app.workspace.workspace import Workspace
from h3d.models.knobs import Knob, Setting
from h3d.models.training import Judgement, Step
from h3d.models.training.live import Live

PATIENCE = 30.0


@dataclass
class Growing:
    """A task whose ball grows by a tenth with every step; steps can be held back, and can fail."""

    name: str = "growing"
    model: str = "hash_grid"
    config: Any = None
    metrics: tuple[str, ...] = ("psnr",)
    remarks: tuple[str, ...] = ()
    fail_at: int = -1
    gate: threading.Event = field(default_factory=threading.Event)
    made: list[int] = field(default_factory=list)
    step_seconds: float = 0.001  # what its clock counts for a step
    bold: bool = False  # a setting that may change as it goes
    changed_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def train(self, *, resume: Path | None = None) -> Iterator[Step[BallField]]:
        step = 0
        while True:
            assert self.gate.wait(PATIENCE)
            step += 1
            if step == self.fail_at:
                raise RuntimeError("the loss is nan at step 3")
            self.made.append(step)
            radius = 0.1 * step
            yield Step(
                *(step, self.step_seconds * step, 1.0 / step, 0, 1),
                lambda radius=radius: BallField(radius),
                _no_checkpoint,
                live=Live(
                    lambda: {"bold": Knob(self.bold)},
                    self._change,
                    lambda step=step: {"bold since": f"{len(self.changed_at)} changes, at {step}"},
                ),
            )

    def _change(self, name: str, value: Setting) -> None:
        assert name == "bold" and isinstance(value, bool)
        self.bold = value
        self.changed_at.append(self.made[-1])

    def judge(self, asset: BallField, *, quick: bool = False, progress=None, cancel=None) -> Judgement:
        return Judgement({"psnr": asset.radius}, "a ball")


@dataclass(frozen=True)
class Config:
    """Of a `Growing` in tests that begin it twice."""

    seed: int = 0
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rate <= 0.0:
            raise ValueError(f"rate {self.rate}: must be above 0")


def _no_checkpoint(path: Path) -> None:
    raise AssertionError(f"{path}: recorders of these tests keep no files")


class Scene:
    """A workspace with an optimisation, and all that was heard of it."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self.optimisation = Optimisation(self.workspace)
        self.heard: list[object] = []
        self.changed = threading.Condition()
        self.workspace.events.subscribe(self._hear)

    def _hear(self, event: object) -> None:
        with self.changed:
            self.heard.append(event)
            self.changed.notify_all()
        if isinstance(event, AssetReplaced | LayersChanged):
            self.optimisation.want_snapshot()  # A tab that shows every picture at once.

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, self.heard[-3:]
                self.changed.wait(min(left, 0.02))


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.optimisation.close()


def test_a_run_gets_a_layer_with_its_first_step_and_shows_newer_snapshots(scene: Scene):
    key = scene.optimisation.begin(Growing())
    scene.until(lambda: len([e for e in scene.heard if isinstance(e, AssetReplaced)]) >= 2)
    (layer,) = scene.workspace.layers
    assert layer.run == key and layer.name == "growing"
    assert isinstance(layer.asset, BallField) and layer.asset.radius > 0.15
    added = [e for e in scene.heard if isinstance(e, LayersChanged)]
    assert len(added) == 1, "snapshots are no edits"
    assert scene.workspace.undo() == "add growing" and scene.workspace.undo() is None


def test_a_run_that_is_held_makes_the_steps_it_is_told_to_and_no_other(scene: Scene):
    task = Growing()
    key = scene.optimisation.begin(task, running=False)
    scene.until(lambda: len(scene.workspace.layers) == 1)
    assert task.made == [1], "one, so that there is something to look at"
    for wanted in (2, 3):
        scene.optimisation.step(key)
        scene.until(lambda wanted=wanted: scene.optimisation.statuses()[0].step == wanted)
    assert task.made == [1, 2, 3]
    scene.optimisation.start(key)
    scene.until(lambda: len(task.made) > 5)
    scene.optimisation.pause(key)
    scene.until(lambda: _radius(scene) == pytest.approx(0.1 * len(task.made)))
    assert scene.optimisation.statuses()[0].state == "paused"


def _radius(scene: Scene) -> float:
    asset = scene.workspace.layers[0].asset
    assert isinstance(asset, BallField)
    return asset.radius


def steps_after(scene: Scene, slow: Growing, fast: Growing, sharing: Sharing) -> tuple[int, int]:
    """How many steps each has made, when both have gone on together for a while."""
    scene.optimisation.sharing = sharing
    for task in (slow, fast):
        task.gate.clear()
        scene.optimisation.begin(task)
    for task in (slow, fast):
        task.gate.set()
    scene.until(lambda: len(slow.made) + len(fast.made) > 400)
    for task in (slow, fast):
        task.gate.clear()
    found = len(slow.made), len(fast.made)
    for task in (slow, fast):
        task.gate.set()
    return found


def test_two_runs_have_equal_time_by_their_own_clocks(scene: Scene):
    slow, fast = Growing("slow", step_seconds=0.03), Growing("fast", step_seconds=0.01)
    few, many = steps_after(scene, slow, fast, "time")
    assert many == pytest.approx(3 * few, abs=6), "a step of the one is worth three of the other"
    a, b = scene.optimisation.statuses()
    assert a.seconds == pytest.approx(0.03 * a.step) and b.seconds == pytest.approx(0.01 * b.step)


def test_two_runs_have_equal_steps_where_that_is_wanted(scene: Scene):
    few, many = steps_after(scene, Growing("slow", step_seconds=0.03), Growing("fast", step_seconds=0.01), "steps")
    assert abs(many - few) <= 2


def test_while_one_of_two_is_held_its_clock_stands_and_the_other_has_all(scene: Scene):
    held, other = Growing("held"), Growing("other")
    key = scene.optimisation.begin(held)
    scene.optimisation.begin(other)
    scene.until(lambda: len(held.made) > 20)
    scene.optimisation.pause(key)
    scene.optimisation.between_steps(key, lambda run: None)  # The step under way is done.
    stood, before = scene.optimisation.statuses()[0], len(other.made)
    scene.until(lambda: len(other.made) > before + 200)
    again = scene.optimisation.statuses()[0]
    assert (again.step, again.seconds) == (stood.step, stood.seconds)
    first, second = len(held.made), len(other.made)
    scene.optimisation.start(key)
    scene.until(lambda: len(held.made) > first + 100)
    assert len(other.made) - second > 50, "what it missed is not made up for"


def test_both_runs_are_shown_at_once_so_that_a_picture_has_the_news_of_both(scene: Scene):
    a, b = Growing("a"), Growing("b")
    scene.optimisation.begin(a)
    scene.optimisation.begin(b)
    scene.until(lambda: len(scene.workspace.layers) == 2)
    scene.until(lambda: len([e for e in scene.heard if isinstance(e, AssetReplaced)]) >= 12)
    keys = [e.key for e in scene.heard if isinstance(e, AssetReplaced)][2:12]
    assert keys[::2] == [keys[0]] * 5 and keys[1::2] == [keys[1]] * 5 and keys[0] != keys[1]


def test_a_run_begins_beside_another_with_what_differs_in_its_name(scene: Scene):
    task = Growing(config=Config())
    key = scene.optimisation.begin(task, data=Path("photos"))
    other = begin_beside(scene.optimisation, key, {"rate": 0.5, "seed": 0})
    scene.until(lambda: len(scene.workspace.layers) == 2)
    assert [layer.name for layer in scene.workspace.layers] == ["growing", "growing (rate 0.5)"]
    assert scene.optimisation.task(other).config == Config(rate=0.5) and task.config == Config()
    assert scene.optimisation.data(other) == Path("photos")
    with pytest.raises(ValueError, match="rate -1.0: must be above 0"):
        begin_beside(scene.optimisation, key, {"rate": -1.0})
    assert len(scene.optimisation.statuses()) == 2


def test_a_run_that_fails_says_why_and_the_others_go_on(scene: Scene):
    bad, good = Growing("bad", fail_at=3), Growing("good")
    scene.optimisation.begin(bad)
    scene.optimisation.begin(good)
    scene.until(lambda: any(isinstance(e, RunChanged) and e.status.state == "failed" for e in scene.heard))
    failed = next(s for s in scene.optimisation.statuses() if s.name == "bad")
    assert failed.problem == "the loss is nan at step 3" and failed.step == 2
    before = len(good.made)
    scene.until(lambda: len(good.made) > before + 5)
    with pytest.raises(ValueError, match="the run has failed; start a new one"):
        scene.optimisation.start(failed.key)


def test_a_stopped_run_leaves_its_layer_and_cannot_go_on(scene: Scene):
    task = Growing()
    key = scene.optimisation.begin(task)
    scene.until(lambda: len(task.made) > 3)
    scene.optimisation.stop(key)
    scene.until(lambda: _radius(scene) == pytest.approx(0.1 * len(task.made)))
    with pytest.raises(ValueError, match="the run has stopped"):
        scene.optimisation.start(key)


def test_removing_the_layer_holds_the_run_and_undo_lets_it_go_on_from_there(scene: Scene):
    task = Growing()
    key = scene.optimisation.begin(task)
    scene.until(lambda: len(scene.workspace.layers) == 1 and len(task.made) > 3)
    scene.workspace.remove(scene.workspace.layers[0].key)
    scene.until(lambda: scene.optimisation.statuses()[0].state == "paused")
    scene.workspace.undo()
    scene.optimisation.start(key)
    made = len(task.made)
    scene.until(lambda: _radius(scene) > 0.1 * made)


def test_undo_of_an_edit_does_not_take_the_training_back(scene: Scene):
    task = Growing()
    key = scene.optimisation.begin(task)
    scene.until(lambda: len(scene.workspace.layers) == 1)
    scene.workspace.change(scene.workspace.layers[0].key, "rename", name="other")
    made = len(task.made)
    scene.until(lambda: _radius(scene) > 0.1 * (made + 3))
    scene.optimisation.pause(key)
    scene.until(lambda: _radius(scene) == pytest.approx(0.1 * len(task.made)))
    scene.workspace.undo()
    assert scene.workspace.layers[0].name == "growing"
    assert _radius(scene) == pytest.approx(0.1 * len(task.made))


def test_without_a_tab_that_looks_no_snapshots_are_made():
    workspace = Workspace()
    optimisation = Optimisation(workspace)
    heard: list[object] = []
    workspace.events.subscribe(heard.append)
    task = Growing()
    optimisation.begin(task)
    deadline = time.monotonic() + PATIENCE
    while len(task.made) < 2000 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    optimisation.close()
    assert len(task.made) >= 2000
    assert not any(isinstance(event, AssetReplaced) for event in heard)


class Notes:
    """Keeps what it is told."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.events: list[tuple[int, str]] = []
        self.details: list[dict[str, Any]] = []
        self.rows: list[int] = []
        self.saved: list[int] = []
        self.left: list[float] = []

    def event(self, step: int, name: str, **details: Any) -> None:
        self.events.append((step, name))
        self.details.append(details)

    def did(self, step: Step[BallField], name: str, **details: Any) -> None:
        self.event(step.step, name, **details)

    def record(self, step: Step[BallField], found: Judgement | None = None) -> bool:
        self.rows.append(step.step)
        return True

    def save(self, step: Step[BallField]) -> None:
        self.saved.append(step.step)

    def leave(self, asset: BallField) -> None:
        self.left.append(asset.radius)


def test_a_kept_run_is_recorded_step_by_step_and_saved_when_it_is_held(scene: Scene):
    task, notes = Growing(), Notes()
    key = scene.optimisation.begin(task)
    scene.until(lambda: len(task.made) > 5)
    scene.optimisation.keep(key, notes)
    scene.until(lambda: len(notes.rows) > 5)
    scene.optimisation.pause(key)
    scene.until(lambda: len(notes.saved) == 2)
    assert notes.events[0][1] == "kept" and notes.events[-1] == (task.made[-1], "paused")
    assert notes.rows == list(range(notes.rows[0], task.made[-1] + 1))
    assert notes.saved[-1] == task.made[-1] and notes.left[-1] == pytest.approx(0.1 * task.made[-1])


def test_a_setting_changes_between_two_steps_and_is_recorded_even_from_before_the_recording(scene: Scene):
    task, notes = Growing(), Notes()
    key = scene.optimisation.begin(task)
    scene.until(lambda: len(task.made) > 2)
    scene.optimisation.change(key, "bold", True)
    scene.until(lambda: scene.optimisation.statuses()[0].settings == {"bold": True})
    scene.until(lambda: scene.optimisation.statuses()[0].facts.get("bold since", "").startswith("1 changes"))
    scene.optimisation.pause(key)
    scene.optimisation.change(key, "bold", True)  # As it is: no change.
    scene.optimisation.change(key, "tall", True)  # There is no such setting.
    scene.optimisation.keep(key, notes)
    scene.until(lambda: len(notes.saved) == 1)
    scene.optimisation.change(key, "bold", False)
    scene.until(lambda: not scene.optimisation.statuses()[0].settings["bold"])
    scene.until(lambda: notes.details[-1] != {})
    first, last = task.changed_at
    assert [e for e in notes.events if e[1] == "change"] == [(first, "change"), (last, "change")]
    assert [d for d in notes.details if d] == [{"bold": True}, {"bold": False}]
    assert last == task.made[-1]
    scene.optimisation.stop(key)
    with pytest.raises(ValueError, match="the run has stopped; start a new one"):
        scene.optimisation.change(key, "bold", True)


def test_of_many_values_between_two_steps_the_last_one_counts(scene: Scene):
    task, notes = Growing(), Notes()
    key = scene.optimisation.begin(task, recorder=notes)
    scene.until(lambda: len(task.made) > 2)
    task.gate.clear()  # A step that takes long.
    scene.until(lambda: scene.optimisation.statuses()[0].step == task.made[-1])
    for value in (True, False, True, False, True):
        scene.optimisation.change(key, "bold", value)
    task.gate.set()
    scene.until(lambda: len(task.changed_at) > 0)
    made = len(task.made)
    scene.until(lambda: len(task.made) > made + 3)
    assert [d for d in notes.details if d] == [{"bold": True}] and scene.optimisation.statuses()[0].asked == {}


def test_what_cannot_be_written_is_said_as_long_as_it_is_owed(scene: Scene):
    task, notes = Growing(), Notes("the checkpoint could not be written")
    scene.optimisation.begin(task, recorder=notes)
    scene.until(lambda: len(task.made) > 20)
    status = scene.optimisation.statuses()[0]
    assert status.state == "running" and status.kept
    assert status.problem == "the checkpoint could not be written"
    notes.problem = ""
    assert scene.optimisation.statuses()[0].problem == ""


def test_no_step_begins_while_a_picture_is_drawn_but_the_wait_is_bounded():
    frames = FramesFirst()
    with frames.drawing():
        start = time.monotonic()
        frames.wait(0.05)
        assert time.monotonic() - start >= 0.05
    start = time.monotonic()
    frames.wait(10.0)
    assert time.monotonic() - start < 5.0
    assert frames.last_seconds >= 0.05


def test_a_curve_stays_short_and_keeps_the_mean():
    curve = Curve()
    for step in range(1, 10_001):
        curve.add(step, float(step % 2))
    assert len(curve.points) <= Curve.LIMIT
    assert all(loss == pytest.approx(0.5) for _, loss in curve.points)
    assert curve.points[-1][0] > 9_000
