"""Proves the bench's talk with nerfstudio's process: ratios come when it works, a reason when it does not.

A few lines stand in for nerfstudio; installing the real one is left to the bench.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from h3d.app.bench import peer_nerfstudio
from h3d.app.bench.metrics import Effort, Skipped

ONCE = Effort(blocks=1, repeats=1, moves=0, seconds=0.0)

STAND_IN = """
import torch


class HashEncoding(torch.nn.Module):
    def __init__(self, levels, coarsest, finest, log2_table_size, features, implementation):
        super().__init__()
        self.width = levels * features
        self.table = torch.nn.Parameter(torch.ones(2**log2_table_size))

    def forward(self, positions):
        return (positions.sum(1, keepdim=True) * self.table[0]).expand(-1, self.width)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the worker finds a nerfstudio, an empty one; the interpreter is this one."""
    folder = tmp_path / "nerfstudio" / "field_components"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("H3D_NERFSTUDIO", sys.executable)
    return folder


def test_four_ratios_come_from_a_peer_that_answers(package: Path):
    (package / "encodings.py").write_text(STAND_IN)
    metrics = {metric.key: metric for metric in peer_nerfstudio.nerfstudio(ONCE)}
    works = ("forward_T14", "forward_backward_T14", "forward_T19", "forward_backward_T19")
    assert list(metrics) == [f"peers/nerfstudio/encode_{work}" for work in works]
    assert all(metric.value > 0 and metric.direction == "higher" for metric in metrics.values())


def test_a_peer_that_cannot_be_imported_is_skipped_with_what_it_said(package: Path):
    with pytest.raises(Skipped, match="nerfstudio's process stopped; it said: .*encodings"):
        list(peer_nerfstudio.nerfstudio(ONCE))


def test_an_interpreter_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("H3D_NERFSTUDIO", str(tmp_path / "python"))
    with pytest.raises(Skipped, match="H3D_NERFSTUDIO is .*, which does not exist"):
        list(peer_nerfstudio.nerfstudio(ONCE))


def test_an_environment_that_cannot_be_made_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("H3D_NERFSTUDIO", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("H3D_STATE", str(tmp_path / "file"))
    for _ in range(2):
        with pytest.raises(Skipped, match="cannot be installed in .*; name an interpreter that has it"):
            list(peer_nerfstudio.nerfstudio(ONCE))
