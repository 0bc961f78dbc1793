"""Proves in a real browser that data trains while it is looked at: the loss falls, the picture changes, runs hold.

A ball of which the photos are made here; and, where H3D_DATA has it, the fox.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, pixels, press
from posed_ball import write_posed_ball
from program import running_program

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM
PATIENCE = 240.0


def fact(page, name: str) -> str:
    """What the table of the Optimise panel says."""
    return page.locator(f'td:text-is("{name}") + td').first.inner_text()


def wait_until(page, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        page.wait_for_timeout(100)


def steps(page) -> int:
    return int(fact(page, "step").replace(",", ""))


@pytest.mark.parametrize("data", ["ball", "fox"])
def test_training_starts_shows_and_can_be_held_and_go_on(browser, tmp_path: Path, data: str):
    if data == "fox" and "H3D_DATA" not in os.environ:
        pytest.skip("H3D_DATA is not set: no real photos")
    folder = write_posed_ball(tmp_path / "ball") if data == "ball" else Path(os.environ["H3D_DATA"]) / "fox"
    with running_program(folder, state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 540})
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Optimise", exact=True).click()
        wait_until(page, lambda: page.locator('td:text-is("loss")').count() > 0, "no step was made")
        first_loss, first = float(fact(page, "loss")), pixels(page)
        wait_until(page, lambda: float(fact(page, "loss")) < 0.5 * first_loss, "the loss did not fall")
        wait_until(page, lambda: bool(np.abs(pixels(page) - first).max() > 40), "the picture did not change")
        wait_until(page, lambda: re.search(r"PSNR \d", page.content()) is not None, "it was not judged")
        press(page, "k")
        wait_until(page, lambda: fact(page, "state") == "paused", "the key did not hold the run")
        page.wait_for_function("() => document.querySelector('button') !== null")
        held = steps(page)
        page.get_by_role("button", name="One step").click()
        wait_until(page, lambda: steps(page) > held, "the one step was not made")
        page.get_by_role("button", name="Go on", exact=True).click()
        wait_until(page, lambda: steps(page) > held + 5, "the run did not go on")
        page.close()
