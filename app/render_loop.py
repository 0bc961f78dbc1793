"""One loop a tab: turns camera moves and changes into pictures, newest first, and never floods the browser.

A tab is `moving` or `still`. Moving pictures are as small as the measured cost asks for; when nothing has happened
for a moment the picture is rendered whole, in two goes where it takes long. While what is shown is being optimised
(`step`), still pictures have a budget too: the optimisation wants the time. A still picture that is not finished is
drawn again until it is. What happens is a table:

    state \\ action   move      change    settle    step
    moving           moving    moving    still     moving
    still            moving    moving    still     still

Rules that keep it quick: the request slot holds one entry and is cleared when taken, so the newest camera wins; a
still picture is cancelled by a move, a moving one is always finished, so a long drag still shows pictures; at most two
pictures are under way to the browser, counted by its own acknowledgements, so that a slow line or a tab that
does not read never holds stale ones. A picture that fails is reported and the loop goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from h3d.renderers import CancelFlag, Cancelled

logger = logging.getLogger(__name__)

State = Literal["moving", "still"]
Action = Literal["move", "change", "settle", "step"]

TRANSITIONS: dict[tuple[State, Action], State] = {
    ("moving", "move"): "moving",
    ("moving", "change"): "moving",
    ("moving", "settle"): "still",
    ("moving", "step"): "moving",
    ("still", "move"): "moving",
    ("still", "change"): "moving",
    ("still", "settle"): "still",
    ("still", "step"): "still",
}
_URGENCY: dict[Action, int] = {"settle": 0, "step": 1, "change": 2, "move": 3}

SETTLE_SECONDS = 0.12
MAX_IN_FLIGHT = 2
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125)  # of the linear size of a picture with a budget
PREVIEW_MS, PREVIEW_BUDGET_MS = 600.0, 200.0  # a still picture dearer than the first is shown coarser before


@dataclass(frozen=True)
class Drawn:
    """What the source made of a request."""

    pixels: object  # handed to the sink untouched
    width: int
    height: int
    stats: dict[str, float]
    refines: bool = False  # it went on with the picture before, so it says nothing of what one costs
    unfinished: bool = False  # it gets better when it is drawn again


class Source(Protocol):
    """Makes pictures; the session of a tab is one."""

    def full_size(self) -> tuple[int, int]:
        """Width and height of the tab's canvas in pixels."""
        ...

    def draw(self, width: int, height: int, *, still: bool, cancel: CancelFlag) -> Drawn:
        """The picture of this moment. Raises `Cancelled` when the flag was set."""
        ...

    def cost_key(self, *, still: bool) -> object:
        """Pictures with equal keys cost alike (same layers, same mode)."""
        ...

    def first_scale(self) -> float:
        """Of the linear size: what the first picture of its kind is tried at, before anything is known of its cost."""
        ...

    def budget_ms(self, *, still: bool) -> float | None:
        """What a picture may cost; a dearer one is made smaller. None = it is made whole."""
        ...

    def settled(self, cancel: CancelFlag) -> None:
        """Called once after a still picture was handed over: time for slower things, such as metrics."""
        ...


class Sink(Protocol):
    """Hands pictures to the browser."""

    def show(self, drawn: Drawn, *, still: bool) -> Future[None]:
        """Send it; the future resolves when the browser has drawn it, and fails when the browser is gone."""
        ...

    def failed(self, error: Exception) -> None:
        """Tell the person that a picture could not be made."""
        ...


class CostModel:
    """Milliseconds of a picture as a + b * pixels, from what was measured, older measurements fading.

    `a` is what projection and sorting cost whatever the size, `b` the blending.
    """

    FADE = 0.85

    def __init__(self, first_scale: float = 0.5) -> None:
        self._first_scale = first_scale
        self._sums = [0.0] * 5  # weight, pixels, ms, pixels^2, pixels * ms

    def add(self, pixels: int, ms: float) -> None:
        new = (1.0, pixels, ms, float(pixels) * pixels, pixels * ms)
        self._sums = [self.FADE * s + n for s, n in zip(self._sums, new, strict=True)]

    def predict(self) -> tuple[float, float] | None:
        """(a, b) in ms and ms per pixel, or None before the first measurement."""
        weight, x, y, xx, xy = self._sums
        if weight == 0.0:
            return None
        spread = xx - x * x / weight
        if spread < 1e-3 * xx:
            # One size only was seen: half of its cost is taken to grow with the pixels.
            return 0.5 * y / weight, 0.5 * y / x
        b = max((xy - x * y / weight) / spread, 0.0)
        return max((y - b * x) / weight, 0.0), b

    def scale_for(self, pixels: int, budget_ms: float) -> float:
        """The largest of SCALES whose picture fits the budget.

        Where the fixed part alone eats the budget, pixels are given as much again: smaller pictures would hardly be
        quicker.
        """
        prediction = self.predict()
        if prediction is None:
            return self._first_scale
        a, b = prediction
        allowance = max(budget_ms - a, a)
        return next((s for s in SCALES if b * pixels * s * s <= allowance), SCALES[-1])

    def milliseconds(self, pixels: int) -> float:
        """What a picture of this size will cost; 0 before the first measurement."""
        a, b = self.predict() or (0.0, 0.0)
        return a + b * pixels


