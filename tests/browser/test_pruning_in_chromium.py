"""Proves in a real browser that Gaussians are pruned by hand: both sliders move count and picture under the wipe, the
cut is applied, undone, saved, and what is opened again has as many rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, WAIT_SECONDS, choose, drag_slider, pixels, press_folder, wait_until
from clouds_of_gaussians import sphere_and_dust
from dataset_files import real_data
from program import running_program

from h3d.models import formats

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM


def kept(page) -> int:
    """What the panel says stays; -1 before it says so."""
    found = re.search(r"stay</td><td[^>]*>([\d,]+) of", page.content())
    return -1 if found is None else int(found[1].replace(",", ""))


def ends(page) -> str:
    found = re.search(r"[\d,]+ lowest, [\d,]+ highest", page.content())
    return "" if found is None else found[0]


def test_a_cut_is_dragged_watched_applied_undone_saved_and_opened_again(browser, tmp_path: Path):
    scene = tmp_path / "dust.ply"
    formats.write(scene, sphere_and_dust(20_000))
    with running_program(scene, state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 900}, accept_downloads=True)
        page.set_default_timeout(1000 * WAIT_SECONDS)
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Prune", exact=True).click()
        page.get_by_role("button", name="Show the cut", exact=True).click()
        wait_until(page, lambda: kept(page) == 6000, "the count of the cut is not told")
        wait_until(page, lambda: "Before fine-tune" in page.content(), "it is not said that it is a preview")
        before, halves = pixels(page), ends(page)

        drag_slider(page, "Keep", -12)
        wait_until(page, lambda: 0 <= kept(page) < 6000, "the slider moved no count")
        fewer = kept(page)
        # B, to the right of the line, changes; A does not.
        wait_until(page, lambda: np.abs(pixels(page)[100:, 330:] - before[100:, 330:]).max() > 40, "B did not change")
        assert np.abs(pixels(page)[100:, :270] - before[100:, :270]).mean() < 1.0
        drag_slider(page, "Band-stop", 25)
        wait_until(page, lambda: ends(page) not in ("", halves) and kept(page) == fewer, "the notch did not move")
        assert page.locator("svg rect").count() > 50

        page.get_by_role("button", name="Apply", exact=True).locator("visible=true").click()
        wait_until(page, lambda: f"{20_000 - fewer:,} Gaussians deleted" in page.content(), "it was not applied")
        page.get_by_role("button", name="Undo", exact=True).locator("visible=true").click()
        page.get_by_role("button", name="Show the cut", exact=True).click()
        wait_until(page, lambda: kept(page) == fewer, "it was not undone")
        page.get_by_role("button", name="Apply", exact=True).locator("visible=true").click()
        page.get_by_role("tab", name="Layers", exact=True).click()
        press_folder(page, "Save")
        page.locator('label:text-is("Save as") >> xpath=following::input[1]').fill("pruned.ply")
        page.get_by_role("button", name="Save on the server").click()
        wait_until(page, (tmp_path / "pruned.ply").exists, "it was not saved")
        page.close()
    assert len(formats.read(tmp_path / "pruned.ply")) == fewer


def steps(page) -> int:
    """How far the run is, by the Optimise tab."""
    found = re.search(r"step</td><td[^>]*>([\d,]+)", page.content())
    return -1 if found is None else int(found[1].replace(",", ""))


def test_gamma_is_dragged_and_applied_while_lego_is_learnt_and_a_network_joins_in(browser, tmp_path: Path):
    with running_program(real_data("lego"), "--model", "gaussians", state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 900})
        page.set_default_timeout(1000 * WAIT_SECONDS)
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Optimise", exact=True).click()
        wait_until(page, lambda: steps(page) > 60, "nothing was learnt")
        page.get_by_role("tab", name="Prune", exact=True).click()
        page.get_by_role("button", name="Show the cut", exact=True).click()
        wait_until(page, lambda: kept(page) > 0, "the count of the cut is not told")
        halves = ends(page)
        drag_slider(page, "Band-stop", 25)
        wait_until(page, lambda: ends(page) not in ("", halves), "the notch did not move")
        wait_until(page, lambda: "s ago" in page.content(), "the age of the ranking is not told")
        page.screenshot(path=str(tmp_path / "gamma.png"))
        page.get_by_role("button", name="Apply", exact=True).locator("visible=true").click()
        wait_until(page, lambda: "Gaussians deleted" in page.content(), "it was not applied")

        page.get_by_role("tab", name="Optimise", exact=True).click()
        reached = steps(page)
        wait_until(page, lambda: steps(page) > reached + 20, "the run did not go on")
        press_folder(page, "Compensation")
        choose(page, "Compensate", "tiny")
        wait_until(page, lambda: "compensate" in page.content() and steps(page) > reached + 30, "no network is learnt")
        reached = steps(page)
        wait_until(page, lambda: steps(page) > reached + 5, "the run did not go on with the network")
        page.screenshot(path=str(tmp_path / "network.png"))
        page.close()
