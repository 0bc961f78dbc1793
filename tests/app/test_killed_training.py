"""Proves what a kill costs: `h3d train` is killed twenty times at random moments, loses no more than its autosave
interval each time, and ends with the losses and the Gaussians of a run that nothing happened to, bit for bit."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from posed_ball import write_posed_ball

from h3d.app.run_folder import RunFolder
from h3d.models.training.checkpoints import progress_of

KILLS, STEPS = 20, 620
AUTOSAVE_SECONDS = 0.1
LIFE_SECONDS = 0.6
"""After its start a process is killed within this time: while it reads, learns, writes, judges or ends."""


# Loads everything and does nothing, so that each process that it forks starts in a moment.
FORKING = """
import os, sys
from pathlib import Path
from h3d.app import recorder, train_verb as verb
recorder.METRICS_INTERVAL, recorder.SAVE_SHARE = 1, float("inf")
data, steps, autosave = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for line in sys.stdin:
    run = Path(line.strip())
    child = os.fork()
    if child == 0:
        resume = (run / "config.json").exists()
        flags = {"steps": steps, "cap": 300, "autosave_seconds": autosave, "resume": resume}
        verb.train(verb.TrainConfig(data, run, model="gaussians", **flags))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Trainings:
    """Processes of `h3d train`, one at a time."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-c", FORKING, str(data), str(STEPS), str(AUTOSAVE_SECONDS)]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def live(self, run: RunFolder, seconds: float | None) -> bool:
        """Begins the run or goes on with it; kills it after so long. Returns whether it had to be killed."""
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(f"{run.path}\n")
        self.server.stdin.flush()
        child = int(self.server.stdout.readline())
        if seconds is not None and not select.select([self.server.stdout], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        status = int(self.server.stdout.readline())
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"it ended with status {status}"
        return status != 0

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    found = Trainings(write_posed_ball(tmp_path / "ball", cameras=6, test_cameras=1, size=32))
    yield found
    found.close()


@pytest.mark.skipif(sys.platform == "win32", reason="it forks processes and sends SIGKILL")
def test_a_run_that_is_killed_twenty_times_is_the_run_that_was_not(trainings: Trainings, tmp_path: Path):
    whole = RunFolder(tmp_path / "whole")
    assert not trainings.live(whole, None)
    moments, kills, runs = random.Random(0), 0, [RunFolder(tmp_path / "killed 0")]
    for _ in range(10 * KILLS):
        if ended(runs[-1]) and kills >= KILLS:
            break
        if ended(runs[-1]):
            runs.append(RunFolder(tmp_path / f"killed {len(runs)}"))
        if trainings.live(runs[-1], moments.uniform(0.0, LIFE_SECONDS) if kills < KILLS else None):
            kills += 1
            check_what_was_lost(runs[-1])
    assert kills == KILLS and ended(runs[-1])
    for run in runs:
        check_the_same(run, whole)


def ended(run: RunFolder) -> bool:
    return run.checkpoint.exists() and progress_of(run.checkpoint).step == STEPS


def check_what_was_lost(run: RunFolder) -> None:
    """No more than one interval, and the step in which it ended."""
    if not run.metrics.exists():
        return
    seconds = [float(row["seconds"]) for row in run.read_metrics()]
    saved = progress_of(run.checkpoint).seconds if run.checkpoint.exists() else 0.0
    longest = max((b - a for a, b in pairwise([0.0, *seconds])), default=0.0)
    assert max(seconds, default=0.0) - saved <= AUTOSAVE_SECONDS + longest + 0.01


def check_the_same(run: RunFolder, whole: RunFolder) -> None:
    kept = ("step", "loss", "rays", "samples", "psnr", "ssim")
    rows, expected = (([row[name] for name in kept] for row in folder.read_metrics()) for folder in (run, whole))
    assert list(rows) == list(expected)
    assert run.splats.read_bytes() == whole.splats.read_bytes()
    assert list(run.path.glob(".*")) == [], "what a kill left half written is gone"
