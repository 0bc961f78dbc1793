"""viser's own splats, drawn by the browser in software WebGL, against our streamed pictures in the same browser.

This is what a person without a GPU sees. Both pages show the same scene at the same size while a hand drags the camera
for the same time; counted are the pictures on the canvas that differ from the one before, looked at in every animation
frame of the page.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from h3d.models.gaussians import Gaussians
from h3d.renderers import harmonics

from . import scenes
from .metrics import TIME_TOLERANCE, Effort, Metric, Skipped
from .program import running

WIDTH, HEIGHT = 640, 360
FLAGS = [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
]
SHOWN_SECONDS = 120.0
LEAST_PICTURES = 3
LONGEST_FACTOR = 10
COUNTER = """
() => {
  const probe = document.createElement("canvas");
  probe.width = 48; probe.height = 27;
  const context = probe.getContext("2d", {willReadFrequently: true});
  const state = window.__count = {pictures: 0, colours: 0};
  let last = 0;
  const look = () => {
    let canvas = null;
    for (const c of document.querySelectorAll("canvas"))
      if (canvas === null || c.width * c.height > canvas.width * canvas.height) canvas = c;
    if (canvas !== null && canvas.width > 0) {
      context.drawImage(canvas, 0, 0, probe.width, probe.height);
      const pixels = new Uint32Array(context.getImageData(0, 0, probe.width, probe.height).data.buffer);
      let hash = 0;
      for (const p of pixels) hash = (Math.imul(hash, 31) + p) | 0;
      if (hash !== last) { state.pictures += 1; state.colours = new Set(pixels).size; }
      last = hash;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


def viser_webgl(effort: Effort) -> Iterator[Metric]:
    """Pictures a second of both while dragging, and how many times as many ours are."""
    try:
        asset, scene = scenes.biker(), scenes.data_file("biker.compressed.ply")
    except Skipped:
        asset, scene = scenes.demo(), None
    with _browser() as open_page:
        with running(scene) as program:
            ours = _pictures_a_second(open_page(f"{program.url}&fixedDpr=1"), effort.seconds)
        with _splat_server(asset) as url:
            theirs = _pictures_a_second(open_page(url), effort.seconds)
    yield Metric("peers/viser_webgl/streamed_fps", ours, "frames/s", "higher", TIME_TOLERANCE)
    yield Metric("peers/viser_webgl/client_splats_fps", theirs, "frames/s", "higher", TIME_TOLERANCE)
    yield Metric("peers/viser_webgl/speedup", ours / theirs, "x", "higher", TIME_TOLERANCE)


def _pictures_a_second(page: Any, seconds: float) -> float:
    """Different pictures a second while the mouse drags, once the scene is on the canvas."""
    page.evaluate(COUNTER)
    page.wait_for_function("() => window.__count.colours > 20", timeout=1e3 * SHOWN_SECONDS)
    center = (0.3 * WIDTH, 0.5 * HEIGHT)
    page.mouse.move(*center)
    page.mouse.down()
    before = page.evaluate("() => [performance.now(), window.__count.pictures]")
    start = time.perf_counter()
    moves = 0
    while True:
        angle = 0.15 * moves
        page.mouse.move(center[0] + 60 * math.sin(angle), center[1] + 25 * math.sin(0.7 * angle))
        moves += 1
        elapsed = time.perf_counter() - start
        if elapsed < seconds:
            continue
        # A page that has shown next to nothing is watched longer, so that its rate is not a matter of luck.
        after = page.evaluate("() => [performance.now(), window.__count.pictures]")
        if after[1] - before[1] >= LEAST_PICTURES or elapsed > LONGEST_FACTOR * seconds:
            break
    page.mouse.up()
    page.close()
    shown = after[1] - before[1]
    if shown == 0:
        raise Skipped(f"the page showed no new picture in {LONGEST_FACTOR * seconds:g} s of dragging")
    return 1e3 * shown / (after[0] - before[0])


@contextmanager
def _browser() -> Iterator[Callable[[str], Any]]:
    """Opens pages in a Chromium without a window. Raises: `Skipped` where there is none."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise Skipped("Playwright is not installed; pip install playwright") from error
    executable = os.environ.get("H3D_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        except Error as error:
            first = str(error).splitlines()[0]
            raise Skipped(f"no Chromium starts ({first}); name one in H3D_CHROMIUM") from error

        def open_page(url: str) -> Any:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(url)
            return page

        try:
            yield open_page
        except Error as error:
            raise Skipped(f"the browser gave up: {str(error).splitlines()[0]}") from error
        finally:
            browser.close()


@contextmanager
def _splat_server(asset: Gaussians) -> Iterator[str]:
    """A plain viser server that hands the splats to the page; viser knows only their constant colour."""
    import rich
    import viser

    means, rgbs = asset.means.numpy(), harmonics.dc_to_rgb(asset.sh[:, 0]).clamp(0.0, 1.0).numpy()
    console = rich.get_console()
    quiet, console.quiet = console.quiet, True  # viser prints its address and its goodbye whatever it is told.
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        server.scene.add_gaussian_splats("/splats", means, _covariances(asset), rgbs, asset.opacities.numpy()[:, None])
        center, radius = scenes.center_and_radius(asset)
        server.initial_camera.up = (0.0, -1.0, 0.0)
        server.initial_camera.position = tuple(center + radius * np.array([-1.0, -0.6, -1.7]))
        server.initial_camera.look_at = tuple(center)
        yield f"http://127.0.0.1:{server.get_port()}/?fixedDpr=1"
    finally:
        server.stop()
        console.quiet = quiet


def _covariances(asset: Gaussians) -> np.ndarray:  # [N, 3, 3]
    """R diag(scales)^2 R^T."""
    w, x, y, z = asset.quats.numpy().T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    rotation = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    scaled = rotation * asset.scales.numpy()[:, None, :]
    return scaled @ scaled.transpose(0, 2, 1)