class RenderLoop:
    """The thread of one tab. `request` may be called from anywhere and returns at once."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source, self._sink = source, sink
        self._condition = threading.Condition()
        self._pending: Action | None = None
        self._requested_at = 0.0
        self._state: State = "still"
        self._in_flight = 0
        self._closed = False
        self._cancel = CancelFlag()
        self._drawing_still = False
        self._costs: dict[object, CostModel] = {}
        self.on_acknowledged: Callable[[float], None] = lambda latency_ms: None
        self._thread = threading.Thread(target=self._run, name="render-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the loop and wait for its thread."""
        with self._condition:
            self._closed = True
            self._cancel.set()
            self._condition.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def request(self, action: Action) -> None:
        """Ask for a picture. The most urgent action waits; the camera is read when the picture begins."""
        with self._condition:
            if self._pending is None:
                self._requested_at = time.perf_counter()
            if self._pending is None or _URGENCY[action] > _URGENCY[self._pending]:
                self._pending = action
            if self._drawing_still and action in ("move", "change"):
                self._cancel.set()
            self._condition.notify_all()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            action, requested_at = taken
            self._state = TRANSITIONS[self._state, action]
            still = self._state == "still"
            try:
                unfinished = self._draw(still, requested_at)
                if still and unfinished:
                    self.request("settle")
                elif still and not self._something_waits():
                    self._source.settled(self._cancel)
            except Cancelled:
                continue
            except Exception as error:
                logger.exception("a picture failed")
                self._sink.failed(error)

    def _take(self) -> tuple[Action, float] | None:
        """Wait until there is something to draw and room to send it; clears the slot. None = closed."""
        with self._condition:
            self._drawing_still = False
            while not self._closed:
                free = self._in_flight < MAX_IN_FLIGHT
                if self._pending is not None and free:
                    action, self._pending = self._pending, None
                    self._cancel.clear()
                    self._drawing_still = TRANSITIONS[self._state, action] == "still"
                    return action, self._requested_at
                settling = self._state == "moving" and self._pending is None
                if not self._condition.wait(SETTLE_SECONDS if settling else None) and settling:
                    self._pending, self._requested_at = "settle", time.perf_counter()
            return None

    def _room(self) -> bool:
        """Wait until one more picture may be sent; False when something newer is asked for first."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._in_flight < MAX_IN_FLIGHT or self._pending is not None or self._closed
            )
            return self._pending is None and not self._closed

    def _something_waits(self) -> bool:
        with self._condition:
            return self._pending is not None or self._closed

    def _draw(self, still: bool, requested_at: float) -> bool:
        """Draws and sends; whether the picture gets better when it is drawn again."""
        width, height = self._source.full_size()
        key = self._source.cost_key(still=still)
        if (model := self._costs.get(key)) is None:
            model = self._costs[key] = CostModel(self._source.first_scale())
        budget = self._source.budget_ms(still=still)
        if budget is not None:
            return self._draw_at(model.scale_for(width * height, budget), still, requested_at, model)
        if model.milliseconds(width * height) > PREVIEW_MS:
            self._draw_at(model.scale_for(width * height, PREVIEW_BUDGET_MS), still, requested_at, model)
            if not self._room():
                return False
        return self._draw_at(1.0, still, requested_at, model)

    def _draw_at(self, scale: float, still: bool, requested_at: float, model: CostModel) -> bool:
        width, height = self._source.full_size()
        width, height = max(1, round(scale * width)), max(1, round(scale * height))
        start = time.perf_counter()
        drawn = self._source.draw(width, height, still=still, cancel=self._cancel)
        if not drawn.refines:
            model.add(width * height, 1e3 * (time.perf_counter() - start))
        with self._condition:
            if self._closed:
                return False
            self._in_flight += 1
        try:
            answer = self._sink.show(drawn, still=still)
        except BaseException:
            with self._condition:
                self._in_flight -= 1
            raise
        answer.add_done_callback(lambda answer: self._acknowledge(answer, requested_at))
        return drawn.unfinished

    def _acknowledge(self, answer: Future[None], requested_at: float) -> None:
        with self._condition:
            self._in_flight -= 1
            self._condition.notify_all()
        if not answer.cancelled() and answer.exception() is None:
            self.on_acknowledged(1e3 * (time.perf_counter() - requested_at))
