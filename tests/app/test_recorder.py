"""Proves that a run is recorded through what goes wrong: a disk that is full for a while, in the program and in the
viewer, and steps that had to be left out."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from full_disk import fill, small_disk
from posed_ball import write_posed_ball

from h3d.app import recorder
from h3d.app.recorder import Recorder
from h3d.app.run_folder import RunFolder
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.workspace import Workspace
from h3d.models import datasets
from h3d.models.gaussians import Gaussians
from h3d.models.training import Step
from h3d.models.training.checkpoints import progress_of
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining, train
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.loop import steps
from h3d.models.training.pinhole_photos import pinhole_photos

SMALL = GaussiansTraining(initial_points=300, cap=300, sh_degree=0)
PATIENCE = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posed_ball(tmp_path_factory.mktemp("ball"), cameras=6, size=32)


@pytest.fixture(scope="module")
def task(folder: Path) -> GaussiansTask:
    return GaussiansTask(datasets.read(folder), SMALL)


def rows_of(run: RunFolder) -> list[int]:
    with open(run.metrics, newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def events_of(run: RunFolder) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.events.read_text().splitlines()]


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_what_does_not_fit_on_a_disk_is_written_whole_when_it_does(
    task: GaussiansTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder, "METRICS_INTERVAL", 1)
    monkeypatch.setattr(recorder, "SAVE_SHARE", float("inf"))
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        run = RunFolder(disk / "run")
        record = Recorder(run, task, autosave_seconds=0.0)
        record.begin(Path("data"))
        made = train(task.dataset, SMALL)
        for step in islice(made, 5):
            record.record(step)
        assert record.problem == "" and progress_of(run.checkpoint).step == 5
        ballast = fill(disk)
        # What is left of the last block of a log takes some more lines.
        for step in islice(made, 300):
            record.record(step)
        record.leave(next(train(task.dataset, SMALL)).snapshot())
        for what in ("the logs", "the checkpoint", "what was learnt"):
            assert f"{what} could not be written, to be tried again: No space left on device" in record.problem
        assert progress_of(run.checkpoint).step == 5, "the last that fitted is whole"
        whole = rows_of(run)
        assert whole == list(range(1, len(whole) + 1)) and len(whole) < 300
        with pytest.raises(OSError, match="the checkpoint could not be written"):
            record.finish()
        ballast.unlink()
        step = next(made)
        record.record(step)
        record.leave(step.snapshot())
        record.finish()
        assert record.problem == "" and rows_of(run) == list(range(1, 307))
        assert progress_of(run.checkpoint).step == 306 and run.splats.exists()
        assert list(run.path.glob(".*.part")) == []


def test_in_the_viewer_a_full_disk_is_said_the_run_goes_on_and_is_recorded_when_there_is_room(
    task: GaussiansTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder, "METRICS_INTERVAL", 1)
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        run = RunFolder(disk / "run")
        record = Recorder(run, task, autosave_seconds=0.02)
        record.begin(Path("data"))
        optimisation = Optimisation(Workspace())
        optimisation.begin(task, recorder=record)
        try:
            until(run.checkpoint.exists)
            ballast = fill(disk)
            until(lambda: "No space left on device" in optimisation.statuses()[0].problem)
            status = optimisation.statuses()[0]
            assert status.state == "running" and status.kept
            until(lambda: optimisation.statuses()[0].step > status.step + 10)
            ballast.unlink()
            until(lambda: optimisation.statuses()[0].problem == "")
            optimisation.pause(1)
            until(run.splats.exists)
        finally:
            optimisation.close()
        rows = rows_of(run)
        assert rows == list(range(1, len(rows) + 1)) and rows[-1] == progress_of(run.checkpoint).step


FULL_FOR_A_WHILE = """
import logging, resource, sys
from pathlib import Path
from h3d.app import recorder, train_verb as verb
recorder.METRICS_INTERVAL = 1
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
until = int(sys.argv[3])

def progress(line):
    if line.startswith(f"step {until},"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
config = verb.TrainConfig(
    Path(sys.argv[1]), Path(sys.argv[2]), model="gaussians", cap=300, steps=80, autosave_seconds=0.0
)
try:
    verb.train(config, progress=progress)
except OSError as error:
    print("ended:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are limited by setrlimit, which Windows has not")
@pytest.mark.parametrize("room_at", [40, 1000])
def test_h3d_train_goes_on_while_files_cannot_grow_and_says_so_at_the_end_if_they_never_could(
    folder: Path, tmp_path: Path, room_at: int
):
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", FULL_FOR_A_WHILE, str(folder), str(run.path), str(room_at)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("the checkpoint could not be written, to be tried again: File too large") == 1
    assert rows_of(run) == list(range(1, 81))
    if room_at <= 80:
        assert progress_of(run.checkpoint).step == 80 and run.splats.exists() and run.compact_splats.exists()
        assert done.stdout == ""
    else:
        assert "ended:" in done.stdout and "the checkpoint could not be written" in done.stdout
        assert not run.checkpoint.exists()


@dataclass(frozen=True)
class OneBadPhoto(GaussiansTask):
    """The real task, one of whose photos has pixels that are no numbers."""

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
        assert resume is None
        photos = list(pinhole_photos(self.dataset, self.dataset.train, 1))
        pixels = photos[0].pixels.float()
        pixels[16:18, 16:18] = torch.nan
        photos[0] = replace(photos[0], pixels=pixels)
        trainer = GaussiansTrainer(self.dataset, self.config, tuple(photos))
        return steps(trainer, trainer.start())


def test_steps_that_had_to_be_left_out_are_in_the_log_and_in_the_panel(task: GaussiansTask, tmp_path: Path):
    run, bad = RunFolder(tmp_path / "run"), OneBadPhoto(task.dataset, task.config)
    record = Recorder(run, bad)
    record.begin(Path("data"))
    optimisation = Optimisation(Workspace())
    optimisation.begin(bad, recorder=record)
    try:
        until(lambda: optimisation.statuses()[0].step > 20)
        status = optimisation.statuses()[0]
    finally:
        optimisation.close()
    assert status.state == "running" and "with gradients that are no numbers at step" in status.problem
    assert all(loss < 1.0 for _, loss in status.losses)
    problems = [event for event in events_of(run) if event["event"] == "problem"]
    assert len(problems) >= 3 and f"at step {problems[0]['step']} (photo 000.png), left out" in str(problems[0]["what"])
