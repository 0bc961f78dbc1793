"""Proves what a hand that moves something gets done: the last of what it asked for, once it holds still."""

from __future__ import annotations

import threading

from h3d.app.hands import Hands


def test_of_what_is_moved_only_where_it_comes_to_rest_is_done():
    hands, done, rested = Hands(failed=lambda error: None), [], threading.Event()
    slider, other = object(), object()

    def act(value: int) -> None:
        done.append(value)
        if len(done) == 2:
            rested.set()

    for value in range(10):
        hands.settle(act, value, slider)
    assert hands.awaits(slider) and not hands.awaits(other) and done == []
    hands.settle(act, 100, other)
    assert rested.wait(30.0)
    assert done == [9, 100]
    hands.settle(act, 11, slider)
    hands.close()
    hands.settle(act, 12, slider)
    assert done == [9, 100]
