"""Proves the gate: what counts as worse, that another machine's speed does not, and what a baseline file keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from h3d.app.bench import baseline
from h3d.app.bench.baseline import Baseline, expected_here, judge, normalised
from h3d.app.bench.calibration import Calibration
from h3d.app.bench.metrics import Direction, Metric

REFERENCE = Calibration(60.0, 100.0, 8.0, 10.0)
TWICE_AS_FAST = Calibration(120.0, 200.0, 16.0, 20.0)


def _metric(value: float, unit: str = "ms", direction: Direction = "lower", tolerance: float = 0.5) -> Metric:
    return Metric("part/case", value, unit, direction, tolerance)


def _worse(value: float, base: Metric, calibration: Calibration = REFERENCE) -> bool:
    measured = Metric(base.key, value, base.unit, base.direction, 0.0)
    (verdict,) = judge([measured], calibration, Baseline(REFERENCE, {base.key: base}))
    return verdict.worse


def test_the_reference_machine_has_speed_one():
    assert REFERENCE.speed == pytest.approx(1.0)
    assert TWICE_AS_FAST.speed == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("base", "passes", "fails"),
    [
        (_metric(10.0), 14.9, 15.1),
        (_metric(10.0, unit="frames/s", direction="higher"), 6.7, 6.6),
        (_metric(2.0, unit="frames", tolerance=0.0), 2.0, 3.0),
        (_metric(0.0, unit="frames", tolerance=0.0), 0.0, 1.0),
    ],
)
def test_a_metric_is_worse_beyond_the_tolerance_only(base: Metric, passes: float, fails: float):
    assert not _worse(passes, base)
    assert _worse(fails, base)


def test_better_than_the_baseline_always_passes():
    assert not _worse(0.1, _metric(10.0, tolerance=0.0))
    assert not _worse(100.0, _metric(10.0, direction="higher", tolerance=0.0))


def test_a_faster_machine_is_held_to_shorter_times_and_higher_rates():
    assert not _worse(14.0, _metric(10.0))
    assert _worse(14.0, _metric(10.0), TWICE_AS_FAST)
    assert _worse(11.0, _metric(10.0, unit="frames/s", direction="higher"), TWICE_AS_FAST)


@pytest.mark.parametrize("unit", ["x", "B", "frames", "share"])
def test_ratios_counts_and_bytes_do_not_go_with_the_machine(unit: str):
    assert normalised(_metric(3.0, unit=unit), 2.0).value == 3.0
    assert not _worse(4.4, _metric(3.0, unit=unit), TWICE_AS_FAST)


@pytest.mark.parametrize("unit", ["ms", "s", "frames/s", "x"])
def test_normalising_is_undone_by_the_same_speed(unit: str):
    metric = _metric(7.0, unit=unit)
    assert expected_here(normalised(metric, 1.7), 1.7).value == pytest.approx(7.0)


def test_a_metric_without_a_baseline_is_not_judged():
    assert judge([_metric(1.0)], REFERENCE, Baseline(REFERENCE, {})) == []


def test_the_sentence_of_a_worse_metric_names_key_value_and_expectation():
    (verdict,) = judge([_metric(40.0)], TWICE_AS_FAST, Baseline(REFERENCE, {"part/case": _metric(20.0)}))
    assert verdict.sentence() == "part/case is 40 ms, above the 10 expected here by more than its tolerance of 50%"
    assert verdict.change == pytest.approx(0.25)


def test_saving_normalises_keeps_the_others_and_leaves_the_calibration_out(tmp_path: Path):
    path = tmp_path / "baseline.json"
    baseline.save([Metric("a_ms", 5.0, "ms", "lower", 1.0), Metric("b", 1.0, "x", "higher", 0.5)], REFERENCE, path)
    again = [Metric("a_ms", 3.0, "ms", "lower", 1.0), *TWICE_AS_FAST.metrics()]
    baseline.save(again, TWICE_AS_FAST, path)
    kept = baseline.load(path)
    assert {key: metric.value for key, metric in kept.metrics.items()} == {"a_ms": 6.0, "b": 1.0}
    assert kept.calibration == TWICE_AS_FAST


def test_a_missing_or_broken_baseline_is_one_sentence_with_the_way_out(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no baseline; make one with `h3d bench --update-baseline`"):
        baseline.load(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"metrics": [{"key": "a"}]}))
    with pytest.raises(ValueError, match="not a baseline .*make it anew"):
        baseline.load(broken)
