"""Proves in a real browser that the sphere of a cache is seen around the object, in the colours that its bar says, that
a click on it tells of the cell, and that its views can be gone to. The cache is a real one, around a tiny UNet."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from cached_runs import CachedTask
from chromium import NEEDS_CHROMIUM, WAIT_SECONDS, choose, wait_until
from PIL import Image

from h3d.app.figures.colormaps import SEQUENTIAL
from h3d.app.guard import start_guarded_server
from h3d.app.session import Settings
from h3d.app.viewer import Viewer
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.scene import Home
from h3d.app.workspace.workspace import Workspace
from h3d.models.hash3d import Config, Grid

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM
STEPS = 150
CANVAS = {"x": 330, "y": 150, "width": 600, "height": 600}  # Right of the browser's own remark on its WebGL.


def seen(page) -> np.ndarray:
    """[H, W, 3] of `CANVAS`."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=CANVAS))).convert("RGB"), np.int32)


def of_colour(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Where a picture has this colour, sRGB in [0, 1]: [H, W] bool."""
    return np.abs(pixels - np.round(255 * colour)).max(axis=-1) <= 6


def test_the_sphere_is_seen_clicked_and_looked_from(browser, tmp_path: Path):
    workspace, guarded = Workspace(), start_guarded_server(port=0)
    optimisation = Optimisation(workspace)
    viewer = Viewer(guarded.viser, workspace, optimisation, AllowedFolders.given([tmp_path]), Settings())
    home = Home((0.0, 0.0, 1.0), direction=(1.0, -1.0, 0.6))
    run = optimisation.begin(CachedTask(Config(eta=0.0, grids=(Grid(30.0, 30.0, 9.0, 1000.0),))), home=home)
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    try:
        page.set_default_timeout(1000 * WAIT_SECONDS)
        page.goto(f"{guarded.url}&fixedDpr=1")
        page.get_by_role("tab", name="Hash3D", exact=True).click()
        wait_until(page, lambda: optimisation.statuses()[0].step >= STEPS, "it did not go on")
        optimisation.pause(run)
        choose(page, "Colour", "occupancy")  # The queue is full in every cell: all are of the highest colour.
        page.get_by_role("button", name="Sphere in view").click()
        wait_until(page, lambda: of_colour(seen(page), SEQUENTIAL[-1]).mean() > 0.1, "no tile has its colour")
        page.wait_for_timeout(1000)  # The flight ends.
        ys, xs = np.nonzero(of_colour(seen(page), SEQUENTIAL[-1]))
        nearest = int(np.argmin(np.abs(ys - np.median(ys)) + np.abs(xs - np.median(xs))))
        page.mouse.click(CANVAS["x"] + int(xs[nearest]), CANVAS["y"] + int(ys[nearest]))
        wait_until(page, lambda: page.locator('td:text-is("occupancy") + td').count() > 0, "the click chose no cell")
        assert page.locator('td:text-is("occupancy") + td').first.inner_text() == "3"
        before = seen(page)
        page.get_by_role("button", name="Look from there").click()
        wait_until(page, lambda: np.abs(seen(page) - before).mean() > 5, "the camera stayed where it was")
    finally:
        page.close()
        viewer.close()
        optimisation.close()
        guarded.stop()
