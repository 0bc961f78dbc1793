"""Camera flights: a short, smooth move of a tab's camera from where it is to another pose."""

from __future__ import annotations

import threading
import time

import numpy as np
import viser

from h3d.renderers.cameras import Camera

FRAME_SECONDS = 1.0 / 40.0


def fly(
    client: viser.ClientHandle,
    camera: Camera,
    up: np.ndarray,  # [3]
    distance: float,
    seconds: float,
    stop: threading.Event,
) -> None:
    """Move the client's camera to `camera` along a smooth path; returns at once, the flight has its own thread.

    Args:
        distance: how far ahead of the camera the orbit's pivot lies at the end.
        stop: set it to end the flight where it is.
    """
    handle = client.camera
    position0, pivot0 = np.array(handle.position, np.float64), np.array(handle.look_at, np.float64)
    position1 = camera.position
    pivot1 = position1 + distance * camera.forward
    up0 = np.array(handle.up_direction, np.float64)
    up1 = _upright(camera, up)

    def place(share: float) -> None:
        # The pivot moves straight; the eye moves around it, so that a half turn does not pass through the scene.
        pivot = (1 - share) * pivot0 + share * pivot1
        eye = pivot + _turned(position0 - pivot0, position1 - pivot1, share)
        with client.atomic():
            handle.up_direction = (1 - share) * up0 + share * up1 if share < 1 else up1
            handle.position = eye
            handle.look_at = pivot
        client.flush()

    def run() -> None:
        start = time.perf_counter()
        while not stop.wait(FRAME_SECONDS):
            share = min((time.perf_counter() - start) / seconds, 1.0) if seconds > 0 else 1.0
            try:
                place(share * share * (3 - 2 * share))
            except ValueError:
                place(1.0)  # A degenerate pose half way (up along the view): arrive at once.
                return
            if share >= 1.0:
                return

    threading.Thread(target=run, name="flight", daemon=True).start()


def _turned(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:  # [3], [3] -> [3]
    """Between two arms: direction by great circle, length by geometric mean."""
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    length = length_a ** (1 - share) * length_b**share
    a, b = a / length_a, b / length_b
    angle = np.arccos(np.clip(a @ b, -1.0, 1.0))
    if angle < 1e-6 or np.pi - angle < 1e-6:
        mixed = (1 - share) * a + share * b
        norm = np.linalg.norm(mixed)
        return length * (mixed / norm if norm > 1e-6 else b)
    return length * (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def _upright(camera: Camera, up: np.ndarray) -> np.ndarray:  # [3]
    """The scene's up if the camera is upright in it (so that orbiting goes on about it), else the camera's own."""
    side = np.cross(camera.forward, up)
    if np.linalg.norm(side) < 1e-3:
        return camera.up
    right = camera.camera_to_world[:3, 0]
    return up if side @ right / np.linalg.norm(side) > 0.999 else camera.up
