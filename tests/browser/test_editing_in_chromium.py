"""Proves in a real browser that Gaussians are selected, deleted and brought back while they are learnt."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, choose, pixels, press
from posed_ball import write_posed_ball
from program import running_program

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM
PATIENCE = 240.0


def wait_until(page, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        page.wait_for_timeout(100)


def counts(page) -> tuple[int, int]:
    """How many Gaussians are selected, and of how many."""
    found = re.search(r"([\d,]+) of ([\d,]+) Gaussians of", page.content())
    assert found is not None
    selected, total = (int(number.replace(",", "")) for number in found.groups())
    return selected, total


def draw_rectangle(page) -> None:
    page.mouse.move(60, 230)  # Above it lies the browser's own notice.
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(300, 500, steps=8)
    page.mouse.up()
    page.keyboard.up("Shift")


def area(page) -> np.ndarray:
    """Where the rectangle is drawn, far from its borders, over which large Gaussians reach."""
    return pixels(page)[310:380, 175:225]


def colored(image: np.ndarray) -> float:
    """The share of pixels that are neither the dark background nor grey."""
    return float((image.max(axis=-1) - image.min(axis=-1) > 50).mean())


def yellow(image: np.ndarray) -> float:
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return float(((red > blue + 80) & (green > blue + 40) & (red > 120)).mean())


def test_rows_are_selected_deleted_and_brought_back_during_a_run(browser, tmp_path: Path):
    folder = write_posed_ball(tmp_path / "ball", size=48)
    with running_program(folder, "--model", "gaussians", state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 540})
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Edit", exact=True).click()
        # As clear as it must be again after the undo: a slow machine would be held while it is still a fog.
        wait_until(page, lambda: colored(area(page)) > 0.5, "no ball is to be seen")
        draw_rectangle(page)
        wait_until(page, lambda: counts(page)[0] > 100, "the rectangle selected nothing")
        press(page, "k")  # What goes is learnt again: to see it gone the run is held.
        wait_until(page, lambda: yellow(area(page)) > 0.2, "what is selected has no colour of its own")
        page.screenshot(path=tmp_path / "selected.png")
        press(page, "Escape")
        wait_until(page, lambda: counts(page)[0] == 0, "it is still selected")
        draw_rectangle(page)
        wait_until(page, lambda: counts(page)[0] > 100, "the rectangle selected nothing")
        selected, total = counts(page)
        press(page, "Delete")
        wait_until(page, lambda: colored(area(page)) < 0.2, "nothing has gone from the picture")
        assert counts(page) == (0, total - selected)
        page.screenshot(path=tmp_path / "deleted.png")
        press(page, "Control+z")
        wait_until(page, lambda: colored(area(page)) > 0.4, "undo did not bring it back")
        assert counts(page) == (0, total)
        choose(page, "Volume", "box")
        page.get_by_text("Inside", exact=True).first.click()
        wait_until(page, lambda: counts(page)[0] > 0, "the box selected nothing")
        page.screenshot(path=tmp_path / "box.png")
        selected, _ = counts(page)
        page.get_by_text("Keep only", exact=True).first.click()
        wait_until(page, lambda: counts(page) == (0, selected), "what lies outside has not gone")
        page.screenshot(path=tmp_path / "cropped.png")
        press(page, "k")
        press(page, "Control+z")
        wait_until(page, lambda: counts(page)[1] >= total, "a crop is not undone while it is learnt")
        page.close()
