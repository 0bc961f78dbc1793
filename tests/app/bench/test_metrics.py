"""Proves how a time is taken, that numbers which cannot be compared are refused, and the layout of the JSON file."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from h3d.app.bench.metrics import Effort, Metric, best_of_blocks, in_turns, quantile, write_json

EFFORT = Effort(blocks=3, repeats=3, moves=0, seconds=0.0)


def test_the_best_block_counts_each_by_its_median_and_the_first_call_not_at_all():
    values = iter([0.0, 5.0, 9.0, 6.0, 4.0, 99.0, 3.0, 7.0, 1.0, 8.0])  # medians 6, 4, 7
    assert best_of_blocks(lambda: next(values), EFFORT) == 4.0
    assert next(values, None) is None


def test_two_things_are_timed_alternately_and_what_the_other_left_cold_is_not_counted():
    calls: list[str] = []

    def work(name: str) -> None:
        until = time.perf_counter() + (0.02 if calls[-1:] != [name] else 0.0)
        calls.append(name)
        while time.perf_counter() < until:
            pass

    ours, theirs = in_turns(lambda: work("a"), lambda: work("b"), EFFORT)
    assert calls == ["a", "a", "b", "b"] * 9
    assert 0.0 < ours < 0.02 and 0.0 < theirs < 0.02


def test_a_quantile_is_one_of_the_values_and_not_below_the_share_asked_for():
    values = [float(v) for v in range(1, 21)]
    assert quantile(values, 0.5) == 10.0
    assert quantile(values, 0.95) == 19.0
    assert quantile([3.0], 0.95) == 3.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_key(value: float):
    with pytest.raises(ValueError, match="metric a/b_ms: its value is"):
        Metric("a/b_ms", value, "ms", "lower", 1.0)


def test_the_file_is_a_list_of_five_named_fields(tmp_path: Path):
    path = tmp_path / "metrics.json"
    write_json(path, [Metric("a/b_ms", 1.5, "ms", "lower", 1.0), Metric("c", 2.0, "x", "higher", 0.5)])
    first, second = json.loads(path.read_text())
    assert first == {"key": "a/b_ms", "value": 1.5, "unit": "ms", "direction": "lower", "tolerance": 1.0}
    assert second["direction"] == "higher"
    assert list(tmp_path.iterdir()) == [path]  # Nothing is left beside it.
