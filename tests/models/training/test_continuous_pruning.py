"""Proves continuous pruning in a run: at which steps how many rows go, what is noted, that the run repeats itself and
goes on bit for bit, and that a run without it is as it was."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.density import ContinuousPruning
from h3d.models.gaussians import ROW_FIELDS, Gaussians
from h3d.models.knobs import knobs_of
from h3d.models.training import Step
from h3d.models.training.gaussians import GaussiansTraining, train

OFF = GaussiansTraining(initial_points=300, cap=1000, sh_interval=20, sh_degree=1)
ON = replace(OFF, pruning=ContinuousPruning(prune_every=15, prune_keep=0.8, prune_stop=40))


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> PosedImages:
    return datasets.read(write_posed_ball(tmp_path_factory.mktemp("ball"), size=32))


def run(ball: PosedImages, config: GaussiansTraining, count: int) -> list[Step[Gaussians]]:
    return list(islice(train(ball, config), count))


def assert_same(a: Gaussians, b: Gaussians) -> None:
    for name in ROW_FIELDS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_rows_go_at_its_steps_as_many_as_it_says_and_that_is_noted(ball: PosedImages):
    steps = run(ball, ON, 50)
    assert {step.step: dict(step.noted) for step in steps if step.noted} == {
        15: {"density": {"thinned": 60}},
        30: {"density": {"thinned": 48}},
    }
    assert [steps[i].count for i in (13, 14, 28, 29, 49)] == [300, 240, 240, 192, 192]
    assert max(step.count for step in steps) == 300
    assert len(steps[-1].snapshot()) == 192


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_the_same_seed_gives_the_same_bits(ball: PosedImages, strategy):
    config = replace(ON, strategy=strategy)
    first, second = (run(ball, config, 35)[-1].snapshot() for _ in range(2))
    assert len(first) == 192
    assert_same(first, second)


def test_a_run_goes_on_bit_for_bit_across_a_pruning(ball: PosedImages, tmp_path: Path):
    steps = train(ball, ON)
    next(islice(steps, 19, None)).checkpoint(tmp_path / "c.safetensors")
    on = next(islice(steps, 14, None))
    again = next(islice(train(ball, ON, resume=tmp_path / "c.safetensors"), 14, None))
    assert again.step == on.step == 35 and on.count == 192
    assert_same(on.snapshot(), again.snapshot())


def test_it_draws_nothing_at_random_and_changes_nothing_where_all_rows_stay(ball: PosedImages):
    all_stay = replace(ON, pruning=replace(ON.pruning, prune_keep=1.0))
    plain, kept = (run(ball, config, 35)[-1] for config in (OFF, all_stay))
    assert_same(plain.snapshot(), kept.snapshot())


def test_it_can_be_turned_on_while_the_run_goes_on(ball: PosedImages):
    knob = knobs_of(OFF)["pruning.prune_every"]
    assert knob.value == 0 and knob.group == "density"
    steps = train(ball, OFF)
    step = next(islice(steps, 4, None))
    step.live.change("pruning.prune_every", 5)
    assert "pruning.prune_keep" in step.live.knobs()
    assert next(islice(steps, 4, None)).count == round(0.9 * 300)
