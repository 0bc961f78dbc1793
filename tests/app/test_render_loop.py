"""Proves the loop's promises: newest wins, still pictures give way, two in flight at most, errors do not end it.

The source here records what it is asked for; what a picture looks like is proved elsewhere.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from h3d.app.render_loop import SCALES, TRANSITIONS, CostModel, Drawn, RenderLoop
from h3d.renderers import Cancelled

WAIT = 10.0


class Recorder:
    """A source whose pictures can be held back, and a sink whose browser can be silent."""

    def __init__(self, *, answering: bool = True) -> None:
        self.answering = answering
        self.camera = 0
        self.begun: list[tuple[int, bool]] = []  # (camera, still)
        self.shown: list[tuple[int, bool]] = []
        self.errors: list[Exception] = []
        self.answers: list[Future[None]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.changed = threading.Condition()
        self.fail_next = False
        self.fail_next_show = False
        self.unfinished = 0  # still pictures that would like to be drawn again
        self.settled_times = 0

    def full_size(self):
        return 640, 360

    def cost_key(self, *, still):
        return "key"

    def first_scale(self):
        return 0.5

    def budget_ms(self, *, still):
        return None if still else 33.0

    def settled(self, cancel):
        with self.changed:
            self.settled_times += 1
            self.changed.notify_all()

    def draw(self, width, height, *, still, cancel):
        with self.changed:
            self.begun.append((self.camera, still))
            camera = self.camera
            self.changed.notify_all()
        while not self.gate.wait(0.001):
            if cancel.is_set():
                raise Cancelled
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("boom")
        unfinished = still and self.unfinished > 0
        self.unfinished -= unfinished
        return Drawn((camera, still), width, height, {}, refines=unfinished, unfinished=unfinished)

    def show(self, drawn, *, still):
        if self.fail_next_show:
            self.fail_next_show = False
            raise RuntimeError("the line broke")
        answer: Future[None] = Future()
        with self.changed:
            self.shown.append(drawn.pixels)
            self.answers.append(answer)
            self.changed.notify_all()
        if self.answering:
            answer.set_result(None)
        return answer

    def failed(self, error):
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def until(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, WAIT), (self.begun, self.shown, self.errors)


@pytest.fixture
def running():
    loops = []

    def start(recorder: Recorder) -> RenderLoop:
        loop = RenderLoop(recorder, recorder)
        loops.append((loop, recorder))
        loop.start()
        return loop

    yield start
    for loop, recorder in loops:
        recorder.gate.set()
        loop.close()


def test_a_move_is_followed_by_a_still_picture(running):
    recorder = Recorder()
    running(recorder).request("move")
    recorder.until(lambda: len(recorder.shown) >= 2)
    assert [still for _, still in recorder.shown] == [False, True]


def test_the_first_move_after_idling_is_drawn_and_not_lost(running):
    recorder = Recorder()
    loop = running(recorder)
    loop.request("change")
    recorder.until(lambda: (0, True) in recorder.shown)
    recorder.camera = 1
    loop.request("move")
    recorder.until(lambda: (1, False) in recorder.shown)


def test_the_newest_camera_wins_when_moves_come_faster_than_pictures(running):
    recorder = Recorder()
    loop = running(recorder)
    recorder.gate.clear()
    loop.request("move")
    recorder.until(lambda: len(recorder.begun) == 1)
    for camera in range(1, 50):
        recorder.camera = camera
        loop.request("move")
    recorder.gate.set()
    recorder.until(lambda: (49, True) in recorder.shown)
    assert [camera for camera, _ in recorder.shown] == [0, 49, 49]


def test_a_still_picture_is_cancelled_by_a_move(running):
    recorder = Recorder()
    loop = running(recorder)
    loop.request("move")
    recorder.until(lambda: (0, False) in recorder.shown)
    recorder.gate.clear()
    recorder.until(lambda: (0, True) in recorder.begun)
    recorder.camera = 1
    loop.request("move")
    recorder.until(lambda: (1, False) in recorder.begun)
    recorder.gate.set()
    recorder.until(lambda: (1, True) in recorder.shown)
    assert (0, True) not in recorder.shown


def test_a_moving_picture_is_finished_even_if_moves_go_on(running):
    recorder = Recorder()
    loop = running(recorder)
    recorder.gate.clear()
    loop.request("move")
    recorder.until(lambda: len(recorder.begun) == 1)
    loop.request("move")
    recorder.gate.set()
    recorder.until(lambda: len(recorder.shown) >= 1)
    assert recorder.shown[0] == (0, False)


def test_a_browser_that_does_not_answer_holds_two_pictures_at_most(running):
    recorder = Recorder(answering=False)
    loop = running(recorder)
    for camera in range(1, 6):
        recorder.camera = camera
        loop.request("move")
        recorder.until(lambda: len(recorder.shown) == 2 or len(recorder.shown) >= recorder.camera)
    assert len(recorder.shown) == 2 and loop.in_flight == 2
    recorder.camera = 99
    loop.request("move")
    recorder.answers[0].set_result(None)
    recorder.until(lambda: len(recorder.shown) == 3)
    assert recorder.shown[2][0] == 99, "after the answer the newest camera is drawn, not a stale one"


def test_an_unfinished_still_picture_is_drawn_again_until_it_is_finished_and_settled_once(running):
    recorder = Recorder()
    recorder.unfinished = 3
    loop = running(recorder)
    loop.request("settle")
    recorder.until(lambda: recorder.settled_times == 1)
    assert recorder.shown == [(0, True)] * 4
    recorder.unfinished = 10**6
    loop.request("settle")
    recorder.until(lambda: len(recorder.shown) > 10)
    recorder.camera = 1
    loop.request("move")
    recorder.until(lambda: (1, False) in recorder.shown)


def test_a_picture_that_fails_is_reported_and_the_next_one_comes(running):
    recorder = Recorder()
    loop = running(recorder)
    recorder.fail_next = True
    loop.request("change")
    recorder.until(lambda: len(recorder.errors) == 1)
    loop.request("change")
    recorder.until(lambda: len(recorder.shown) >= 1)


def test_pictures_that_could_not_be_sent_take_no_room_on_the_line(running):
    recorder = Recorder()
    loop = running(recorder)
    for failures in range(1, 4):
        recorder.fail_next_show = True
        loop.request("change")
        recorder.until(lambda failures=failures: len(recorder.errors) == failures)
    assert loop.in_flight == 0
    loop.request("change")
    recorder.until(lambda: len(recorder.shown) >= 1)


def test_closing_ends_the_thread_even_while_the_browser_is_silent(running):
    recorder = Recorder(answering=False)
    loop = running(recorder)
    loop.request("move")
    recorder.until(lambda: len(recorder.shown) == 1)
    loop.close()
    assert not loop._thread.is_alive()


def test_every_state_and_action_has_a_transition():
    assert set(TRANSITIONS) == {(s, a) for s in ("moving", "still") for a in ("move", "change", "settle", "step")}


def test_the_cost_model_recovers_fixed_and_per_pixel_cost():
    model = CostModel()
    for pixels in (20_000, 80_000, 230_400, 40_000):
        model.add(pixels, 7.0 + 1e-4 * pixels)
    a, b = model.predict() or (0.0, 0.0)
    assert a == pytest.approx(7.0, rel=1e-3) and b == pytest.approx(1e-4, rel=1e-3)


def test_the_scale_shrinks_with_cost_but_never_below_the_smallest():
    assert CostModel().scale_for(230_400, 33.0) == 0.5
    cheap, dear = CostModel(), CostModel()
    for pixels in (50_000, 200_000):
        cheap.add(pixels, 1e-5 * pixels)
        dear.add(pixels, 10.0 * pixels)
    assert cheap.scale_for(230_400, 33.0) == 1.0
    assert dear.scale_for(230_400, 33.0) == SCALES[-1]


def test_where_the_fixed_cost_eats_the_budget_the_picture_keeps_as_many_pixels_as_that_again_costs():
    model = CostModel()
    for pixels in (50_000, 200_000):
        model.add(pixels, 100.0 + 2e-4 * pixels)
    assert model.scale_for(230_400, 33.0) == 1.0
