"""Proves in a real browser that a run is begun again by its panel, and that the two are wiped and measured."""

from __future__ import annotations

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


def wait_until(page, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        page.wait_for_timeout(100)


def typed(page, label: str, text: str) -> None:
    """Type into the text field of this label, as a person would; viser does not tie the two together."""
    page.locator(f'xpath=//label[text()="{label}"]/ancestor::div[2]//input').fill(text)


def numbers(page, name: str) -> list[float]:
    """What the table of the two runs says of A and of B."""
    cells = page.locator(f'tr:has(td:text-is("{name}")):has(td:nth-child(3)) td').all_inner_texts()
    return [float(re.sub(r"[^\d.]", "", text)) for text in cells[1:3]]


def test_a_run_is_begun_again_wiped_and_measured_and_the_curves_are_drawn(browser, tmp_path: Path):
    folder = write_posed_ball(tmp_path / "ball", size=48)
    with running_program(folder, "--model", "gaussians", state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 900})
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Optimise", exact=True).click()
        wait_until(page, lambda: page.locator('td:text-is("loss")').count() > 0, "no step was made")
        page.get_by_text("Run again", exact=True).click()
        typed(page, "Seed", "1")
        page.get_by_label("Strategy", exact=True).last.click()  # The first one is the knob of the run that goes on.
        page.get_by_role("option", name="mcmc", exact=True).click()
        page.get_by_role("button", name="Run again beside it", exact=True).click()
        page.get_by_role("tab", name="Compare", exact=True).click()
        wait_until(
            page, lambda: page.get_by_text("B: ball (seed 1, strategy mcmc)").count() > 0, "no table of two runs"
        )
        before, (a, b) = pixels(page), numbers(page, "step")
        # The line between them, and the names, do not count.
        halves = (slice(100, 540), slice(0, 200)), (slice(100, 540), slice(400, 600))
        wait_until(
            page,
            lambda: all(np.abs(pixels(page)[half] - before[half]).max() > 40 for half in halves),
            "not both halves have changed",
        )
        wait_until(page, lambda: all(x > y + 5 for x, y in zip(numbers(page, "step"), (a, b), strict=True)), "no steps")
        wait_until(page, lambda: re.search(r"At equal time \(.* s\): A PSNR", page.content()), "no difference")
        wait_until(page, lambda: page.locator("svg polyline").count() == 4, "not two curves of each run are drawn")
        press(page, "k")
        page.screenshot(path=str(tmp_path / "two_runs.png"))
        page.close()
