"""Where one tab's pictures go: the browser's background, with depth where the browser itself draws into the scene."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .figures.pictures import Picture
from .render_loop import MAX_IN_FLIGHT, Drawn
from .workspace.events import FrameShown

if TYPE_CHECKING:
    from .session import Session

JPEG_MOVING, JPEG_STILL = 70, 92
DEPTH_SIDE = 512  # depth is sent only to hide gizmos rightly; it costs a PNG
MAX_SENT_DEPTH = 160.0  # viser packs depth into 24 bits of 1e-5 each
REPEAT_ERROR_SECONDS = 5.0


class Screen:
    """The `Sink` of a tab's render loop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answers = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="acknowledge")
        self._last_error = ("", 0.0)

    def close(self) -> None:
        """Wait for no more answers."""
        self._answers.shutdown(wait=False, cancel_futures=True)

    def show(self, drawn: Drawn, *, still: bool) -> Future[None]:
        """See `Sink`."""
        session, picture = self._session, drawn.pixels
        assert isinstance(picture, Picture)
        depth = None if picture.depth is None else _thin(picture.depth, picture.alpha)
        if depth is not None and self._gizmo_distance() > MAX_SENT_DEPTH:
            depth = None  # The browser's depth ends there and would hide the gizmo whole.
        start = time.perf_counter()
        session.client.scene.set_background_image(
            picture.pixels, format="jpeg", jpeg_quality=JPEG_STILL if still else JPEG_MOVING, depth=depth
        )
        session.client.flush()
        seconds = time.perf_counter() - start
        session.optimisation.frames.handed_over(seconds)
        stats = {**drawn.stats, "encode_ms": 1e3 * seconds}
        session.events.publish(FrameShown(drawn.width, drawn.height, still, stats, picture.legend))
        return self._answers.submit(self._wait_until_drawn)

    def failed(self, error: Exception) -> None:
        """See `Sink`."""
        text, now = f"{type(error).__name__}: {error}", time.monotonic()
        if text == self._last_error[0] and now - self._last_error[1] < REPEAT_ERROR_SECONDS:
            return
        self._last_error = (text, now)
        self._session.notify("This picture could not be rendered", text, "error")

    def _gizmo_distance(self) -> float:
        layer, camera = self._session.selected_layer(), self._session.navigation.camera()
        return 0.0 if layer is None else float(np.linalg.norm(camera.position - layer.position))

    def _wait_until_drawn(self) -> None:
        # A read from the browser's storage is answered in order behind the picture that was sent before it. A hidden
        # tab answers when it is looked at again, and until then nothing need be drawn for it.
        self._session.client.local_storage.get_item("h3d-frame")


def _thin(depth: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:  # [h, w] -> [h', w']
    """Depth at DEPTH_SIDE or less, with what is nearly transparent moved far behind everything."""
    step = max(1, math.ceil(max(depth.shape) / DEPTH_SIDE))
    far = np.float32(1e3)
    thin = depth[::step, ::step]
    if alpha is not None:
        thin = np.where(alpha[::step, ::step] > 0.5, thin, far)
    return np.ascontiguousarray(thin)
