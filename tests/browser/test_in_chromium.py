"""Proves in a real browser that the page shows what was rendered and that its controls act: pixels are asserted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from balls import ball
from chromium import NEEDS_CHROMIUM, PATIENCE, choose, pixels, press
from program import Program, running_program

from h3d.models import formats

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM
RED, GREEN = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("scenes")
    formats.write(folder / "green.ply", ball(GREEN, radius=1.15))
    formats.write(folder / "red.ply", ball(RED))
    with running_program(folder / "red.ply", folder / "green.ply", state=folder / "state") as running:
        yield running


@pytest.fixture
def page(browser, program: Program):
    context = browser.new_context(viewport={"width": 960, "height": 540}, accept_downloads=True)
    opened = context.new_page()
    opened.goto(f"{program.url}&fixedDpr=1")
    yield opened
    context.close()


def share(image: np.ndarray, channel: int) -> float:
    """The share of pixels in which one channel clearly dominates."""
    others = [c for c in range(3) if c != channel]
    return float((image[..., channel] > image[..., others].max(axis=-1) + 60).mean())


def wait_until(page, condition: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
    deadline = time.monotonic() + PATIENCE
    while True:
        image = pixels(page)
        if condition(image):
            return image
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        page.wait_for_timeout(100)


def see_scene(page) -> np.ndarray:
    return wait_until(page, lambda image: share(image, 0) + share(image, 1) > 0.05, "no ball is to be seen")


def test_the_page_shows_the_scene(page):
    image = see_scene(page)
    assert share(image, 0) + share(image, 1) > 0.05


def middle(image: np.ndarray) -> float:
    """The column of the balls' centre of mass."""
    colored = image.max(axis=-1) - image.min(axis=-1) > 60
    return float(np.flatnonzero(colored.any(axis=0)).mean())


def test_dragging_and_the_wheel_move_the_camera(page):
    before = see_scene(page)
    page.mouse.move(300, 270)
    page.mouse.down(button="right")
    page.mouse.move(200, 270, steps=5)
    page.mouse.up(button="right")
    seen = share(before, 0) + share(before, 1)
    wait_until(page, lambda image: middle(image) < middle(before) - 40, "the drag did not pan the camera")
    page.mouse.wheel(0, 600)
    wait_until(page, lambda image: 0 < share(image, 0) + share(image, 1) < 0.8 * seen, "the wheel did not move it away")


def test_a_display_mode_changes_what_the_pixels_show(page):
    see_scene(page)
    press(page, "3")
    image = wait_until(page, lambda image: share(image, 0) + share(image, 1) < 0.01, "mode alpha still shows colours")
    white = (image.min(axis=-1) > 230).mean()
    assert white > 0.05, "where the balls are, alpha is white"


def test_the_wipe_shows_one_layer_on_each_side_and_follows_its_keys(page):
    see_scene(page)
    page.get_by_role("tab", name="Compare").click()
    choose(page, "Mode", "wipe")
    choose(page, "A shows", "1. red")
    choose(page, "B shows", "2. green")
    halves = wait_until(
        page, lambda image: share(image, 0) > 0.02 and share(image, 1) > 0.01, "not both are to be seen"
    )
    edge = np.flatnonzero((halves[..., 0] > halves[..., 1] + 60).any(axis=0)).max()
    for _ in range(5):
        press(page, "i")
    wait_until(
        page,
        lambda image: np.flatnonzero((image[..., 0] > image[..., 1] + 60).any(axis=0)).max(initial=0) < edge - 20,
        "the line did not follow the keys",
    )
    # Green lies under red on the left of the line only in the picture, not in space: its right edge tells whether the
    # camera stood still while the line moved.
    after = pixels(page)
    right = [np.flatnonzero((image[..., 1] > image[..., 0] + 60).any(axis=0)).max() for image in (halves, after)]
    assert abs(int(right[0]) - int(right[1])) <= 2, "a key of the wipe moved the camera"


def test_a_capture_arrives_as_a_png_with_its_recipe(page, tmp_path: Path):
    from PIL import Image

    see_scene(page)
    with page.expect_download(timeout=60_000) as download:
        press(page, "p")
    file = tmp_path / "capture.png"
    download.value.save_as(file)
    with Image.open(file) as image:
        assert image.size == (1920, 1080)
        assert "h3d-view" in image.info
        captured = np.asarray(image.convert("RGB"), np.int32)
    assert share(captured, 0) + share(captured, 1) > 0.05


def test_two_tabs_have_their_own_cameras_and_modes(page, browser, program: Program):
    see_scene(page)
    context = browser.new_context(viewport={"width": 960, "height": 540})
    other = context.new_page()
    other.goto(f"{program.url}&fixedDpr=1")
    see_scene(other)
    press(other, "3")
    wait_until(other, lambda image: share(image, 0) + share(image, 1) < 0.01, "the second tab did not change")
    page.bring_to_front()  # A tab behind another one is not drawn.
    image = pixels(page)
    assert share(image, 0) + share(image, 1) > 0.05, "the first tab must not follow the second one's mode"
    press(page, "b")
    wait_until(page, lambda image: image[-40:, :40].min() > 240, "the first tab no longer answers")
    context.close()


def test_a_page_without_the_token_is_refused(browser, program: Program):
    parts = urlsplit(program.url)
    context = browser.new_context()
    stranger = context.new_page()
    response = stranger.goto(f"{parts.scheme}://{parts.netloc}/")
    assert response is not None and response.status == 403
    assert "canvas" not in stranger.content()
    context.close()


def test_a_websocket_from_a_foreign_origin_is_refused(browser, program: Program):
    import viser

    parts = urlsplit(program.url)
    context = browser.new_context()
    context.route(
        "http://elsewhere.example/", lambda route: route.fulfill(body="<html></html>", content_type="text/html")
    )
    foreign = context.new_page()
    foreign.goto("http://elsewhere.example/")
    outcome = foreign.evaluate(
        """([address, protocol]) => new Promise((resolve) => {
            const socket = new WebSocket(address, protocol);
            socket.onopen = () => resolve("open");
            socket.onerror = () => resolve("refused");
        })""",
        [f"ws://{parts.netloc}/?{parts.query}", f"viser-v{viser.__version__}"],
    )
    assert outcome == "refused", "even with the token, another page's script must not get in"
    context.close()
