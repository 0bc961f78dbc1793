"""Proves `h3d prune`: what is written, what is said of it, and the sentence for each wrong wish before any work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ball
from dataset_files import real_data
from known_fields import ball as distance_to_ball
from known_fields import ball_mesh, distance_field
from posed_ball import write_posed_ball
from random_networks import random_network

from h3d.app import prune_verb
from h3d.app.prune_verb import PruneConfig, prune_command
from h3d.models import formats, meshes
from h3d.models.compensation import Compensation, CompensationPlan
from h3d.models.merging import merged
from h3d.models.pruning import keep_mask
from h3d.models.sundae import band_stop
from h3d.models.viewpoints import of_dataset, seen_from

RED = (0.9, 0.1, 0.1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "red.ply"
    formats.write(path, ball(RED))
    return path


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".splat", ".spz", ".sog"])
def test_any_format_is_written_with_the_share_that_was_asked_for(scene: Path, suffix: str, tmp_path: Path):
    said = prune_command(PruneConfig(scene, tmp_path / f"out{suffix}", keep=0.25))
    assert said.startswith("500 of 2,000 Gaussians kept (25.0%) by band_stop 0.5 (graph local of 10 neighbours, means)")
    assert said.endswith("; before fine-tune") and "MiB before, " in said
    assert len(formats.read(tmp_path / f"out{suffix}")) == 500


def test_the_rows_are_those_of_the_mask(scene: Path, tmp_path: Path):
    prune_command(PruneConfig(scene, tmp_path / "out.ply", keep=0.1, band_stop=0.8))
    whole = formats.read(scene)
    assert torch.equal(
        formats.read(tmp_path / "out.ply").means, whole.means[band_stop(whole.means, keep=0.1, ratio=0.8)]
    )


@pytest.mark.parametrize("criterion", ["random", "opacity", "size", "opacity_volume", "density"])
def test_every_criterion_can_be_named(scene: Path, criterion, tmp_path: Path):
    said = prune_command(PruneConfig(scene, tmp_path / "out.ply", keep=0.1, criterion=criterion))
    assert f"(10.0%) by {criterion}; " in said
    whole = formats.read(scene)
    mask = keep_mask(whole, criterion, keep=0.1)
    assert torch.equal(formats.read(tmp_path / "out.ply").means, whole.means[mask])


def test_rows_are_merged_where_that_is_asked(scene: Path, tmp_path: Path):
    told: list[float] = []
    said = prune_command(PruneConfig(scene, tmp_path / "out.ply", keep=0.25, merge=True), progress=told.append)
    assert said.startswith("500 of 2,000 Gaussians kept (25.0%) by merging; ") and told[-1] == 1.0
    expected = merged(formats.read(scene), 0.25)
    assert torch.equal(formats.read(tmp_path / "out.ply").means, expected.means)
    with pytest.raises(ValueError, match="--data: --merge looks through no camera; leave it out"):
        prune_command(PruneConfig(scene, tmp_path / "out.ply", merge=True, data=tmp_path))


def test_criteria_that_look_say_through_which_cameras(scene: Path, tmp_path: Path):
    config = PruneConfig(scene, tmp_path / "out.ply", keep=0.5, criterion="mini_splatting")
    told: list[float] = []
    said = prune_command(config, progress=told.append)
    assert "by mini_splatting (32 synthetic cameras all around, none of a data set; they see 100.0% of" in said
    assert len(told) == 32
    write_posed_ball(tmp_path / "balls", cameras=6)
    said = prune_command(replace(config, data=tmp_path / "balls"))
    assert re.search(r"by mini_splatting \(6 cameras of balls; they see [\d.]+% of the Gaussians\); ", said)
    views, whole = of_dataset(tmp_path / "balls"), formats.read(scene)
    mask = keep_mask(whole, "mini_splatting", keep=0.5, seen=seen_from(views, whole))
    assert torch.equal(formats.read(tmp_path / "out.ply").means, whole.means[mask])


def test_cameras_that_see_nothing_of_the_scene_are_not_its_own(tmp_path: Path):
    away = ball(RED).transformed(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.0, 500.0, 0.0]))
    formats.write(tmp_path / "away.ply", away)
    write_posed_ball(tmp_path / "balls", cameras=3)
    config = PruneConfig(tmp_path / "away.ply", tmp_path / "out.ply", criterion="radsplat", data=tmp_path / "balls")
    with pytest.raises(ValueError, match="none of its Gaussians is seen by the 3 cameras of balls; give the data set"):
        prune_command(config)
    assert not (tmp_path / "out.ply").exists()


def test_a_scene_may_be_written_over_itself(scene: Path):
    before = scene.stat().st_size / 2**20
    assert f"{before:.2f} MiB before" in prune_command(PruneConfig(scene, scene, keep=0.5))
    assert len(formats.read(scene)) == 1000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 1.2}, "keep: 1.2; it is a share and must be 0 to 1"),
        ({"keep": -0.1}, "keep: -0.1; it is a share"),
        ({"band_stop": 2.0}, "ratio: 2.0; it is a share and must be 0 to 1"),
        ({"neighbours": 0}, "k: 0 neighbours; there must be at least 1"),
        ({"signals": ()}, "name at least one of means, colors"),
        ({"output": Path("out.xyz")}, r"out.xyz: name: no format is written with the suffix .xyz; use one of .comp"),
        (
            {"data": Path("fox"), "criterion": "opacity"},
            "--data: criterion opacity looks through no camera; leave it out, name hit_count, .*, or add --fine-tune",
        ),
        ({"fine_tune": 50}, "--fine-tune 50: there are no photos to learn from; add --data"),
        ({"compensate": "tiny"}, "--compensate tiny: the network learns from photos; add --fine-tune and --data"),
        ({"fine_tune": 0, "data": Path("fox")}, "--fine-tune 0: steps; must be 1 or more"),
        ({"output": Path("out")}, "out: name: no format is written with the suffix of an empty name"),
        ({"output": Path("/no/such/folder/a.ply")}, "the folder /no/such/folder does not exist; create it first"),
    ],
)
def test_a_wrong_wish_is_a_sentence_before_the_scene_is_read(
    scene: Path, changes, sentence: str, tmp_path, monkeypatch
):
    monkeypatch.setattr(prune_verb, "_read", lambda path: pytest.fail("read"))
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        prune_command(PruneConfig(**{"scene": scene, "output": tmp_path / "out.ply", **changes}))


@pytest.mark.parametrize("keep", [0.0, 1e-4])
def test_nothing_left_is_a_sentence_and_no_file(scene: Path, keep: float, tmp_path: Path):
    with pytest.raises(ValueError, match=f"--keep {keep}: of 2,000 Gaussians none would stay; keep a larger share"):
        prune_command(PruneConfig(scene, tmp_path / "out.ply", keep=keep))
    assert not (tmp_path / "out.ply").exists()


def test_a_field_and_a_mesh_have_no_gaussians_to_leave_out(tmp_path: Path):
    distance_field(distance_to_ball).save(tmp_path / "field.safetensors")
    for path, what in ((tmp_path / "field.safetensors", "holds a field"), (tmp_path / "ball.ply", "is a mesh")):
        if what == "is a mesh":
            meshes.write(path, ball_mesh(2))
        with pytest.raises(formats.FormatError, match=f"{path.name}: file: {what}, of which no Gaussian can"):
            prune_command(PruneConfig(path, tmp_path / "out.ply"))


def test_a_real_capture_is_pruned_from_the_command_line(tmp_path: Path):
    source = real_data("splats") / "biker.compressed.ply"
    command = [sys.executable, "-c", "from h3d.app.cli import main; main()", "prune", str(source), "-o"]
    command += [str(tmp_path / "out.spz"), "--keep", "0.3", "--band-stop", "0.5"]
    environment = {**os.environ, "H3D_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "out.spz: 45,824 of 152,746 Gaussians kept (30.0%) by band_stop 0.5" in done.stdout
    assert len(formats.read(tmp_path / "out.spz")) == 45_824
    assert len(list((tmp_path / "cache").iterdir())) == 2, "neighbours and spectrum are kept for the next time"


def test_a_wrong_share_is_one_sentence_and_exit_code_1(scene: Path, tmp_path: Path):
    command = [sys.executable, "-c", "from h3d.app.cli import main; main()", "prune", str(scene), "-o"]
    done = subprocess.run(
        [*command, str(tmp_path / "out.ply"), "--keep", "3"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and done.stderr == "h3d: keep: 3.0; it is a share and must be 0 to 1\n"


def test_a_network_is_kept_by_a_ply_and_its_loss_is_said(tmp_path: Path):
    rows, plan = ball((0.9, 0.1, 0.1)), CompensationPlan("tiny", features=2)
    network = Compensation(random_network(plan))
    formats.write(tmp_path / "in.ply", replace(rows, features=torch.randn(len(rows), 2), compensation=network))
    said = prune_command(PruneConfig(tmp_path / "in.ply", tmp_path / "out.ply", keep=0.5))
    kept = formats.read(tmp_path / "out.ply")
    assert kept.compensation is not None and kept.features is not None and len(kept.features) == 1000
    assert "network" not in said
    said = prune_command(PruneConfig(tmp_path / "in.ply", tmp_path / "out.spz", keep=0.5))
    assert said.endswith("before fine-tune, without their compensation network, which only a .ply keeps")
