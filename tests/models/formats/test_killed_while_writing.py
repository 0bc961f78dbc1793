"""Proves that a program that is killed while it writes Gaussians over others loses nothing: at every moment the file is
read as the one or the other, whole, each with the network that belongs to it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from balls import ball
from random_networks import random_network

from h3d.models import formats
from h3d.models.compensation import Compensation, CompensationPlan
from h3d.models.formats import beside, ply
from h3d.models.gaussians import Gaussians

# Writes `new` over the scene of every folder in turn, each in a process that is killed just before the n-th time it
# changes something in the folder, n being the folder's name; ends with the first that is not killed.
CHILD = """
import builtins, os, signal, sys
from pathlib import Path
from h3d.models import formats
folder, name = Path(sys.argv[1]), sys.argv[2]
value = formats.read(folder / f"new{name}")

def counted(call):
    def step(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return step

def write(scene):
    for name in ("replace", "rename", "fsync", "unlink", "open"):
        setattr(os, name, counted(getattr(os, name)))
    builtins.open = counted(builtins.open)
    formats.write(scene, value)
    os._exit(0)

for left in range(1, 1000):
    if not (folder / str(left)).is_dir():
        sys.exit("it was not done after so many moments")
    child = os.fork()
    if child == 0:
        write(folder / str(left) / f"scene{name}")
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        print(left)
        break
    assert ended == -signal.SIGKILL, ended
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
SUFFIXES = [".ply", ".spz", ".splat", ".compressed.ply"]
MOST = 40


def with_network(rows: Gaussians, seed: int) -> Gaussians:
    plan = CompensationPlan("tiny", features=2)
    features = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(seed))
    return replace(rows, features=features, compensation=Compensation(random_network(plan, seed)))


def through_all_moments(folder: Path, suffix: str, old: Gaussians, new: Gaussians) -> list[Gaussians]:
    """What is read after each kill, and when it was not killed any more."""
    formats.write(folder / f"new{suffix}", new)
    for moment in range(1, MOST):
        (folder / str(moment)).mkdir()
        formats.write(folder / str(moment) / f"scene{suffix}", old)
    command = [sys.executable, "-c", CHILD, str(folder), suffix]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [formats.read(folder / str(moment) / f"scene{suffix}") for moment in range(1, int(done.stdout) + 1)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_are_the_old_ones_or_the_new_ones(tmp_path: Path, suffix: str):
    found = through_all_moments(tmp_path, suffix, ball((0.9, 0.1, 0.1), count=300), ball((0.1, 0.9, 0.1), count=200))
    counts = [len(value) for value in found]
    assert len(counts) > 3 and counts[0] == 300 and counts[-1] == 200
    assert sorted(counts, reverse=True) == counts and set(counts) == {300, 200}


def test_each_has_its_own_network_at_every_moment(tmp_path: Path):
    old = with_network(ball((0.9, 0.1, 0.1), count=300), 1)
    new = with_network(ball((0.1, 0.9, 0.1), count=200), 2)
    found = through_all_moments(tmp_path, ".ply", old, new)
    assert {len(value) for value in found} == {300, 200}
    for value in found:
        wanted = old if len(value) == 300 else new
        assert value.features is not None and wanted.features is not None
        assert torch.equal(value.features, wanted.features)
        assert value.compensation is not None and wanted.compensation is not None
        theirs = wanted.compensation.network.state_dict()
        assert all(torch.equal(w, theirs[name]) for name, w in value.compensation.network.state_dict().items())


def test_a_write_that_fails_after_a_kill_loses_nothing_either(tmp_path: Path, monkeypatch):
    """Killed between rows and network, the one that belongs to the rows waits under the coming name."""
    scene = tmp_path / "scene.ply"
    formats.write(scene, with_network(ball((0.9, 0.1, 0.1), count=200), 2))
    beside.file_of(scene).rename(beside.file_of(scene).with_name(beside.file_of(scene).name + beside.NEXT))
    assert formats.read(scene).compensation is not None

    def full(*_, **__) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(ply, "replacing", full)
        with pytest.raises(OSError, match="no room"):
            formats.write(scene, with_network(ball((0.1, 0.9, 0.1), count=300), 3))
    kept = formats.read(scene)
    assert len(kept) == 200 and kept.compensation is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.ply", beside.file_of(scene).name]


def test_a_network_that_goes_goes_with_its_rows(tmp_path: Path):
    old, new = with_network(ball((0.9, 0.1, 0.1), count=300), 1), ball((0.1, 0.9, 0.1), count=200)
    for value in through_all_moments(tmp_path, ".ply", old, new):
        assert (value.compensation is not None) == (len(value) == 300)
