"""Proves the trainer of Gaussians: it learns a ball from photos, repeats itself, goes on bit for bit, keeps its limits,
leaves rows that a hand deleted alone, and is judged on photos that it was not shown."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.formats.errors import FormatError
from h3d.models.gaussians import Gaussians
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining, scene_extent, train
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.pinhole_photos import pinhole_photos
from h3d.models.training.tasks import open_task
from h3d.renderers import CancelFlag, Cancelled

SMALL = GaussiansTraining(initial_points=400, cap=1500, sh_interval=100, sh_degree=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("ball"), size=48)


@pytest.fixture(scope="module")
def ball(folder: Path) -> PosedImages:
    return datasets.read(folder)


def learnt(ball: PosedImages, config: GaussiansTraining, count: int) -> Gaussians:
    return next(islice(train(ball, config), count - 1, None)).snapshot()


@pytest.mark.parametrize(("strategy", "initial", "psnr"), [("default", 400, 24.0), ("mcmc", 1200, 27.0)])
def test_a_ball_is_learnt_from_a_few_photos(ball: PosedImages, strategy, initial: int, psnr: float):
    config = replace(SMALL, strategy=strategy, initial_points=initial)
    task = GaussiansTask(ball, config)
    before, after = (task.judge(learnt(ball, config, count)).metrics["psnr"] for count in (1, 1290))
    assert before < 12.0 and after > psnr  # 26 and 30 dB were measured.


def test_the_same_seed_gives_the_same_rows(ball: PosedImages):
    first, second = (learnt(ball, SMALL, 20) for _ in range(2))
    other = learnt(ball, replace(SMALL, seed=1), 20)
    assert torch.equal(first.means, second.means) and torch.equal(first.sh, second.sh)
    assert not torch.equal(first.means, other.means)


def test_a_run_goes_on_bit_for_bit_across_a_refinement(ball: PosedImages, tmp_path: Path):
    steps = train(ball, SMALL)
    step = next(islice(steps, 589, None))
    step.checkpoint(tmp_path / "c.safetensors")
    on = next(islice(steps, 19, None)).snapshot()
    again = next(islice(train(ball, SMALL, resume=tmp_path / "c.safetensors"), 19, None))
    assert again.step == 610 and len(on) != 400
    for name in ("ids", "means", "quats", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(on, name), getattr(again.snapshot(), name)), name
    with pytest.raises(FormatError, match="cap differ from the run's"):
        next(train(ball, replace(SMALL, cap=9), resume=tmp_path / "c.safetensors"))


def test_a_damaged_checkpoint_gets_a_sentence(ball: PosedImages, tmp_path: Path):
    next(train(ball, SMALL)).checkpoint(tmp_path / "c.safetensors")
    data = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(data[:-100])
    with pytest.raises(FormatError):
        next(train(ball, SMALL, resume=tmp_path / "c.safetensors"))


def test_there_are_never_more_rows_than_the_cap(ball: PosedImages):
    assert len(learnt(ball, replace(SMALL, cap=450), 720)) <= 450


def test_rows_that_a_hand_deleted_are_not_drawn_learnt_or_shown_and_come_back_as_they_were(ball: PosedImages):
    trainer = GaussiansTrainer(ball, SMALL, pinhole_photos(ball, ball.train, 1))
    state = trainer.start()
    for _ in range(3):
        trainer.advance(state)
    gone = state.rows.ids[:50].clone()
    before = state.rows.means[:50].clone()
    assert len(state.rows.mark_deleted(gone, True)) == 50
    for _ in range(3):
        trainer.advance(state)
    shown = trainer.snapshot(state)
    assert len(shown) == 350 and not bool(torch.isin(shown.ids, gone).any())
    assert torch.equal(state.rows.means[state.rows.find(gone)], before)
    state.rows.mark_deleted(gone, False)
    assert len(trainer.snapshot(state)) == 400


def test_rates_fall_and_harmonics_come_one_degree_at_a_time(ball: PosedImages):
    trainer = GaussiansTrainer(ball, SMALL, pinhole_photos(ball, ball.train, 1))
    first, last = (trainer.rates(SMALL, step) for step in (0, SMALL.decay_steps))
    assert last["means"] == pytest.approx(0.01 * first["means"]) and last["sh"] == first["sh"]
    assert first["means"] == pytest.approx(SMALL.means_rate * scene_extent(ball))
    early = learnt(ball, SMALL, 60)
    assert not bool(early.sh[:, 1:].any()), "degree 0 alone is learnt at first"
    assert bool(learnt(ball, SMALL, 160).sh[:, 1:].any())


def test_points_of_the_data_set_are_where_it_starts(ball: PosedImages):
    points = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    colors = np.full((64, 3), [255, 0, 0], np.uint8)
    trainer = GaussiansTrainer(
        replace(ball, points=points, point_colors=colors), SMALL, pinhole_photos(ball, ball.train, 1)
    )
    rows = trainer.snapshot(trainer.start())
    assert torch.equal(rows.means, torch.from_numpy(points))
    capped = GaussiansTrainer(replace(trainer.dataset), replace(SMALL, cap=20), trainer.photos)
    assert len(capped.snapshot(capped.start())) == 20


def test_pixels_that_are_not_known_teach_nothing(ball: PosedImages):
    photos = pinhole_photos(ball, ball.train, 1)
    blind = tuple(replace(photo, known=torch.zeros(photo.pixels.shape[:2], dtype=torch.bool)) for photo in photos)
    trainer = GaussiansTrainer(ball, SMALL, blind)
    state = trainer.start()
    before = trainer.snapshot(state)
    assert trainer.advance(state).loss == pytest.approx(0.0, abs=1e-6)
    assert torch.allclose(trainer.snapshot(state).means, before.means, atol=1e-6)


def test_the_task_is_found_by_its_name_and_judges(folder: Path, ball: PosedImages):
    task = open_task(folder, "gaussians", {"cap": 77, "downscale": 1})
    assert isinstance(task, GaussiansTask) and task.config.cap == 77
    rows = learnt(ball, SMALL, 5)
    quick, whole = task.judge(rows, quick=True), task.judge(rows)
    assert quick.picture is None and whole.picture is not None and whole.picture.shape == (48, 96, 3)
    assert "test photos" in whole.subject and 0.0 < whole.metrics["ssim"] < 1.0
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        task.judge(rows, cancel=flag)


def test_wrong_settings_get_a_sentence():
    with pytest.raises(ValueError, match="sh_degree 4: must be 0 to 3"):
        GaussiansTraining(sh_degree=4)
    with pytest.raises(ValueError, match="cap 2: must be 4 or more"):
        GaussiansTraining(cap=2)
