"""Proves `h3d generate`: what it leaves, that a run goes on and is done again; each wrong input is one sentence."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_denoiser import write_tiny_denoiser

from h3d import assets
from h3d.app.distill_flags import DistillFlags
from h3d.app.generate_verb import GenerateConfig, generate
from h3d.models import formats
from h3d.models.formats.tensors import read_safetensors
from h3d.models.training.distilled import FORMAT

TEAPOT = assets.path("references/teapot.png")


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> DistillFlags:
    return DistillFlags(prior=write_tiny_denoiser(tmp_path_factory.mktemp("prior") / "tiny.safetensors"))


def asked(output: Path, flags: DistillFlags, **changes) -> GenerateConfig:  # noqa: ANN003
    return replace(GenerateConfig(output, image=TEAPOT, steps=12, distill=flags), **changes)


def quietly(config: GenerateConfig):  # noqa: ANN201
    return generate(config, progress=lambda line: None)


@pytest.fixture(scope="module")
def run(flags: DistillFlags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    quietly(asked(folder, flags))
    return folder


def test_a_run_leaves_its_asset_metrics_cache_and_a_figure(run: Path):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "events.jsonl", "metrics.csv", "checkpoint.safetensors", "gaussians.ply"} <= names
    assert {"gaussians.spz", "cache.csv", "cache.pdf", "test.png"} <= names
    with open(run / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["step"]) == 12 and float(last["psnr"]) > 0.0 and 0.0 <= float(last["iou"]) <= 1.0
    assert len(formats.read(run / "gaussians.ply")) == int(last["count"])
    with open(run / "cache.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    assert sum(int(cell["tries"]) for cell in cells) <= 12
    assert sum(int(cell["insertions"]) for cell in cells) > 0


def test_a_run_that_was_cut_short_goes_on_to_what_it_would_have_been(run: Path, flags: DistillFlags, tmp_path: Path):
    quietly(asked(tmp_path / "run", flags, steps=7))
    quietly(asked(tmp_path / "run", flags, steps=12, resume=True))
    _, resumed = read_safetensors(tmp_path / "run" / "checkpoint.safetensors", FORMAT)
    _, whole = read_safetensors(run / "checkpoint.safetensors", FORMAT)
    # The schedules of 7 steps and of 12 are others: what is the same is where the run began and how far it is.
    assert resumed.keys() == whole.keys()
    with pytest.raises(ValueError, match="the run is at step 12"):
        quietly(asked(tmp_path / "run", flags, steps=12, resume=True))


def test_a_run_whose_cache_was_turned_is_done_again_bit_for_bit(flags: DistillFlags, tmp_path: Path):
    from h3d.app.recorder import Recorder
    from h3d.app.run_folder import RunFolder
    from h3d.models.training.tasks import open_task

    settings = flags.settings(steps=12)
    task = open_task(TEAPOT, "gaussians", settings)
    recorder = Recorder(RunFolder(tmp_path / "run"), task)
    recorder.begin(TEAPOT)
    turns = {3: ("hash3d.eta", 0.4), 6: ("hash3d.azimuth", 90.0), 8: ("hash3d.reuse", "noise"), 9: ("hash3d.queue", 1)}
    for step in task.train():
        if step.step == 1:
            recorder.event(0, "start")
        recorder.record(step)
        if step.step in turns:
            name, value = turns[step.step]
            step.live.change(name, value)
            recorder.did(step, "change", **{name: value})
        if step.step == 12:
            recorder.save(step)
            break
    generate(GenerateConfig(tmp_path / "again", replay=tmp_path / "run"), progress=lambda line: None)
    _, first = read_safetensors(tmp_path / "run" / "checkpoint.safetensors", FORMAT)
    _, second = read_safetensors(tmp_path / "again" / "checkpoint.safetensors", FORMAT)
    assert first.keys() == second.keys()
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_words_are_made_and_gone_on_with(flags: DistillFlags, tmp_path: Path):
    config = asked(tmp_path / "run", flags, image=None, prompt="a red mug", steps=3)
    assert quietly(config).metrics == {}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] is None
    quietly(replace(config, steps=5, resume=True))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": None}, "give --image FILE or --prompt TEXT"),
        ({"image": Path("nowhere.png")}, "no such file"),
        ({"steps": 0}, "--steps 0"),
        ({"distill": DistillFlags(eta=1.5)}, "probability to try to retrieve"),
        ({"distill": DistillFlags(grid="10,20")}, "AZ,EL,RADIUS,T"),
        ({"distill": DistillFlags(grid="10,20,0,5")}, "AZ,EL,RADIUS,T"),
        ({"distill": DistillFlags(guidance_scale=float("nan"))}, "--guidance-scale"),
        ({"distill": DistillFlags(elevation=95.0)}, "elevation 95"),
        ({"distill": DistillFlags(prior="/nowhere")}, "there is no such folder"),
        ({"distill": DistillFlags(preset="magic123")}, "two denoisers"),
        ({"image": None, "prompt": ""}, "the prompt is empty"),
        ({"replay": Path("/nowhere")}, "leave them out"),
        ({"resume": True}, "there is no run to resume"),
    ],
)
def test_what_is_wrong_is_one_sentence(changes: dict, said: str, flags: DistillFlags, tmp_path: Path):
    with pytest.raises((ValueError, OSError), match=said) as error:
        quietly(asked(tmp_path / "run", flags, **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (DistillFlags(), {"reuse": "feature", "eta": 0.9, "lookup": "exact"}),
        (DistillFlags(hash3d="off"), {"reuse": "off"}),
        (DistillFlags(hash3d="official"), {"lookup": "official", "eta": 0.5}),
        (DistillFlags(eta=0.3, grid="20,15,0.5,100"), {"eta": 0.3, "azimuth": 20.0, "radius": 0.5, "timesteps": 100.0}),
        (DistillFlags(grid="adaptive"), {"adaptive": True}),
    ],
)
def test_flags_mean_settings_of_the_cache(flags: DistillFlags, expected: dict):
    found = flags.settings()["hash3d"]
    assert {name: found[name] for name in expected} == expected
