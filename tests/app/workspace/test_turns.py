"""Proves who is next where several runs go on at once, by schedules counted out step by step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from h3d.app.workspace.turns import Sharing, Turns


@dataclass
class Clock:
    """A run of which each step takes as long."""

    key: int
    step_seconds: float
    seconds: float = 0.0


def play(turns: Turns, runs: list[Clock], count: int, sharing: Sharing) -> Counter[int]:
    """Who had how many of the next steps."""
    had: Counter[int] = Counter()
    for _ in range(count):
        run = turns.pick(runs, sharing)
        run.seconds += run.step_seconds
        turns.took(run.key, run.step_seconds)
        had[run.key] += 1
    return had


def test_by_time_clocks_stay_within_one_step_of_each_other():
    turns, runs = Turns(), [Clock(1, 0.05), Clock(2, 0.01), Clock(3, 0.02)]
    for _ in range(300):
        play(turns, runs, 1, "time")
        seconds = [run.seconds for run in runs]
        assert max(seconds) - min(seconds) <= 0.05 + 1e-9


def test_by_steps_each_has_as_many():
    assert play(Turns(), [Clock(1, 0.05), Clock(2, 0.01)], 300, "steps") == {1: 150, 2: 150}


@pytest.mark.parametrize(("sharing", "of_the_new"), [("time", 100), ("steps", 100), ("clocks", 200)])
def test_who_comes_later_begins_level_and_catches_up_only_by_clocks(sharing: Sharing, of_the_new: int):
    turns, old, new = Turns(), Clock(1, 0.01), Clock(2, 0.01)
    play(turns, [old], 1000, sharing)
    assert play(turns, [old, new], 200, sharing)[2] == pytest.approx(of_the_new, abs=1)


def test_by_clocks_both_go_on_together_once_they_are_level():
    turns, old, new = Turns(), Clock(1, 0.01, seconds=1.0), Clock(2, 0.02)
    play(turns, [old, new], 200, "clocks")
    assert old.seconds == pytest.approx(new.seconds, abs=0.021) and old.seconds > 2.0


def test_who_rested_has_nothing_to_make_up_for():
    turns, a, b = Turns(), Clock(1, 0.01), Clock(2, 0.01)
    play(turns, [a, b], 100, "time")
    play(turns, [b], 500, "time")
    assert play(turns, [a, b], 100, "time") == {1: 50, 2: 50}


def test_another_way_of_sharing_counts_from_then_on():
    turns, slow, fast = Turns(), Clock(1, 0.03), Clock(2, 0.01)
    play(turns, [slow, fast], 400, "steps")
    assert play(turns, [slow, fast], 400, "time")[2] == pytest.approx(300, abs=2)
