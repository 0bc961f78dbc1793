"""Proves that a compensation network is learnt along with Gaussians: it makes their pictures better than they are, the
run repeats itself and goes on from its checkpoint bit for bit, and it can be begun and left while the run goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from posed_ball import write_posed_ball

from h3d.models import formats
from h3d.models.compensation import GRID
from h3d.models.gaussians import ROW_FIELDS, Gaussians
from h3d.models.knobs import knobs_of
from h3d.models.pruning import keep_mask
from h3d.models.trained_gaussians import TrainedGaussians
from h3d.models.training import Step
from h3d.models.training.compensating import CompensationTraining, part_of
from h3d.models.training.fine_tuning import fine_tuning
from h3d.models.training.gaussians import GaussiansTraining
from h3d.models.training.gaussians_task import GaussiansTask

OFF = GaussiansTraining(initial_points=300, cap=800, sh_interval=20, sh_degree=1)
ON = replace(OFF, compensation=CompensationTraining("tiny", compensate_crop=32))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("photos") / "balls", size=48)


@pytest.fixture(scope="module")
def task(data: Path) -> GaussiansTask:
    return GaussiansTask.open(data, {})


def after(task: GaussiansTask, config: GaussiansTraining, steps: int, resume: Path | None = None) -> Step[Gaussians]:
    return next(islice(replace(task, config=config).train(resume=resume), steps - 1, None))


def assert_same(a: Gaussians, b: Gaussians) -> None:
    for name in ROW_FIELDS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.features is None) == (b.features is None) and (a.compensation is None) == (b.compensation is None)
    assert a.features is None or b.features is None or torch.equal(a.features, b.features)
    if a.compensation is not None and b.compensation is not None:
        weights = b.compensation.network.state_dict()
        assert all(torch.equal(array, weights[name]) for name, array in a.compensation.network.state_dict().items())


@pytest.mark.parametrize("form", ["features", "gain"])
def test_the_same_seed_gives_the_same_bits_and_a_run_goes_on_bit_for_bit(task: GaussiansTask, tmp_path: Path, form):
    config = replace(ON, compensation=replace(ON.compensation, compensate_form=form))
    whole = after(task, config, 30).snapshot()
    assert whole.compensation is not None and whole.compensation.plan.form == form
    assert (whole.features is None) == (form == "gain")
    assert_same(whole, after(task, config, 30).snapshot())
    path = tmp_path / "checkpoint.safetensors"
    after(task, config, 12).checkpoint(path)
    assert_same(whole, after(task, config, 18, resume=path).snapshot())


def test_the_network_makes_pictures_of_pruned_gaussians_better_than_they_are(task: GaussiansTask, data: Path):
    whole = after(task, replace(OFF, background="black"), 300).snapshot()
    pruned = whole.keep(keep_mask(whole, "random", keep=0.1))
    network = CompensationTraining("tiny", compensate_crop=48)
    plain, compensated = (
        next(islice(fine_tuning(data, pruned, compensation=wish).train(), 249, None)).snapshot()
        for wish in (CompensationTraining(), network)
    )
    assert len(plain) == len(compensated) == len(pruned)
    psnr = {name: task.judge(x).metrics["psnr"] for name, x in (("plain", plain), ("with", compensated))}
    assert psnr["with"] > psnr["plain"] + 0.3
    assert psnr["with"] > task.judge(compensated.uncompensated).metrics["psnr"] + 0.3


def test_it_can_be_begun_and_left_while_the_run_goes_on(task: GaussiansTask):
    knob = knobs_of(OFF)["compensation.compensate"]
    assert knob.value == "off" and knob.group == "compensation"
    steps = replace(task, config=OFF).train()
    step = next(islice(steps, 9, None))
    assert step.snapshot().compensation is None
    step.live.change("compensation.compensate", "tiny")
    seen = next(islice(steps, 4, None)).snapshot()
    assert seen.compensation is not None and seen.features is not None
    assert seen.features.shape == (len(seen), 8)
    step.live.change("compensation.compensate", "off")
    left = next(islice(steps, 4, None)).snapshot()
    assert left.compensation is None and left.features is None


def test_a_part_of_a_photo_says_of_rows_what_the_whole_says(task: GaussiansTask, monkeypatch):
    """Rows must not grow the more the smaller the part: the loss is a mean over the pixels that are looked at."""
    seen: dict[int, list[float]] = {}

    def noted(state, info) -> None:
        seen[side].append(float(info.gradients[info.gradients > 0.0].mean()))
        observe(state, info)

    observe = TrainedGaussians.observe
    monkeypatch.setattr(TrainedGaussians, "observe", noted)
    for side in (16, 48):
        seen[side] = []
        parts = replace(ON.compensation, compensate_crop=side)
        after(task, replace(ON, initial_points=20_000, cap=20_000, compensation=parts), 30)
    small, whole = (sum(seen[side]) / len(seen[side]) for side in (16, 48))
    assert 0.4 < small / whole < 2.5, "unscaled it would be 5"


def test_rows_that_are_cloned_and_split_have_features_too(task: GaussiansTask):
    growing = replace(ON, default=replace(ON.default, refine_start=5, refine_every=10, grow_grad2d=1e-6))
    step = after(task, growing, 40)
    shown = step.snapshot()
    assert step.count != 300 and shown.features is not None and len(shown.features) == step.count


def test_fine_tuning_goes_on_with_the_network_that_there_is(task: GaussiansTask, data: Path, tmp_path: Path):
    formats.write(tmp_path / "scene.ply", after(task, ON, 20).snapshot())
    scene = formats.read(tmp_path / "scene.ply")
    tuned = fine_tuning(data, scene)
    assert tuned.config.compensation.compensate == "tiny"
    first = next(iter(tuned.train())).snapshot()
    assert first.compensation is not None and scene.compensation is not None and first.features is not None
    moved = [
        (array - first.compensation.network.state_dict()[name]).abs().max()
        for name, array in scene.compensation.network.state_dict().items()
    ]
    assert 0.0 < float(max(moved)) <= 1.1e-3, "one step of Adam from where it was"


def test_parts_of_photos_lie_in_them_everywhere():
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(50, 70, dtype=torch.int32)
    for _ in range(8000):  # Corners are rare.
        part = part_of((70, 50), 37, generator)
        assert part is not None
        x0, y0, x1, y1 = part
        assert (x1 - x0, y1 - y0) == (32, 32) and x0 >= 0 and y0 >= 0 and x1 <= 70 and y1 <= 50
        seen[y0:y1, x0:x1] += 1
    assert bool((seen > 0).all()) and 32 % GRID == 0
    assert part_of((70, 50), 128, generator) is None
    assert part_of((70, 50), 64, generator) is not None, "the longer side is cut"
