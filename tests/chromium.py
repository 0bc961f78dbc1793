"""A real browser for tests: where Chromium is, how it is started, what a person does in it.

Needs Chromium (H3D_CHROMIUM or `chromium` on the path) and Playwright; tests that want it skip with the reason.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest

CHROMIUM = os.environ.get("H3D_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it, or name it in H3D_CHROMIUM"),
]
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic",
]  # fmt: skip
PATIENCE = 120.0
WAIT_SECONDS = 120.0


def pixels(page) -> np.ndarray:
    """The left 600 columns of what the browser shows, [540, 600, 3]; panels lie to the right of that."""
    from PIL import Image

    shot = page.screenshot(clip={"x": 0, "y": 0, "width": 600, "height": 540})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int32)


def press(page, key: str) -> None:
    """Press a key with nothing focused, so that it reaches the hotkeys."""
    page.evaluate("document.activeElement && document.activeElement.blur()")
    page.keyboard.press(key)


def choose(page, label: str, option: str) -> None:
    """Choose an option of the dropdown with this label, as a person would."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option", name=option, exact=True).click()


def press_folder(page, name: str) -> None:
    """Open or close a folder, once those around it have slid to where they stay, and wait until it has slid too."""
    folder = page.get_by_text(name, exact=True).locator("visible=true").last  # A tab above may have the same name.
    folder.scroll_into_view_if_needed()
    resting(page, folder)
    folder.click()
    resting(page, folder)


def resting(page, handle) -> None:
    """Wait until it stays where it is: folders slide, and slide on when the machine is busy."""
    before, now = None, handle.bounding_box()
    deadline = time.monotonic() + PATIENCE
    while now is None or now != before:
        assert time.monotonic() < deadline, "it never rests"
        page.wait_for_timeout(150)
        before, now = now, handle.bounding_box()


def drag_slider(page, label: str, far: int) -> None:
    """Drag the slider of this label by so many pixels."""
    named = page.locator("label").filter(has_text=re.compile(f"^{re.escape(label)}$")).locator("visible=true").first
    handle = page.locator(f'[id="{named.get_attribute("for")}"]').first
    handle.scroll_into_view_if_needed()
    resting(page, handle)
    thumb = handle.locator(".mantine-Slider-thumb").first.bounding_box()
    x, y = thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + far, y, steps=8)
    page.mouse.up()


def wait_until(page, condition: Callable[[], object], what: str) -> None:
    """Until a condition holds; the page goes on meanwhile."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"after {WAIT_SECONDS} s: {what}"
        page.wait_for_timeout(100)
