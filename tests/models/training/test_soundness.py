"""Proves that a gradient that is no number changes nothing: the step is left out and said, the run goes on, and ends
when it cannot; rows that are no numbers themselves are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.gaussians import Gaussians
from h3d.models.trained_gaussians import TrainedGaussians
from h3d.models.training import Step
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining
from h3d.models.training.gaussians_state import GaussiansState
from h3d.models.training.loop import MOST_PROBLEMS, steps
from h3d.models.training.pinhole_photos import PinholePhoto, pinhole_photos
from h3d.models.training.soundness import INTERVAL, drop_bad_rows

SMALL = GaussiansTraining(initial_points=400, cap=1500, sh_interval=100, sh_degree=1)


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> PosedImages:
    return datasets.read(write_posed_ball(tmp_path_factory.mktemp("ball"), cameras=6, size=48))


def with_nan_pixels(photo: PinholePhoto) -> PinholePhoto:
    pixels = photo.pixels.float()
    pixels[20:24, 20:24] = float("nan")
    return replace(photo, pixels=pixels)


def trainer_with_bad_photos(ball: PosedImages, bad: int, **changes) -> GaussiansTrainer:
    photos = pinhole_photos(ball, ball.train, 1)
    photos = tuple(with_nan_pixels(photo) if index < bad else photo for index, photo in enumerate(photos))
    return GaussiansTrainer(ball, replace(SMALL, **changes), photos)


def all_of(state: GaussiansState) -> dict[str, torch.Tensor]:
    tensors = state.rows.tensors("rows") | state.fit.tensors()
    return {name: tensor.clone() for name, tensor in tensors.items()}


class OneBadPixel(GaussiansTrainer):
    """The real trainer, whose loss sends back what is no number, to one pixel at one step."""

    at, what = 3, float("nan")

    def _loss(
        self, config: GaussiansTraining, rendered: torch.Tensor, photo: PinholePhoto, background: torch.Tensor
    ) -> torch.Tensor:
        if rendered.requires_grad:
            rendered.register_hook(self.spoil)
        return super()._loss(config, rendered, photo, background)

    def spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls != self.at:
            return gradient
        gradient = gradient.clone()
        gradient[24, 24] = self.what
        return gradient


@pytest.mark.parametrize("what", [float("nan"), float("inf"), float("-inf"), 3e38])
def test_a_wild_gradient_is_caught_before_anything_moves_and_the_run_goes_on(ball: PosedImages, what: float):
    trainer = OneBadPixel(ball, SMALL, pinhole_photos(ball, ball.train, 1))
    trainer.what = what
    state = trainer.start()
    for _ in range(2):
        assert trainer.advance(state).problem == ""
    before = all_of(state)
    done = trainer.advance(state)
    found = re.search(r"sh: (\d+) rows? with gradients that are no numbers", done.problem)
    assert found is not None and 0 < int(found[1]) < 400, "those alone that the pixel shows"
    assert "at step 3 (photo 00" in done.problem and done.problem.endswith("left out")
    after = all_of(state)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert trainer.advance(state).problem == "" and state.step == 4
    assert not torch.equal(state.rows.means, before["rows.groups.means.values"])


def test_photos_with_pixels_that_are_no_numbers_are_passed_over_round_by_round(ball: PosedImages):
    trainer = trainer_with_bad_photos(ball, 1, exposure=True, refine_cameras=True)
    made = list(islice(steps(trainer, trainer.start()), 3 * len(trainer.photos)))
    bad = [step for step in made if step.problem]
    assert len(bad) == 3, "once a round"
    assert all("photo 000.png" in step.problem and "exposure: 1 row with" in step.problem for step in bad)
    assert all(step.loss < 1.0 for step in made if not step.problem)
    rows = made[-1].snapshot()
    assert all(bool(getattr(rows, name).isfinite().all()) for name in ("means", "quats", "log_scales", "sh"))


def test_a_run_in_which_every_step_goes_wrong_ends_with_a_sentence(ball: PosedImages):
    trainer = trainer_with_bad_photos(ball, 6)
    run: Iterator[Step[Gaussians]] = steps(trainer, trainer.start())
    with pytest.raises(RuntimeError, match=f"so went {MOST_PROBLEMS} steps in a row; the last checkpoint is sound"):
        for step in run:
            assert step.step < MOST_PROBLEMS


def bad_rows(ball: PosedImages) -> tuple[GaussiansTrainer, GaussiansState, torch.Tensor]:
    """A run, some of whose rows something has made bad: a width that overflows, a place that is nowhere."""
    trainer = GaussiansTrainer(ball, replace(SMALL, strategy="mcmc"), pinhole_photos(ball, ball.train, 1))
    state = trainer.start()
    state.rows.values("log_scales")[5, 1] = 89.0
    state.rows.values("log_scales")[6, 1] = float("inf")
    state.rows.values("means")[5:8, 0] = float("nan")
    good = torch.ones(len(state.rows), dtype=torch.bool)
    good[5:8] = False
    return trainer, state, state.rows.ids[good]


def test_rows_that_are_no_numbers_are_dropped_where_they_spoil_a_step(ball: PosedImages):
    trainer, state, good = bad_rows(ball)
    problem = trainer.advance(state).problem
    assert "left out; means: 3 rows with values that are no numbers, log_scales: 2 rows with" in problem
    assert problem.endswith("dropped")
    assert torch.equal(state.rows.ids, good)
    assert trainer.advance(state).problem == ""


def test_rows_that_are_no_numbers_are_found_even_if_nothing_draws_them(ball: PosedImages):
    trainer = GaussiansTrainer(ball, SMALL, pinhole_photos(ball, ball.train, 1))
    state = trainer.start()
    state.rows.values("quats")[9] = float("nan")
    state.step = INTERVAL - 2
    assert trainer.advance(state).problem == ""
    assert (
        trainer.advance(state).problem == f"quats: 1 row with values that are no numbers, dropped after step {INTERVAL}"
    )
    assert len(state.rows) == 399


def test_a_run_without_a_single_good_row_ends_with_a_sentence(ball: PosedImages):
    rows: TrainedGaussians = trainer_with_bad_photos(ball, 0).start().rows
    assert drop_bad_rows(rows) == "" and len(rows) == 400
    rows.values("means")[:] = float("nan")
    with pytest.raises(RuntimeError, match="means: 400 rows with values that are no numbers, and no row is left"):
        drop_bad_rows(rows)


def test_what_was_passed_over_does_not_change_what_a_checkpoint_goes_on_with(ball: PosedImages, tmp_path: Path):
    trainer = trainer_with_bad_photos(ball, 1)
    run = steps(trainer, trainer.start())
    next(islice(run, 9, None)).checkpoint(tmp_path / "c.safetensors")
    rest = [step.loss for step in islice(run, 12)]
    again = [step.loss for step in islice(steps(trainer, trainer.load(tmp_path / "c.safetensors")), 12)]
    assert [f"{loss}" for loss in rest] == [f"{loss}" for loss in again]
