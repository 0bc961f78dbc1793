"""Proves what a hand that moves something gets done: the last of what it asked for, once it holds still."""

from __future__ import annotations

import threading

import pytest

from h3d.app import hands as hands_module
from h3d.app.hands import Hands


def test_of_what_is_moved_only_where_it_comes_to_rest_is_done():
    hands, done, rested = Hands(failed=lambda error: None), [], threading.Event()
    slider = object()

    def act(value: int) -> None:
        done.append(value)
        rested.set()

    for value in range(10):
        hands.settle(act, value, slider)
    assert hands.awaits(slider) and not hands.awaits(object())
    assert rested.wait(30.0)
    assert done[-1] == 9 and not hands.awaits(slider)
    hands.settle(act, 11, slider)
    hands.close()
    hands.settle(act, 12, slider)
    assert done[-1] == 9, "what a tab that is gone has moved is not done"


def test_nothing_overtakes_what_is_being_moved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hands_module, "SETTLE_SECONDS", 3600.0)
    hands, done, pressed = Hands(failed=lambda error: None), [], threading.Event()
    for value in range(5):
        hands.settle(done.append, value, "slider")
    hands.settle(done.append, 50, "number")
    hands.settle(done.append, 51, "number")
    hands.do(done.append, 100, about="button")
    hands.do(pressed.set)
    assert pressed.wait(30.0)
    assert done == [4, 51, 100]
    hands.close()
