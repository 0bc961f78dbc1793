"""Proves `h3d prune --fine-tune`: the count is the cut's, the pictures come back, in the world where the Gaussians lie;
the same seed gives the same file, and Ctrl-C writes what was learnt by then."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from posed_ball import write_posed_ball

from h3d.app import fine_tune
from h3d.app.prune_verb import PruneConfig, prune_command
from h3d.app.stop_asked import stop_asked
from h3d.app.train_verb import TrainConfig, train
from h3d.models import formats
from h3d.models.gaussians import ROW_FIELDS, Gaussians
from h3d.models.pruning import keep_mask
from h3d.models.training.fine_tuning import fine_tuning

KEEP = 0.3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("photos") / "balls", size=40)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ball"
    train(TrainConfig(data, folder, model="gaussians", steps=400, cap=1500, background="black"))
    return folder


@pytest.fixture(scope="module")
def pruned(run: Path) -> Gaussians:
    whole = formats.read(run)
    return whole.keep(keep_mask(whole, "band_stop", keep=KEEP))


def judged(said: str) -> dict[str, float]:
    """PSNR by what was judged."""
    return {
        name: float(value) for name, value in re.findall(r"^([\w-]+): [\d,]+ Gaussians, PSNR ([\d.]+) dB", said, re.M)
    }


def test_the_rows_that_stay_are_as_many_and_show_the_photos_again(run: Path, data: Path, tmp_path: Path):
    told: list[str] = []
    config = PruneConfig(run, tmp_path / "out.ply", keep=KEEP, data=data, fine_tune=150)
    said = prune_command(config, told=told.append)
    whole, out = formats.read(run), formats.read(tmp_path / "out.ply")
    assert len(out) == round(KEEP * len(whole))
    assert "; fine-tuned for 150 steps on 24 photos of balls\nwhole: " in said and "over 3 test photos" in said
    assert "before fine-tune" not in said and "SSIM" in said
    psnr = judged(said)
    assert psnr["fine-tuned"] > psnr["pruned"] + 3.0, said
    assert any(line.startswith("step 150 of 150, loss ") for line in told)


def test_a_network_is_learnt_along_and_lies_beside_the_file(run: Path, data: Path, tmp_path: Path):
    config = PruneConfig(run, tmp_path / "out.ply", keep=0.1, data=data, fine_tune=150, compensate="tiny")
    said = prune_command(config)
    assert "; fine-tuned for 150 steps, and with a tiny network for 150 on 24 photos of balls\nwhole: " in said
    psnr = judged(said)
    assert psnr["compensated"] > psnr["fine-tuned"], said
    out = formats.read(tmp_path / "out.ply")
    assert out.compensation is not None and out.compensation.plan.size == "tiny"
    found = fine_tuning(data, out, settings={"background": "black"}).judge(out).metrics["psnr"]
    assert found == pytest.approx(psnr["compensated"], abs=0.006), "what was judged is what was written"


def test_the_settings_of_the_photos_are_those_of_the_run(run: Path, data: Path, tmp_path: Path, monkeypatch):
    backgrounds: list[str] = []

    def noted(*args, **changes):
        task = fine_tuning(*args, **changes)
        backgrounds.append(task.config.background)
        return task

    monkeypatch.setattr(fine_tune, "fine_tuning", noted)
    config = PruneConfig(run, tmp_path / "out.ply", keep=KEEP, data=data, fine_tune=1)
    prune_command(config)
    prune_command(replace(config, scene=run / "gaussians.ply"))
    assert json.loads((run / "config.json").read_text())["training"]["background"] == "black"
    assert backgrounds == ["black", "random"]


@pytest.mark.parametrize("criterion", ["radsplat", "random"])
def test_cameras_and_photos_come_of_the_same_data_set(run: Path, data: Path, criterion, tmp_path: Path):
    config = PruneConfig(run, tmp_path / "out.spz", keep=0.5, criterion=criterion, data=data, fine_tune=2)
    said = prune_command(config)
    assert ("24 cameras of balls" in said) == (criterion == "radsplat") and "24 photos of balls" in said
    assert len(formats.read(tmp_path / "out.spz")) == round(0.5 * len(formats.read(run)))


def test_the_same_seed_gives_the_same_file(run: Path, data: Path, tmp_path: Path):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prune_command(PruneConfig(run, tmp_path / f"{name}.ply", keep=KEEP, data=data, fine_tune=5, seed=seed))
        files.append((tmp_path / f"{name}.ply").read_bytes())
    assert files[0] == files[1] != files[2]


def test_no_row_comes_or_goes_and_places_are_learnt_as_late_in_a_run(data: Path, pruned: Gaussians):
    task = fine_tuning(data, pruned)
    step = next(islice(task.train(), 130, None))  # Across a step at which a usual run refines.
    asset = step.snapshot()
    assert step.noted == {} and torch.equal(asset.ids, pruned.ids) and asset.sh.shape == pruned.sh.shape
    first = next(iter(task.train())).snapshot()
    moved = (first.means - pruned.means).abs().max()
    # The first step of Adam is as long as its rate: here a hundredth of the usual one.
    extent = float(np.linalg.norm(task.dataset.images[0].position))
    assert 0.0 < float(moved) < 0.02 * task.config.means_rate * extent


def test_gaussians_that_were_moved_learn_where_they_lie(data: Path, pruned: Gaussians):
    wxyz, position = np.array([0.8, 0.0, 0.6, 0.0]), np.array([5.0, -2.0, 1.0])
    moved = pruned.transformed(wxyz, position, 2.0)
    there, here = fine_tuning(data, moved), fine_tuning(data, pruned)
    before = here.judge(pruned).metrics["psnr"]
    assert there.judge(moved).metrics["psnr"] == pytest.approx(before, abs=0.02)
    asset, plain = (next(islice(task.train(), 39, None)).snapshot() for task in (there, here))
    assert asset.frame == moved.frame
    expected = plain.transformed(wxyz, position, 2.0)
    # Rounding on the way there and back is all that differs.
    assert float((asset.means - expected.means).abs().mean()) < 1e-4
    assert there.judge(asset).metrics["psnr"] > before + 1.0


def test_a_run_from_given_gaussians_goes_on_from_its_checkpoint(data: Path, pruned: Gaussians, tmp_path: Path):
    task = fine_tuning(data, pruned)
    steps = task.train()
    next(islice(steps, 4, None)).checkpoint(tmp_path / "c.safetensors")
    on = next(islice(steps, 4, None)).snapshot()
    again = next(islice(task.train(resume=tmp_path / "c.safetensors"), 4, None)).snapshot()
    for name in ROW_FIELDS:
        assert torch.equal(getattr(on, name), getattr(again, name)), name


def test_ctrl_c_writes_what_was_learnt_by_then(run: Path, data: Path, tmp_path: Path):
    def told(line: str) -> None:
        if line.startswith("step 7 of"):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    config = PruneConfig(run, tmp_path / "stopped.ply", keep=KEEP, data=data, fine_tune=100_000)
    said = prune_command(config, told=told)
    assert "; fine-tuned for 7 of 100,000 steps on 24 photos" in said and "fine-tuned" in judged(said)
    assert signal.getsignal(signal.SIGINT) is before
    prune_command(replace(config, output=tmp_path / "seven.ply", fine_tune=7))
    assert (tmp_path / "stopped.ply").read_bytes() == (tmp_path / "seven.ply").read_bytes()


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), stop_asked() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        os.kill(os.getpid(), signal.SIGINT)
