"""Proves edits by hand of a run in its thread: they wait until they stand, are undone in order with all other edits of
the scene, are written down with their step, and leave nobody waiting when the run or the program ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from learnt_rows import some_gaussians

from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.scene import placed
from h3d.app.workspace.workspace import Workspace
from h3d.models.gaussians import Gaussians
from h3d.models.selection import All, Rows, Selection
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import TrainedGaussians
from h3d.models.training import Judgement, Step
from h3d.models.training.gaussians_config import GaussiansTraining
from h3d.models.training.gaussians_state import GaussiansState
from h3d.models.training.live import Live
from h3d.models.training.photo_fit import PhotoFit

PATIENCE = 30.0
PLACE = Similarity((0.8, 0.0, 0.6, 0.0), (1.0, -2.0, 0.5), 2.0)
FIRST = Selection().then("add", Rows(((0, 9),)))


class Task:
    """Thirty rows and no learning; steps can be held back, and can fail."""

    name, model, config, metrics, remarks = "still", "gaussians", None, ("psnr",), ()

    def __init__(self) -> None:
        self.gate, self.fails = threading.Event(), False
        self.gate.set()
        self.made = 0
        rows, fit = TrainedGaussians.of(some_gaussians(30)), PhotoFit.of(torch.zeros(1, 3), 1.0)
        self.state = GaussiansState(rows, GaussiansTraining(), torch.Generator(), torch.zeros(0), fit)

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
        state = self.state
        while True:
            assert self.gate.wait(PATIENCE)
            self.made += 1
            if self.fails:
                raise RuntimeError("the loss is nan")
            yield Step(
                *(self.made, 0.001, 1.0, 0, 1),
                state.gaussians,
                lambda path: None,
                live=Live(edit=state.edit),
            )

    def judge(self, asset: Gaussians, *, quick: bool = False, progress=None, cancel=None) -> Judgement:
        return Judgement({"psnr": 1.0}, "nothing")


class Notes:
    def __init__(self) -> None:
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.saved, self.problem = 0, ""

    def did(self, step: Step[Any], name: str, **details: Any) -> None:
        self.event(step.step, name, **details)

    def event(self, step: int, name: str, **details: Any) -> None:
        self.events.append((step, name, details))

    def record(self, step: Step[Any], found: Judgement | None = None) -> bool:
        return False

    def save(self, step: Step[Any]) -> None:
        self.saved += 1

    def leave(self, asset: Any) -> None:
        pass


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


class Scene:
    def __init__(self) -> None:
        self.workspace, self.task = Workspace(), Task()
        self.optimisation = Optimisation(self.workspace)
        self.key = self.optimisation.begin(self.task)  # type: ignore[arg-type]
        until(lambda: len(self.workspace.layers) == 1)

    @property
    def layer(self):
        return self.workspace.layers[0]

    @property
    def rows(self) -> Gaussians:
        assert isinstance(self.layer.asset, Gaussians)
        return self.layer.asset

    @property
    def ids(self) -> list[int]:
        return self.rows.ids.tolist()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.task.gate.set()
    made.optimisation.close()


@pytest.mark.parametrize("held", [False, True])
def test_an_edit_stands_when_it_returns_and_is_undone_and_done_again(scene: Scene, held: bool):
    if held:
        scene.optimisation.pause(scene.key)
    assert scene.optimisation.edits.delete(scene.key, "delete from still", FIRST) == 10
    assert scene.ids == list(range(10, 30)), "the layer shows it, whether or not anybody waits for a picture"
    assert scene.workspace.undo() == "delete from still" and scene.ids == list(range(30))
    assert scene.workspace.redo() == "delete from still" and scene.ids == list(range(10, 30))
    made = scene.task.made
    if not held:
        until(lambda: scene.task.made > made + 5)
    assert scene.optimisation.statuses()[0].state == ("paused" if held else "running")


def test_edits_of_runs_and_of_layers_are_undone_in_their_order(scene: Scene):
    edits, workspace = scene.optimisation.edits, scene.workspace
    edits.delete(scene.key, "first", FIRST)
    workspace.change(scene.layer.key, "rename", name="other")
    edits.delete(scene.key, "second", Selection().then("add", Rows(((5, 14),))))
    assert scene.ids == list(range(15, 30))
    assert [workspace.undo() for _ in range(2)] == ["second", "rename"]
    assert scene.ids == list(range(10, 30)) and scene.layer.name == "still"
    assert workspace.undo() == "first" and scene.ids == list(range(30))
    assert [workspace.redo() for _ in range(3)] == ["first", "rename", "second"]
    assert scene.ids == list(range(15, 30)) and scene.layer.name == "other"


def test_baking_moves_rows_and_place_in_one_change_and_undo_moves_them_back(scene: Scene):
    workspace, heard = scene.workspace, []
    scene.optimisation.pause(scene.key)
    scene.optimisation.between_steps(scene.key, lambda run: None)  # After what goes with holding it.
    before = scene.rows
    workspace.change(scene.layer.key, "place", **placed(PLACE))
    workspace.events.subscribe(heard.append)
    for _ in range(2):
        scene.optimisation.edits.bake(scene.key, "bake still")
        assert scene.layer.place == IDENTITY and scene.rows.frame == PLACE == scene.layer.data_place
        expected = before.means.double() @ torch.from_numpy(PLACE.matrix[:3, :3].T)
        torch.testing.assert_close(
            scene.rows.means.double(), expected + torch.tensor(PLACE.position, dtype=torch.float64)
        )
        assert len(heard) == 1, "no picture shows the one without the other"
        assert workspace.undo() == "bake still"
        assert scene.layer.place == PLACE and torch.equal(scene.rows.means, before.means)
        workspace.redo()
        assert scene.layer.place == IDENTITY
        workspace.undo()
        heard.clear()
    assert workspace.undo() == "place" and scene.layer.place == IDENTITY


def test_every_edit_is_written_down_with_its_step_even_from_before_the_recording(scene: Scene):
    notes = Notes()
    scene.optimisation.edits.delete(scene.key, "early", FIRST)
    scene.optimisation.keep(scene.key, notes)
    scene.workspace.undo()
    scene.optimisation.edits.delete(scene.key, "none", Selection().then("add", Rows(((77, 77),))))
    edits = [(step, details) for step, name, details in notes.events if name == "edit"]
    assert [details["action"] for _, details in edits] == ["delete", "restore"]
    assert edits[0][1]["selection"] == [{"how": "add", "shape": "rows", "ids": ((0, 9),)}]
    assert edits[1][1]["ids"] == ((0, 9),) and 1 <= edits[0][0] <= edits[1][0] <= scene.task.made


def test_what_cannot_be_done_is_a_sentence_and_leaves_the_history_as_it_was(scene: Scene):
    edits, workspace = scene.optimisation.edits, scene.workspace
    with pytest.raises(ValueError, match="all 30 Gaussians are meant"):
        edits.delete(scene.key, "all", Selection().then("add", All()))
    edits.delete(scene.key, "some", FIRST)
    assert edits.run_of(scene.layer) == scene.key
    scene.task.fails = True
    until(lambda: scene.optimisation.statuses()[0].state == "failed")
    assert edits.run_of(scene.layer) is None, "its layer is at rest"
    for _ in range(2):
        with pytest.raises(ValueError, match="the run has failed, its rows are no longer learnt"):
            workspace.undo()
    assert workspace.redo() is None


def test_a_stopped_run_can_still_be_edited_and_a_copy_of_its_layer_is_at_rest(scene: Scene):
    scene.optimisation.stop(scene.key)
    copy = scene.workspace.duplicate(scene.layer.key)
    assert scene.optimisation.edits.run_of(copy) is None
    assert scene.optimisation.edits.delete(scene.key, "late", FIRST) == 10
    assert len(scene.ids) == 20 and len(scene.workspace.layer(copy.key).asset) == 30  # type: ignore[arg-type]


def test_who_waits_while_the_program_ends_gets_an_answer(scene: Scene):
    scene.task.gate.clear()
    made = scene.task.made
    until(lambda: scene.task.made >= made)
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(scene.optimisation.edits.delete(scene.key, "last", FIRST))
        except ValueError as error:
            answers.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    ending = threading.Thread(target=scene.optimisation.close)
    ending.start()
    scene.task.gate.set()
    for thread in (asking, ending):
        thread.join(PATIENCE)
    assert answers in ([10], ["the program is ending; nothing more is done"])
    with pytest.raises(ValueError, match="the program is ending"):
        scene.optimisation.edits.delete(scene.key, "too late", FIRST)
