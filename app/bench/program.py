"""The whole program from outside: how soon a picture comes, how soon one follows the camera, what is held back.

Runs `h3d-view` as a process of its own and looks at it through a plain websocket client that answers as a browser's tab
does, without the time that a browser needs to decode and draw. Letters: p50 and p95 are quantiles over camera moves.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from h3d.app.viser_client import Picture, View, ViserClient
from h3d.renderers.cameras import quat_to_rotation

from . import scenes
from .metrics import EXACT, TIME_TOLERANCE, Effort, Metric, Skipped, milliseconds, quantile

START_LINE = "h3d-view: http"
START_SECONDS = 120.0
QUIET_SECONDS = 1.0
"""A viewer that has sent nothing for so long has settled."""
PAUSE_SECONDS = 0.25
"""Between two moves, after the still picture has come: what a hand does."""
CAMERA_SECONDS = 0.02
"""The browser sends its camera at most this often."""
WAITING_TOLERANCE = 3.0
"""For times that hold a wait of fixed length, which a faster machine does not shorten."""
STEP_RADIANS = math.radians(4.0)
WIDTH, HEIGHT = 640, 360


@dataclass(frozen=True)
class Program:
    """A running h3d-view."""

    url: str
    pid: int
    seconds_to_url: float
    started: float
    """`time.perf_counter()` just before the process was made."""


@contextmanager
def running(scene: Path | None) -> Iterator[Program]:
    """Runs h3d-view on a scene (None: the demo scene), ready when it has printed its address; ended afterwards.

    Raises:
        ChildProcessError: it ended or stayed silent; with what it said.
    """
    code = "from h3d.app.cli import view_main; view_main()"
    flags = ["--no-open", "--port", "0"]
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as state, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, *([str(scene)] if scene else []), *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "H3D_STATE": state},
        )
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            url = _printed_url(process)
            watchdog.cancel()
            if url is None:
                errors.seek(0)
                said = errors.read()[-2000:]
                raise ChildProcessError(f"h3d-view printed no address; it said: {said.strip()}")
            yield Program(url, process.pid, time.perf_counter() - started, started)
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def first_picture(effort: Effort) -> Iterator[Metric]:
    """Seconds from starting the process to its address, and to the first picture in a tab."""
    scene = _scene()
    to_url, to_picture = [], []
    for _ in range(1 if effort.quick else 3):
        with running(scene) as program, _tab(program) as tab:
            picture = tab.next_background(START_SECONDS)
            to_url.append(program.seconds_to_url)
            to_picture.append(picture.arrived - program.started)
    yield Metric("viewer/ready_s", min(to_url), "s", "lower", TIME_TOLERANCE)
    yield Metric("viewer/first_picture_s", min(to_picture), "s", "lower", TIME_TOLERANCE)


def move_to_picture(effort: Effort) -> Iterator[Metric]:
    """Milliseconds from sending a camera to the next picture and to the still one; pictures a second of a long drag."""
    with running(_scene()) as program, _tab(program) as tab:
        _settle(tab)
        for _ in range(5):  # The cost model of the render loop learns this machine and this scene.
            _one_move(tab)
        moves = [_one_move(tab) for _ in range(effort.moves)]
        first, still, share = (list(column) for column in zip(*moves, strict=True))
        yield milliseconds("viewer/move_to_picture_p50_ms", quantile(first, 0.5))
        yield milliseconds("viewer/move_to_picture_p95_ms", quantile(first, 0.95))
        yield milliseconds("viewer/move_to_still_p50_ms", quantile(still, 0.5), WAITING_TOLERANCE)
        yield Metric("viewer/moving_picture_share_of_pixels", quantile(share, 0.5), "share", "higher", TIME_TOLERANCE)
        yield Metric("viewer/drag_fps", _drag(tab, effort.seconds), "pictures/s", "higher", TIME_TOLERANCE)


def held_frames(effort: Effort) -> Iterator[Metric]:
    """Pictures waiting for a tab that has read nothing for a while, the camera moving all the time."""
    with running(_scene()) as program, _tab(program) as tab:
        _settle(tab)
        tab.stop_reading()
        _send_cameras(tab, effort.seconds)
        # What arrives now was sent before; without an answer nothing new follows.
        tab.stop_acknowledging()
        tab.resume_reading()
        held = len(_settle(tab))
        yield Metric("viewer/held_frames_when_not_reading", float(held), "frames", "lower", EXACT)


def looked_at(program: Program, moves: int = 5) -> None:
    """Opens a tab, moves its camera, and returns when all pictures have come."""
    with _tab(program) as tab:
        tab.next_background(START_SECONDS)
        for _ in range(moves):
            _one_move(tab)


def _scene() -> Path | None:
    try:
        return scenes.data_file("biker.compressed.ply")
    except Skipped:
        return None


@contextmanager
def _tab(program: Program) -> Iterator[ViserClient]:
    with ViserClient(program.url, View(width=WIDTH, height=HEIGHT), timeout=START_SECONDS) as tab:
        yield tab


def _one_move(tab: ViserClient) -> tuple[float, float, float]:
    """Milliseconds to the first picture after a move and to the last, and the first one's share of the full pixels."""
    tab.forget_pictures()
    sent = _turn(tab)
    first = tab.next_background()
    last = ([first] + _settle(tab))[-1]
    width, height = Image.open(io.BytesIO(first.data)).size
    time.sleep(PAUSE_SECONDS)
    return 1e3 * (first.arrived - sent), 1e3 * (last.arrived - sent), width * height / (WIDTH * HEIGHT)


def _drag(tab: ViserClient, seconds: float) -> float:
    """Pictures a second while the camera moves without a pause."""
    _settle(tab)
    before = tab.pictures_received
    start = time.perf_counter()
    _send_cameras(tab, seconds)
    rate = (tab.pictures_received - before) / (time.perf_counter() - start)
    _settle(tab)
    return rate


def _send_cameras(tab: ViserClient, seconds: float) -> None:
    start = time.perf_counter()
    due = start
    while due - start < seconds:
        _turn(tab)
        due += CAMERA_SECONDS
        time.sleep(max(0.0, due - time.perf_counter()))


def _turn(tab: ViserClient) -> float:
    """Orbit one step about the up axis; returns when it was sent."""
    view = tab.view
    target, up = np.array(view.look_at), np.array(view.up) / np.linalg.norm(view.up)
    half = 0.5 * STEP_RADIANS
    turn = quat_to_rotation(np.array([math.cos(half), *(math.sin(half) * up)]))
    return tab.move_camera(position=target + turn @ (np.array(view.position) - target))


def _settle(tab: ViserClient) -> list[Picture]:
    """All pictures until none has come for a while."""
    pictures = []
    while True:
        try:
            pictures.append(tab.next_background(QUIET_SECONDS))
        except TimeoutError:
            return pictures


def _printed_url(process: subprocess.Popen[str]) -> str | None:
    """The address from the process's output, or None when it ends without one."""
    assert process.stdout is not None
    for printed in process.stdout:
        if printed.startswith(START_LINE):
            return printed.split(": ", 1)[1].strip()
    return None
