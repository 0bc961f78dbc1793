"""Proves `h3d train --replay`: a run whose knobs were turned is done again bit for bit, also one that was killed and
went on; and the sentence for each recording that cannot be done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from posed_ball import write_posed_ball

from h3d.app import recorder
from h3d.app.recorder import Recorder
from h3d.app.run_folder import RunFolder
from h3d.app.train_verb import TrainConfig, train
from h3d.models.formats.tensors import read_header, read_safetensors
from h3d.models.selection import Rows, Selection
from h3d.models.training.edits import EVENT, Delete, Restore, edit_to_json
from h3d.models.training.tasks import open_task

Turns = Mapping[int, Mapping[str, Any]]
"""Of knobs, by the step after which they are turned."""
GAUSSIANS: Turns = {
    3: {"means_rate": 1e-3, "default.refine_start": 4, "default.refine_every": 5, "cap": 700},
    7: {"downscale": 2, "sh_interval": 4, "background": "random"},
    9: {"ssim_share": 0.5, "default.grow_grad2d": 1e-5, "antialiased": True},
    14: {"strategy": "mcmc"},
    16: {"mcmc.refine_start": 1, "mcmc.refine_every": 4, "mcmc.noise_rate": 1e4, "scale_pull": 0.1},
    24: {"downscale": 1, "sh_degree": 1},
}
FIELD: Turns = {3: {"learning_rate": 2e-3, "background": "white"}, 5: {"refine_cameras": True}}


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("ball"), cameras=8, test_cameras=2, size=32)


def by_hand(data: Path, run: Path, model: str, settings: Mapping[str, Any], turns: Turns, end: int) -> None:
    """What the viewer does with a run that is kept from its start: steps, and turns between them, recorded."""
    task = open_task(data, model, settings)  # type: ignore[arg-type]
    written = Recorder(RunFolder(run), task)
    written.begin(data)
    go_on(task, written, None, turns, end)


def go_on(task: Any, written: Recorder, resume: Path | None, turns: Turns, end: int, save_at: int = 0) -> None:
    for step in task.train(resume=resume):
        written.record(step)
        if step.step == save_at:
            written.save(step)
        for name, value in turns.get(step.step, {}).items():
            step.live.change(name, value)
            written.did(step, "change", **{name: value})
        if step.step == end:
            if save_at == 0:
                written.event(step.step, "stopped")
                written.save(step)
                written.leave(step.snapshot())
            return


def state_of(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    header = read_header(run / "checkpoint.safetensors")
    _, tensors = read_safetensors(run / "checkpoint.safetensors", header["format"])
    return {name: value for name, value in header.items() if name != "seconds"}, tensors


def assert_alike(one: Path, other: Path, asset: str) -> None:
    (first, tensors), (second, others) = state_of(one), state_of(other)
    assert first == second
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
    assert (one / asset).read_bytes() == (other / asset).read_bytes()


def changes(run: Path) -> list[dict[str, Any]]:
    return [event for event in RunFolder(run).read_events() if event["event"] == "change"]


@pytest.mark.parametrize(
    ("model", "settings", "turns", "asset"),
    [
        ("gaussians", {"initial_points": 300, "seed": 3}, GAUSSIANS, "gaussians.ply"),
        ("hash_grid", {"log2_table_size": 12, "seed": 3}, FIELD, "field.safetensors"),
    ],
)
def test_a_run_whose_knobs_were_turned_is_done_again_bit_for_bit(
    ball: Path, tmp_path: Path, model, settings, turns, asset
):
    run, again, still = tmp_path / "run", tmp_path / "again", tmp_path / "still"
    by_hand(ball, run, model, settings, turns, 30)
    train(TrainConfig(ball, again, replay=run))
    assert_alike(run, again, asset)
    assert changes(again) == changes(run) and len(changes(run)) == sum(map(len, turns.values()))
    by_hand(ball, still, model, settings, {}, 30)
    assert (still / asset).read_bytes() != (run / asset).read_bytes(), "knobs change what is learnt"
    train(TrainConfig(ball, tmp_path / "third", replay=again))
    assert_alike(run, tmp_path / "third", asset)
    log = run / "events.jsonl"
    log.write_text(log.read_text().replace('"step": 3, "event": "change"', '"step": 4, "event": "change"'))
    train(TrainConfig(ball, tmp_path / "late", replay=run))
    assert (tmp_path / "late" / asset).read_bytes() != (run / asset).read_bytes(), "a step later is another run"


def test_rows_deleted_by_hand_and_problems_on_the_way_are_in_the_log_and_the_run_is_done_again(
    ball: Path, tmp_path: Path
):
    run, again, still = tmp_path / "run", tmp_path / "again", tmp_path / "still"
    task = open_task(ball, "gaussians", {"initial_points": 300})
    written = Recorder(RunFolder(run), task)
    written.begin(ball)
    for step in task.train():
        written.record(replace(step, problem="a photo was odd") if step.step == 5 else step)
        if step.step == 7:
            gone = Delete(Selection().then("add", Rows(((10, 59),))))
            assert step.live.edit(gone) == Restore(Rows(((10, 59),)))
            written.did(step, EVENT, **edit_to_json(gone))
        if step.step == 20:
            written.save(step)
            written.leave(step.snapshot())
            break
    train(TrainConfig(ball, again, replay=run))
    assert_alike(run, again, "gaussians.ply")
    by_hand(ball, still, "gaussians", {"initial_points": 300}, {}, 20)
    assert (still / "gaussians.ply").read_bytes() != (run / "gaussians.ply").read_bytes(), "what was deleted is missing"


def test_what_a_strategy_did_is_an_event_and_the_count_is_in_the_metrics(
    ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder, "METRICS_INTERVAL", 5)
    run = tmp_path / "run"
    by_hand(ball, run, "gaussians", {"initial_points": 300}, GAUSSIANS, 30)
    events = [event for event in RunFolder(run).read_events() if event["event"] == "density"]
    assert events and all(event["step"] % 5 == 0 or event["step"] % 4 == 0 for event in events)
    grown = sum(event.get("cloned", 0) + event.get("split", 0) + event.get("added", 0) for event in events)
    gone = sum(event.get("pruned", 0) for event in events)
    assert grown > 0 and "reset" not in events[0]
    rows = RunFolder(run).read_metrics()
    assert [int(row["step"]) for row in rows] == [5, 10, 15, 20, 25, 30]
    assert int(rows[0]["count"]) == 300 and int(rows[-1]["count"]) == 300 + grown - gone


def test_a_run_that_was_killed_and_went_on_is_done_again(ball: Path, tmp_path: Path):
    run, again = tmp_path / "run", tmp_path / "again"
    task = open_task(ball, "gaussians", {"initial_points": 300})
    written = Recorder(RunFolder(run), task)
    written.begin(ball)
    # Killed after step 12 with a checkpoint of step 9, which knows of what was done after step 9.
    go_on(task, written, None, {**GAUSSIANS, 11: {"cap": 500}}, 12, save_at=9)
    with open(run / "events.jsonl", "a") as file:
        file.write('{"step": 12, "eve')
    assert len(changes(run)) == 11
    survivor = Recorder(RunFolder(run), task)
    go_on(task, survivor, survivor.go_on(), {k: v for k, v in GAUSSIANS.items() if k > 9}, 30)
    assert not any(event.get("cap") == 500 for event in changes(run)), "what was lost is not in the log"
    train(TrainConfig(ball, again, replay=run))
    assert_alike(run, again, "gaussians.ply")


def test_a_replay_that_was_cut_short_goes_on_with_resume_and_one_may_end_elsewhere(ball: Path, tmp_path: Path):
    run, whole, parts = tmp_path / "run", tmp_path / "whole", tmp_path / "parts"
    by_hand(ball, run, "gaussians", {"initial_points": 300}, GAUSSIANS, 20)
    train(TrainConfig(ball, whole, replay=run, steps=26))
    train(TrainConfig(ball, parts, replay=run, steps=9))
    train(TrainConfig(ball, parts, resume=True, steps=26))
    assert_alike(whole, parts, "gaussians.ply")
    assert changes(parts) == changes(run) and RunFolder(parts).read_events()[-1]["step"] == 26


def test_recordings_that_cannot_be_done_again_get_one_sentence(ball: Path, tmp_path: Path):
    run, new = tmp_path / "run", tmp_path / "new"
    wanted = TrainConfig(ball, new, replay=run)
    with pytest.raises(ValueError, match="run: there is no run to replay"):
        train(wanted)
    by_hand(ball, run, "gaussians", {"initial_points": 300}, {2: {"cap": 500}}, 4)
    for changed, sentence in (
        ({"model": "hash_grid"}, "--model hash_grid: .*run learnt gaussians; leave the flag out"),
        ({"seed": 1}, "--seed: a replay has them as .*run had; leave them out"),
        ({"downscale": "2"}, "--downscale: a replay has them as"),
        ({"resume": True}, "--replay with --resume: a replay that was cut short goes on with --resume alone"),
        ({"data": tmp_path / "nothing"}, "nothing: no such file or folder"),
    ):
        with pytest.raises(ValueError, match=sentence):
            train(replace(wanted, **changed))
    log = run / "events.jsonl"
    lines = log.read_text().splitlines()
    for line, sentence in (
        ('{"step": 3, "event', r"events.jsonl: line 2 is no object with a step and an event"),
        ('{"step": 3, "event": "wish"}', r"line 2 tells of 'wish', which this version cannot do again"),
    ):
        log.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
        with pytest.raises(ValueError, match=sentence):
            train(wanted)
    log.write_text("")
    with pytest.raises(ValueError, match="events.jsonl: it is empty"):
        train(wanted)
    log.unlink()
    with pytest.raises(ValueError, match="there is no log of events"):
        train(wanted)
    assert not new.exists()
    log.write_text(json.dumps({"step": 2, "event": "change", "cap": 1}) + "\n")
    with pytest.raises(ValueError, match=r"change after step 2 cannot be done to this run \(cap 1: must be 4 to"):
        train(wanted)
