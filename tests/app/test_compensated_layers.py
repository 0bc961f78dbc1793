"""Proves that a viewer shows Gaussians with their network, raw, and both under the wipe, and saves both together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ball
from random_networks import random_network
from served import PATIENCE, Served, until

from h3d.models import formats
from h3d.models.compensation import Compensation, CompensationPlan


class Program(Served):
    """A viewer with a layer that was read from a .ply with its network beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows, plan = ball((0.9, 0.1, 0.1)), CompensationPlan("tiny")
        features = torch.randn(len(self.rows), plan.blended, generator=torch.Generator().manual_seed(0))
        network = Compensation(random_network(plan))
        formats.write(folder / "scene.ply", replace(self.rows, features=features, compensation=network))
        self.layer = self.workspace.open(folder / "scene.ply")
        self.serve()

    def picture(self, condition: Callable[[np.ndarray], object]) -> np.ndarray:
        found: list[np.ndarray] = []

        def holds() -> bool:
            pixels = self.tab.next_background(PATIENCE).pixels().astype(int)
            found.append(pixels)
            return pixels.shape == (120, 160, 3) and bool(condition(pixels))

        until(holds, "no such picture came")
        return found[-1]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.close()


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Of the two pictures, in the middle, where the ball is."""
    return float(np.abs(a - b)[40:80, 60:100].mean())


def test_the_network_is_shown_and_switched_off(program: Program):
    program.tab.set_gui("Compensated", False)
    raw = program.picture(lambda pixels: (pixels[50:70, 70:90, 0] > pixels[50:70, 70:90, 1] + 60).all())
    program.tab.set_gui("Compensated", True)
    made = program.picture(lambda pixels: apart(pixels, raw) > 3.0)
    program.tab.set_gui("Compensated", False)
    program.picture(lambda pixels: apart(pixels, raw) < 1.0)
    program.tab.set_gui("Compensated", True)
    program.picture(lambda pixels: apart(pixels, made) < 1.0)


def test_raw_and_compensated_are_wiped_and_named(program: Program):
    program.session.set_compare(mode="wipe")
    program.tab.set_gui("With its own settings", True)
    program.tab.set_gui("B is compensated", False)
    until(lambda: (own := program.session.compare.own_b) is not None and not own.compensated, "B is as A")
    assert [program.session.drawing._side_name(None, side) for side in ("a", "b")] == ["compensated", "raw"]
    until(lambda: "PSNR" in program.said() and "SSIM" in program.said(), "the two were not measured")
    program.session.set_compare(mode="difference")
    program.picture(lambda pixels: pixels[40:80, 60:100].max() > 30)


def test_it_is_saved_with_its_rows_and_the_loss_of_it_is_told(program: Program):
    key = program.layer.key
    program.workspace.change(key, "hide rows", hidden_rows=program.rows.means[:, 0] > 0.0)
    program.tab.set_gui("Save as", "half.ply")
    program.tab.click("Save on the server")
    until((program.folder / "half.ply").exists, "it was not saved")
    until(lambda: formats.read(program.folder / "half.ply").compensation is not None, "its network was not saved")
    half = formats.read(program.folder / "half.ply")
    assert half.features is not None and len(half.features) == len(half) < len(program.rows)
    program.tab.set_gui("Save as", "half.spz")
    program.tab.click("Save on the server")
    told = "The compensation network is left out; only a .ply keeps it."
    program.tab.wait_until(lambda page: any(n.body == told for n in page.notifications.values()), told, PATIENCE)
