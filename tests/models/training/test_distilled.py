"""Proves score distillation as a trainer: it learns, repeats, resumes, turns its knobs, and its cache is honest.

On a tiny denoiser of random weights, except where what is shipped must make the object of a shipped picture.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_denoiser import write_tiny_denoiser

from h3d import assets
from h3d.models.gaussians import Gaussians
from h3d.models.hash3d import Sight, table, warp
from h3d.models.hash_grid import HashGridField
from h3d.models.selection import All, Rows, Selection
from h3d.models.training import Step
from h3d.models.training.distilled_config import PRESETS, CacheSettings, Cameras, Distillation, Guidance, preset
from h3d.models.training.distilled_task import DistilledTask, Model
from h3d.models.training.edits import Delete
from h3d.models.training.guides import cache_config
from h3d.models.training.references import picture_of_object

SEED = 1_000_003
CELLS = CacheSettings(eta=1.0, azimuth=120.0, elevation=60.0, timesteps=500.0)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_denoiser(tmp_path_factory.mktemp("prior") / "tiny.safetensors")


@pytest.fixture(scope="module")
def picture():  # noqa: ANN201
    return picture_of_object(SEED, (30.0, 15.0, 2.0), 64)


def config_of(prior: str, **changes: Any) -> Distillation:
    small: dict[str, Any] = {"size": 32, "middle_size": 32, "last_size": 32, "initial_points": 300, "cap": 400}
    return Distillation(**{"guidance": Guidance(prior=prior), "steps": 40, **small, **changes})


def task_of(prior: str, picture, model: Model = "gaussians", **changes: Any) -> DistilledTask:  # noqa: ANN001
    return DistilledTask("teapot", picture, config_of(prior, **changes), model)


def steps_of(task: DistilledTask, count: int, *, resume: Path | None = None, do=None) -> Step[Any]:  # noqa: ANN001
    """The step of this number; `do` is called after every one."""
    for step in task.train(resume=resume):
        if do is not None:
            do(step)
        if step.step >= count:
            return step
    raise AssertionError("steps have no end")


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Gaussians):
        return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("means", "log_scales", "logit_opacities", "sh"))
    return torch.equal(a.table, b.table) and torch.equal(a.thickness, b.thickness)


@pytest.mark.parametrize("model", ["gaussians", "hash_grid"])
def test_the_reference_is_learnt_and_the_same_seed_gives_the_same_bits(prior, picture, model: Model):
    heard = {"guidance": Guidance(prior=prior, weight=0.0), "size": 24, "middle_size": 24, "last_size": 24}
    task = replace(task_of(prior, picture, model, **heard), picture=replace(picture, seed=None))
    first = steps_of(task, 1).snapshot()
    last = steps_of(task, 40).snapshot()
    assert isinstance(last, Gaussians if model == "gaussians" else HashGridField)
    assert task.judge(last).metrics["psnr"] > task.judge(first).metrics["psnr"] + 2.0
    assert same(last, steps_of(task, 40).snapshot())


def test_another_seed_gives_another_run(prior, picture):
    assert not same(
        steps_of(task_of(prior, picture), 3).snapshot(), steps_of(task_of(prior, picture, seed=1), 3).snapshot()
    )


@pytest.mark.parametrize("model", ["gaussians", "hash_grid"])
def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(prior, picture, tmp_path: Path, model: Model):
    task = task_of(prior, picture, model, hash3d=CELLS)
    steps_of(task, 6).checkpoint(tmp_path / "checkpoint.safetensors")
    whole = steps_of(task, 12)
    resumed = steps_of(task, 12, resume=tmp_path / "checkpoint.safetensors")
    assert same(whole.snapshot(), resumed.snapshot())
    a, b = whole.live.cache(), resumed.live.cache()
    assert a is not None and b is not None
    assert a.statistics.totals == b.statistics.totals
    assert a.statistics.totals["hits"] > 0
    assert np.array_equal(a.stored.keys, b.stored.keys)


def test_only_the_newest_cache_lies_beside_the_checkpoint(prior, picture, tmp_path: Path):
    steps_of(task_of(prior, picture), 3, do=lambda step: step.checkpoint(tmp_path / "checkpoint.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.hash3d-0-3.safetensors",
        "checkpoint.safetensors",
    ]


def test_with_eta_0_the_run_is_that_without_a_cache_bit_for_bit(prior, picture):
    without = steps_of(task_of(prior, picture, hash3d=CacheSettings(reuse="off")), 10)
    never = steps_of(task_of(prior, picture, hash3d=replace(CELLS, eta=0.0)), 10)
    assert same(without.snapshot(), never.snapshot())
    assert same(without.snapshot(), steps_of(task_of(prior, picture, hash3d=CELLS), 1).snapshot()) is False


def test_reuse_saves_passes_and_every_step_is_one_or_the_other(prior, picture):
    step = steps_of(task_of(prior, picture, hash3d=CELLS), 30)
    view = step.live.cache()
    assert view is not None
    assert view.passes.full_elements + view.passes.hit_elements == 30
    assert view.passes.hit_elements == view.statistics.totals["hits"] > 10
    meters = step.live.meters()
    assert meters["hit rate"] == pytest.approx(view.statistics.totals["hits"] / 30)
    assert meters["cache MB"] == pytest.approx(view.statistics.nbytes / 1e6)
    assert meters["UNet time saved"] < 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("hash3d.eta", 0.25), ("hash3d.azimuth", 20.0), ("hash3d.timesteps", 50.0), ("hash3d.queue", 1)],
)
def test_a_knob_of_the_cache_acts_at_the_next_step(prior, picture, name: str, value: float):
    running = task_of(prior, picture, hash3d=CELLS).train()
    step = [next(running) for _ in range(4)][-1]
    before = step.live.cache()
    step.live.change(name, value)
    assert step.live.knobs()[name].value == value
    after = step.live.cache()
    assert before is not None and after is not None
    assert before.config != after.config
    assert after.config == cache_config(
        replace(CELLS, **{name.removeprefix("hash3d."): value}), 0, after.config.camera_inputs
    )
    next(running)


def test_turning_the_grid_keeps_what_is_stored_and_every_hit_lies_in_its_own_cell(prior, picture):
    looked = []

    def turn(step: Step[Any]) -> None:
        view = step.live.cache()
        assert view is not None
        for one in view.last:
            assert view.config.grids[one.grid].cell(one.key) == one.cell
            looked.append(one.hit)
        if step.step == 15:
            step.live.change("hash3d.azimuth", 60.0)
            assert len(step.live.cache().stored.keys) > 0  # pyright: ignore[reportOptionalMemberAccess]
            assert step.live.cache().statistics.totals["foreign"] == 0  # pyright: ignore[reportOptionalMemberAccess]

    steps_of(task_of(prior, picture, hash3d=CELLS), 30, do=turn)
    assert any(looked[15:])


def test_knobs_that_are_turned_are_in_the_checkpoint(prior, picture, tmp_path: Path):
    task = task_of(prior, picture)
    running = task.train()
    step = next(running)
    step.live.change("guidance.scale", 4.0)
    step.live.change("hash3d.eta", 0.5)
    step.checkpoint(tmp_path / "checkpoint.safetensors")
    resumed = next(task.train(resume=tmp_path / "checkpoint.safetensors"))
    assert resumed.live.knobs()["guidance.scale"].value == 4.0
    assert resumed.live.cache().config.eta == 0.5  # pyright: ignore[reportOptionalMemberAccess]
    assert same(next(running).snapshot(), resumed.snapshot())


def test_rows_deleted_by_hand_stay_away_until_they_are_brought_back(prior, picture):
    running = task_of(prior, picture).train()
    step = next(running)
    everything = step.snapshot()
    assert isinstance(everything, Gaussians)
    half = Selection().then("add", All())
    with pytest.raises(ValueError, match="leave some to learn from"):
        step.live.edit(Delete(half))
    first = Selection().then("add", Rows.of(everything.ids[:100]))
    undo = step.live.edit(Delete(first))
    without = next(running).snapshot()
    assert isinstance(without, Gaussians)
    assert not bool(torch.isin(without.ids, everything.ids[:100]).any())
    step = next(running)
    step.live.edit(undo)
    back = step.snapshot()
    assert isinstance(back, Gaussians)
    assert bool(torch.isin(everything.ids[:100], back.ids).all())


@pytest.mark.parametrize("model", ["gaussians", "hash_grid"])
def test_features_are_moved_by_the_depth_of_what_there_is(prior, picture, model: Model, monkeypatch):
    moved: list[tuple[Sight, Sight]] = []

    def noted(value, stored, asking):  # noqa: ANN001, ANN202
        moved.append((stored, asking))
        return warp.warped(value, stored, asking)

    monkeypatch.setattr(table, "warped", noted)
    views = Cameras(radius_low=2.0, radius_high=2.0)
    last = steps_of(task_of(prior, picture, model, hash3d=replace(CELLS, warp=True), cameras=views), 10)
    assert len(moved) > 0 and np.isfinite(last.loss)
    for sight in (sight for pair in moved for sight in pair):
        there = sight.depth[sight.depth > 0]
        # The subject lies within 0.75 of the middle, which the cameras see at a distance of 2.
        assert len(there) > 0 and 1.2 < float(there.min()) and float(there.max()) < 2.8
        np.testing.assert_allclose(np.linalg.norm(sight.camera_to_world[:3, 3]), 2.0, rtol=1e-6)


def test_a_batch_of_views_hits_one_by_one(prior, picture):
    step = steps_of(task_of(prior, picture, hash3d=CELLS, cameras=Cameras(batch=3)), 12)
    view = step.live.cache()
    assert view is not None
    assert len(view.last) == 3
    assert view.passes.full_elements + view.passes.hit_elements == 36


def test_two_denoisers_are_listened_to_at_once(prior, picture, tmp_path: Path):
    both = task_of(prior, picture, second_guidance=Guidance(prior=prior, weight=0.5))
    alone = steps_of(task_of(prior, picture), 4)
    step = steps_of(both, 4)
    assert not same(step.snapshot(), alone.snapshot())
    assert step.live.knobs()["second_guidance.weight"].group == "second guidance"
    assert "second_guidance.weight" not in alone.live.knobs()
    step.checkpoint(tmp_path / "checkpoint.safetensors")
    resumed = steps_of(both, 5, resume=tmp_path / "checkpoint.safetensors")
    assert same(resumed.snapshot(), steps_of(both, 5).snapshot())


def test_words_alone_are_a_subject(prior):
    task = DistilledTask.open(None, asdict(config_of(prior, prompt="a red mug")))
    assert task.name == "a red mug"
    judged = task.judge(steps_of(task, 2).snapshot())
    assert judged.metrics == {}
    assert judged.sentence == "not judged: nothing true is known of words"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the prompt is empty"),
        ({"prompt": "   "}, "the prompt is empty"),
        ({"prompt": "a shimmering cathedral"}, "cathedral"),
    ],
    ids=["none", "blank", "unknown words"],
)
def test_words_that_cannot_be_made_are_one_sentence(prior, changes: dict, said: str):
    with pytest.raises(ValueError, match=said) as error:
        next(DistilledTask.open(None, asdict(config_of(prior, **changes))).train())
    assert "\n" not in str(error.value)


def test_a_prior_that_is_not_there_says_what_to_give(picture):
    with pytest.raises(ValueError, match="give a Stable Diffusion or Zero123 folder"):
        next(task_of("/nowhere", picture).train())


def test_a_checkpoint_of_another_run_is_refused(prior, picture, tmp_path: Path):
    steps_of(task_of(prior, picture), 1).checkpoint(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match="seed differ"):
        next(task_of(prior, picture, seed=3).train(resume=tmp_path / "checkpoint.safetensors"))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_whole_and_make_a_step(name, prior, picture):
    second = prior if name == "magic123" else ""
    config = replace(
        preset(name, prior, second),
        size=32,
        middle_size=32,
        last_size=32,
        initial_points=200,
    )
    step = next(DistilledTask("teapot", picture, config).train())
    assert step.loss > 0.0 and step.problem == ""
    assert (
        Distillation(**asdict(config) | {n: getattr(config, n) for n in asdict(config) if n in vars(config)}) == config
    )


def test_magic123_without_its_second_denoiser_is_one_sentence():
    with pytest.raises(ValueError, match="listens to two denoisers"):
        preset("magic123")


@given(progress=st.floats(-0.5, 1.5), start=st.floats(0.0, 0.9), span=st.floats(0.0, 0.5))
@settings(max_examples=60)
def test_timesteps_run_from_one_range_to_the_other(progress: float, start: float, span: float):
    guidance = Guidance(low=0.6, high=0.9, low_end=0.1, high_end=0.3, schedule_from=start, schedule_to=start + span)
    low, high = guidance.timesteps(progress)
    assert 0.1 - 1e-9 <= low <= 0.6 and 0.3 - 1e-9 <= high <= 0.9 and low <= high
    if progress <= start:
        assert (low, high) == (0.6, 0.9)
    if progress > start + span + 1e-6:
        assert (low, high) == pytest.approx((0.1, 0.3))


def test_what_is_shipped_makes_a_shipped_picture_3d():
    """PSNR over 16 true views at least 2 dB above showing the picture from every side, outlines overlap by 0.8."""
    path = assets.path("references/teapot.png")
    task = DistilledTask.open(path, asdict(replace(preset("h3d"), steps=150)))
    found = task.judge(steps_of(task, 150).snapshot()).metrics
    assert found["psnr"] > task.copying["psnr"] + 2.0
    assert found["iou"] >= 0.8


def test_cameras_beyond_what_the_embedded_denoiser_knows_are_remarked_on(picture):
    remarks = {name: DistilledTask("teapot", picture, preset(name)).remarks for name in ("h3d", "threestudio")}
    assert remarks["h3d"] == ()
    assert "some of these cameras lie beyond" in remarks["threestudio"][0]
    assert DistilledTask("teapot", picture, preset("threestudio", "a folder")).remarks == ()
