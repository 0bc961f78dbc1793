"""Proves edits by hand of Gaussians that are being learnt: they act on the rows that there are, are taken back whole,
are written down and made again to the bit, and placing moves all that is shown while the training does not notice."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.gaussians import ROW_FIELDS, Gaussians
from h3d.models.selection import All, Rows, Selection, Sphere
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.training.edits import Delete, Place, Restore, RowEdit, edit_from_json, edit_to_json
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining, train
from h3d.models.training.gaussians_state import GaussiansState
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.live import FIXED, replay_edit
from h3d.models.training.pinhole_photos import pinhole_photos

SMALL = GaussiansTraining(initial_points=400, cap=1500, sh_interval=100, sh_degree=1)
PLACE = Similarity((0.8, 0.1, -0.5, 0.3), (1.0, -2.0, 0.5), 2.5)
HALF = Selection().then("add", Sphere((0.0, 0.0, 1.5), 1.6))


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> PosedImages:
    return datasets.read(write_posed_ball(tmp_path_factory.mktemp("ball"), size=32))


def trainer_of(ball: PosedImages, **settings) -> tuple[GaussiansTrainer, GaussiansState]:
    trainer = GaussiansTrainer(ball, replace(SMALL, **settings), pinhole_photos(ball, ball.train, 1))
    return trainer, trainer.start()


def advance(trainer: GaussiansTrainer, state: GaussiansState, steps: int) -> None:
    for _ in range(steps):
        trainer.advance(state)


def assert_same(a: Gaussians, b: Gaussians) -> None:
    for name in ROW_FIELDS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_undo_brings_rows_and_moments_back_after_a_thousand_steps_with_refinement(ball: PosedImages, strategy: str):
    trainer, state = trainer_of(ball, strategy=strategy)
    advance(trainer, state, 120)
    back = state.edit(Delete(HALF))
    assert isinstance(back, Restore) and 50 < back.rows.count < 350
    places = state.rows.find(back.rows.array)
    before = {name: group.keep(places) for name, group in state.rows.groups.items()}
    first_born = state.rows.next_id
    advance(trainer, state, 1000)
    assert state.rows.next_id > first_born + 50, "nothing was refined"
    assert not bool(torch.isin(trainer.snapshot(state).ids, back.rows.array).any())
    assert isinstance(state.edit(back), Delete)
    assert bool(torch.isin(back.rows.array, trainer.snapshot(state).ids).all())
    places = state.rows.find(back.rows.array)
    for name, group in state.rows.groups.items():
        for key, array in group.keep(places).tensors("").items():
            assert torch.equal(array, before[name].tensors("")[key]), (name, key)


def test_deleted_rows_are_as_if_they_were_not_there(ball: PosedImages):
    for strategy in ("default", "mcmc"):
        trainer, state = trainer_of(ball, strategy=strategy)
        other = trainer.start()
        other.rows.keep(~HALF.mask(trainer.snapshot(other)))
        state.edit(Delete(HALF))
        results = [trainer.advance(one) for one in (state, other)]
        assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
        assert results[0].samples == results[1].samples, "rows without a gradient are not counted"
        kept = state.rows.find(other.rows.ids)
        for name in state.rows.groups:
            # Noise of MCMC is drawn for all rows.
            if not (strategy == "mcmc" and name == "means"):
                torch.testing.assert_close(state.rows.values(name)[kept], other.rows.values(name), msg=name)
        gone = state.rows.deleted
        assert all(not bool(group.first[gone].any()) for group in state.rows.groups.values())


def test_a_crop_takes_what_was_born_since_the_person_looked_and_ids_take_themselves(ball: PosedImages):
    trainer, state = trainer_of(ball)
    advance(trainer, state, 590)
    seen = trainer.snapshot(state)
    chosen = Rows.of(seen.ids[HALF.mask(seen)])
    advance(trainer, state, 20)
    later = trainer.snapshot(state)
    born = ~torch.isin(later.ids, seen.ids) & HALF.mask(later)
    assert int(born.sum()) > 0, "nothing was born there: the test says nothing"
    by_ids = state.edit(Delete(Selection().then("add", chosen)))
    assert bool(HALF.mask(trainer.snapshot(state)).any()), "ids leave what was born"
    state.edit(by_ids)
    state.edit(Delete(HALF))
    assert not bool(HALF.mask(trainer.snapshot(state)).any())
    with pytest.raises(ValueError, match="Gaussians are meant; leave some to learn from"):
        state.edit(Delete(Selection().then("add", All())))


def test_an_undo_restores_what_its_edit_deleted_and_no_more(ball: PosedImages):
    trainer, state = trainer_of(ball)
    first = state.edit(Delete(Selection().then("add", Rows(((0, 9),)))))
    second = state.edit(Delete(Selection().then("add", Rows(((5, 19),)))))
    assert isinstance(second, Restore) and second.rows.ids == ((10, 19),)
    redo = state.edit(second)
    assert sorted(set(range(400)) - set(trainer.snapshot(state).ids.tolist())) == list(range(10))
    state.edit(redo)
    state.edit(first)
    assert sorted(set(range(400)) - set(trainer.snapshot(state).ids.tolist())) == list(range(10, 20))


def test_placing_moves_what_is_shown_and_the_training_goes_on_bit_for_bit(ball: PosedImages):
    (trainer, state), (_, other) = trainer_of(ball), trainer_of(ball)
    task = GaussiansTask(ball, SMALL)
    advance(trainer, state, 150)
    advance(trainer, other, 150)
    back = state.edit(Place(PLACE))
    assert back == Place(IDENTITY)
    advance(trainer, state, 20)
    advance(trainer, other, 20)
    here, there = trainer.snapshot(other), trainer.snapshot(state)
    torch.testing.assert_close(
        there.means.double(), here.means.double() @ torch.from_numpy(PLACE.matrix[:3, :3].T)
        + torch.tensor(PLACE.position, dtype=torch.float64), atol=1e-5, rtol=1e-5,
    )  # fmt: skip
    assert there.frame == PLACE and not torch.equal(there.sh[:, 1:], here.sh[:, 1:]), "harmonics turn along"
    judged = [task.judge(rows).metrics["psnr"] for rows in (here, there)]
    assert judged[0] == pytest.approx(judged[1], abs=1e-3), "photos' cameras go along"
    one = [task.judge_photo(rows, ball.test[0]).psnr for rows in (here, there)]
    assert one[0] == pytest.approx(one[1], abs=1e-3)
    # A crop is meant where rows are shown.
    state.edit(Delete(HALF.moved(PLACE)))
    other.edit(Delete(HALF))
    assert torch.equal(state.rows.deleted, other.rows.deleted)
    assert state.edit(back) == Place(PLACE)
    assert_same(trainer.snapshot(state), trainer.snapshot(other))


def test_edits_that_are_written_down_and_made_again_give_the_same_run(ball: PosedImages, tmp_path: Path):
    edits: dict[int, RowEdit] = {
        40: Delete(HALF.inverted),
        45: Place(PLACE),
        50: Delete(Selection().then("add", Rows(((0, 7), (20, 20))))),
    }
    log: list[str] = []
    finals = []
    for replayed in (False, True):
        written = dict(map(json.loads, log)) if replayed else {}
        steps = train(ball, SMALL)
        step = next(steps)
        for step in islice(steps, 79):
            if replayed and step.step in written:
                replay_edit(step.live, written[step.step])
            elif not replayed and step.step in edits:
                back = step.live.edit(edits[step.step])
                log.append(json.dumps([step.step, edit_to_json(edits[step.step])]))
                if step.step == 50:
                    edits[60] = back
            if step.step == 55 and not replayed:
                step.checkpoint(tmp_path / "c.safetensors")
        finals.append(step.snapshot())
    assert_same(*finals)
    assert finals[0].frame == PLACE
    steps = train(ball, SMALL, resume=tmp_path / "c.safetensors")
    step = next(steps)
    for step in islice(steps, 24):
        if step.step == 60:
            step.live.edit(edits[60])
    assert_same(step.snapshot(), finals[0])


def test_what_is_written_of_an_edit_is_whole_or_refused():
    for edit in (Delete(HALF.inverted), Restore(Rows(((1, 4), (9, 9)))), Place(PLACE)):
        assert edit_from_json(json.loads(json.dumps(edit_to_json(edit)))) == edit
    with pytest.raises(ValueError, match="the action is 'paint'; must be delete, restore or place"):
        edit_from_json({"action": "paint"})
    with pytest.raises(ValueError, match="is not whole"):
        edit_from_json({"action": "restore"})
    with pytest.raises(ValueError, match="what is trained here has no rows"):
        FIXED.edit(Place(PLACE))


def test_a_checkpoint_of_before_there_were_edits_goes_on(ball: PosedImages, tmp_path: Path):
    trainer, state = trainer_of(ball)
    advance(trainer, state, 3)
    trainer.save(tmp_path / "c.safetensors", state)
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file  # Its header keeps what ours says.

    with safe_open(tmp_path / "c.safetensors", "pt") as stored:
        header = stored.metadata()
    tensors = load_file(tmp_path / "c.safetensors")
    del tensors["frame"]
    save_file(tensors, tmp_path / "c.safetensors", header)
    again = trainer.load(tmp_path / "c.safetensors")
    assert again.frame == IDENTITY and again.step == 3
    assert np.isfinite(again.rows.means.numpy()).all()
