"""Proves in a real browser that a picture becomes 3D on the shipped denoiser while its cache is watched and turned: the
sphere changes, the log grows, a run without the cache goes on beside it under the wipe, and the figure is saved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, WAIT_SECONDS, drag_slider, pixels, press_folder, wait_until
from program import running_program

from h3d import assets
from h3d.app.run_folder import RunFolder

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def changes(run: Path) -> dict[str, float]:
    """What the log says was turned, and where it is now."""
    found = {}
    for event in RunFolder(run).read_events():
        if event["event"] == "change":
            found |= {name: event[name] for name in event.keys() - {"step", "event"}}
    return found


def cells(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1


def saved(page, button: str, path: Path) -> Path:
    with page.expect_download(timeout=1000 * WAIT_SECONDS) as download:
        page.get_by_role("button", name=button, exact=True).click()
    download.value.save_as(path)
    return path


@pytest.mark.slow
def test_a_picture_becomes_3d_and_its_cache_is_watched_turned_compared_and_saved(browser, tmp_path: Path):
    picture, run = tmp_path / "data" / "teapot.png", tmp_path / "data" / "kept"
    picture.parent.mkdir()
    shutil.copy(assets.path("references/teapot.png"), picture)
    with running_program(picture, state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 900}, accept_downloads=True)
        page.set_default_timeout(1000 * WAIT_SECONDS)
        page.goto(f"{program.url}&fixedDpr=1")
        tab(page, "Optimise")
        wait_until(page, lambda: page.locator('td:text-is("full passes")').count() > 0, "no step was made")
        press_folder(page, "Keep the run")
        page.locator('label:text-is("Folder") >> xpath=following::input[1]').fill("kept")
        page.get_by_role("button", name="Record it there").click()
        wait_until(page, (run / "events.jsonl").exists, "the run is not recorded")
        press_folder(page, "Keep the run")

        tab(page, "Hash3D")
        before = pixels(page)
        page.get_by_role("button", name="Sphere in view").click()
        wait_until(page, lambda: np.abs(pixels(page) - before).mean() > 5, "no sphere is to be seen")
        press_folder(page, "Save")
        coarse = cells(saved(page, "Save CSV", tmp_path / "coarse.csv"))

        tab(page, "Optimise")
        press_folder(page, "Cache")
        drag_slider(page, "Eta", -20)
        wait_until(page, lambda: changes(run).get("hash3d.eta", 0.9) < 0.9, "eta is not in the log")
        drag_slider(page, "Azimuth", -12)
        wait_until(page, lambda: changes(run).get("hash3d.azimuth", 45.0) < 45.0, "the grid is not in the log")

        tab(page, "Hash3D")
        wait_until(page, lambda: np.abs(pixels(page) - before).mean() > 5, "the sphere has gone")
        wait_until(
            page, lambda: cells(saved(page, "Save CSV", tmp_path / "fine.csv")) > coarse, "the cells are no finer"
        )
        figure = saved(page, "Save figure", tmp_path / "figure.pdf")
        assert figure.read_bytes().startswith(b"%PDF")

        tab(page, "Optimise")
        press_folder(page, "Run again")
        press_folder(page, "Hash3d")
        page.get_by_label("Hash3d: reuse", exact=True).click()
        page.get_by_role("option", name="off", exact=True).locator("visible=true").click()
        page.get_by_role("button", name="Run again beside it", exact=True).click()
        tab(page, "Compare")
        row = 'tr:has(td:text-is("full passes")) td'
        wait_until(page, lambda: "(100 %)" in "".join(page.locator(row).all_inner_texts()), "no run without a cache")
        wait_until(page, lambda: re.search(r"At equal time \(.* s\): A PSNR", page.content()), "no difference")
        page.screenshot(path=str(tmp_path / "wipe.png"))
        page.close()
