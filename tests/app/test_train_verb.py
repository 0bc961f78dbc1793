"""Proves `h3d train`: what it leaves in the run folder, that a run goes on, and the sentence for each wrong input."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from posed_ball import write_posed_ball
from safetensors.torch import load_file
from surface_scenes import write_scene

from h3d.app import recorder
from h3d.app.train_verb import TrainConfig, train
from h3d.models import formats, hash_grid
from h3d.models.training.checkpoints import progress_of
from h3d.renderers import backends


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("ball"), size=32)


def quick(ball: Path, run: Path, steps: int = 20, **changes) -> TrainConfig:
    return replace(TrainConfig(ball, run, steps=steps, log2_table_size=12), **changes)


def rows_of(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_config_metrics_events_field_checkpoint_and_a_picture(ball: Path, tmp_path: Path):
    run = tmp_path / "run"
    judgement = train(quick(ball, run))
    assert judgement.subject == "3 test photos"
    last = rows_of(run)[-1]
    assert int(last["step"]) == 20 and float(last["seconds"]) > 0
    assert float(last["psnr"]) == pytest.approx(judgement.metrics["psnr"], abs=1e-3)
    assert float(last["ssim"]) == pytest.approx(judgement.metrics["ssim"], abs=1e-3)
    config = json.loads((run / "config.json").read_text())
    assert config["training"]["seed"] == 0 and config["training"]["log2_table_size"] == 12
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "end"]
    assert Image.open(run / "test.png").size == (64, 32)
    assert "20 steps" in hash_grid.load(run / "field.safetensors").remark


def test_a_resumed_run_has_the_rows_of_one_that_was_never_stopped(
    ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder, "METRICS_INTERVAL", 5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(quick(ball, whole, steps=20))
    train(quick(ball, parts, steps=10))
    train(quick(ball, parts, steps=20, resume=True))
    a, b = rows_of(whole), rows_of(parts)
    assert [row["step"] for row in a] == [row["step"] for row in b]
    assert np.allclose([float(row["loss"]) for row in a], [float(row["loss"]) for row in b], rtol=1e-4)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(ball: Path, tmp_path: Path):
    run = tmp_path / "run"
    program = (
        "import sys; from pathlib import Path; from h3d.app import recorder, train_verb as verb; "
        "recorder.METRICS_INTERVAL = 1; verb.train(verb.TrainConfig(Path(sys.argv[1]), Path(sys.argv[2]), "
        "steps=100000, log2_table_size=12, autosave_seconds=0.0))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(ball), str(run)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with open(run / "metrics.csv", "a") as file:
        file.write("99999,1.0,0.1,,,64,100\n100000,1.")
    reached = progress_of(run / "checkpoint.safetensors").step
    assert reached >= 1
    train(quick(ball, run, steps=reached + 5, resume=True))
    steps = [int(row["step"]) for row in rows_of(run)]
    assert steps == sorted(set(steps)) and steps[-1] == reached + 5


def test_gaussians_learn_cameras_and_exposures_where_that_is_asked_for_and_when_they_go_on(ball: Path, tmp_path: Path):
    run = tmp_path / "run"
    train(quick(ball, run, steps=3, model="gaussians", cap=200, exposure=True, refine_cameras=True))
    stored = json.loads((run / "config.json").read_text())["training"]
    assert stored["exposure"] is True and stored["refine_cameras"] is True
    train(quick(ball, run, steps=5, model="gaussians", resume=True))
    names = set(load_file(run / "checkpoint.safetensors"))
    assert {"exposure.values", "cameras.values"} <= names
    ply, spz = (len(formats.read(run / name)) for name in ("gaussians.ply", "gaussians.spz"))
    assert ply == spz > 0


def test_wrong_requests_get_one_sentence_that_names_the_way_out(ball: Path, tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="no run to resume"):
        train(quick(ball, run, resume=True))
    with pytest.raises(ValueError, match="--steps 0: must be 1 or more"):
        train(quick(ball, run, steps=0))
    with pytest.raises(ValueError, match="--autosave-seconds -1.0: must be 0 or more"):
        train(quick(ball, run, autosave_seconds=-1.0))
    with pytest.raises(ValueError, match="--minutes -1.0: must be above 0"):
        train(quick(ball, run, minutes=-1.0))
    with pytest.raises(ValueError, match="no such file or folder"):
        train(quick(tmp_path / "nothing", run))
    assert not run.exists()
    train(quick(ball, run, steps=2))
    with pytest.raises(ValueError, match="it holds a run already; add --resume"):
        train(quick(ball, run, steps=2))
    with pytest.raises(ValueError, match="the run is at step 2, .* ask for more --steps"):
        train(quick(ball, run, steps=2, resume=True))
    (run / "config.json").write_text("{")
    with pytest.raises(ValueError, match="it is not JSON"):
        train(quick(ball, run, steps=3, resume=True))


def test_cuda_is_refused_where_it_cannot_be_and_leaves_no_folder(ball: Path, tmp_path: Path):
    run, scene = tmp_path / "run", write_scene(tmp_path / "room.scene.json")
    with pytest.raises(ValueError, match="--backend cuda: radiance_cache is learnt on the CPU alone"):
        train(quick(scene, run, backend="cuda"))
    if backends.why_no_fields_on_cuda():
        with pytest.raises(RuntimeError, match="^cuda: "):
            train(quick(ball, run, backend="cuda"))
    assert not run.exists()
    assert train(quick(ball, run, steps=2, backend="cpu")).metrics["psnr"] > 0


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path: Path):
    data = write_posed_ball(tmp_path / "data", size=32)
    picture = data / "train" / "004.png"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(ValueError, match="004.png") as caught:
        train(quick(data, tmp_path / "run"))
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_said_and_kept(ball: Path, tmp_path: Path):
    run = tmp_path / "run"
    train(quick(ball, run, steps=2))
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        train(quick(ball, run, steps=4, resume=True))
    assert checkpoint.stat().st_size == 5000


def test_gaussians_are_pruned_while_they_are_learnt_where_asked(ball: Path, tmp_path: Path):
    command = [sys.executable, "-c", "from h3d.app.cli import main; main()", "train", str(ball), "-o"]
    command += [str(tmp_path / "run"), "--model", "gaussians", "--steps", "12", "--prune-every", "10"]
    done = subprocess.run([*command, "--prune-keep", "0.5"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert {"step": 10, "event": "density", "thinned": 5000} in events
    assert rows_of(tmp_path / "run")[-1]["count"] == "5000"
    assert len(formats.read(tmp_path / "run")) == 5000
    done = subprocess.run([*command, "--prune-keep", "0"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and "prune_keep: 0.0; must be" in done.stderr
