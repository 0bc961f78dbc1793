"""Proves the command: workloads chosen by prefix, skipped ones named, worse ones measured again before the gate closes.

Runs real calibration and, at the end, a real workload on the scene that comes with the program; no time is asserted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from h3d.app.bench import baseline, report, verb, workloads
from h3d.app.bench.calibration import Calibration
from h3d.app.bench.metrics import Effort, Metric, Skipped
from h3d.app.bench.workloads import Workload

STEADY = Calibration(60.0, 100.0, 8.0, 10.0)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that always calibrates alike, and a baseline file of its own; returns the file."""
    path = tmp_path / "baseline.json"
    monkeypatch.setattr(verb, "calibrate", lambda effort: STEADY)
    load, save = baseline.load, baseline.save
    monkeypatch.setattr(baseline, "load", lambda: load(path))
    monkeypatch.setattr(baseline, "save", lambda metrics, calibration: save(metrics, calibration, path))
    return path


def _use(monkeypatch: pytest.MonkeyPatch, *table: Workload) -> None:
    monkeypatch.setattr(workloads, "WORKLOADS", table)


def _series(*values: float) -> Workload:
    """A workload that measures the next value each time it runs."""
    left = iter(values)

    def run(effort: Effort) -> Iterator[Metric]:
        yield Metric("part/case_ms", next(left), "ms", "lower", 0.5)

    return Workload(("part",), run)


def test_prefixes_choose_workloads_above_and_below_them():
    assert [w.prefixes[0] for w in workloads.chosen("gaussians/frame/biker_640x360_ms")] == ["gaussians/frame/biker"]
    assert {w.prefixes[0] for w in workloads.chosen("viewer")} == {
        "viewer/first_picture",
        "viewer/move_to_picture",
        "viewer/held_frames",
        "viewer/training",
        "viewer/gaussian_training",
    }
    asked = [w for w in workloads.WORKLOADS if not w.only_by_name]
    assert workloads.chosen("") == asked and [w.prefixes for w in workloads.chosen("study/lego")] == [("study",)]
    assert [w.prefixes[0] for w in workloads.chosen("gaussians/stage/demo")] == ["gaussians/frame/demo"]


def test_a_prefix_of_nothing_lists_what_there_is():
    with pytest.raises(ValueError, match="--only kernels: no workload begins with it; there are gaussians/frame/demo"):
        verb.bench(only="kernels")


def test_what_cannot_run_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, steady: Path, capsys: pytest.CaptureFixture[str]
):
    def run(effort: Effort) -> Iterator[Metric]:
        raise Skipped("there is no cake; bake one")
        yield

    _use(monkeypatch, Workload(("cake",), run), _series(1.0))
    verb.bench()
    printed = capsys.readouterr().out
    assert "cake: skipped: there is no cake; bake one" in printed
    assert "part/case_ms" in printed


def test_only_what_begins_with_the_prefix_is_kept(monkeypatch: pytest.MonkeyPatch, steady: Path, tmp_path: Path):
    def run(effort: Effort) -> Iterator[Metric]:
        yield Metric("part/case_ms", 1.0, "ms", "lower", 0.5)
        yield Metric("part/other_ms", 2.0, "ms", "lower", 0.5)

    _use(monkeypatch, Workload(("part",), run))
    path = tmp_path / "metrics.json"
    verb.bench(only="part/other", json=path)
    keys = [entry["key"] for entry in json.loads(path.read_text())]
    assert keys == [metric.key for metric in STEADY.metrics()] + ["part/other_ms"]


def test_the_gate_passes_what_is_within_the_tolerance(
    monkeypatch: pytest.MonkeyPatch, steady: Path, capsys: pytest.CaptureFixture[str]
):
    _use(monkeypatch, _series(10.0, 14.0))
    verb.bench(update_baseline=True)
    verb.bench(gate=True)
    assert "gate: 1 metrics hold against the baseline" in capsys.readouterr().out


def test_the_gate_measures_again_and_the_better_counts(
    monkeypatch: pytest.MonkeyPatch, steady: Path, capsys: pytest.CaptureFixture[str]
):
    _use(monkeypatch, _series(10.0, 30.0, 11.0))
    verb.bench(update_baseline=True)
    verb.bench(gate=True)
    assert "once more, since it was worse than the baseline: part/case_ms" in capsys.readouterr().out


def test_the_gate_closes_on_what_is_worse_twice_and_the_json_is_there_all_the_same(
    monkeypatch: pytest.MonkeyPatch, steady: Path, tmp_path: Path
):
    _use(monkeypatch, _series(10.0, 30.0, 20.0))
    verb.bench(update_baseline=True)
    path = tmp_path / "metrics.json"
    with pytest.raises(ValueError, match="1 of 1 metrics are worse than the baseline: part/case_ms is 20 ms, above"):
        verb.bench(gate=True, json=path)
    assert json.loads(path.read_text())[-1]["value"] == 20.0


def test_a_gate_with_nothing_to_compare_does_not_pass(monkeypatch: pytest.MonkeyPatch, steady: Path):
    _use(monkeypatch, _series(10.0, 10.0))
    verb.bench(update_baseline=True)
    _use(monkeypatch, Workload(("new",), lambda effort: iter([Metric("new/case", 1.0, "x", "higher", 0.5)])))
    with pytest.raises(ValueError, match="the gate has nothing to say"):
        verb.bench(gate=True)


def test_goals_are_marked_met_or_missed():
    quick = Metric("gaussians/frame/biker_640x360_ms", 39.0, "ms", "lower", 1.0)
    slow = Metric("gaussians/million_640x360_fps", 3.0, "frames/s", "higher", 1.0)
    assert report.line(quick).endswith("goal <= 40: met")
    assert report.line(slow).endswith("goal >= 4: MISSED")
    assert "goal" not in report.line(Metric("other", 1.0, "x", "higher", 1.0))


def test_the_growth_table_divides_by_millions():
    metrics = {
        f"gaussians/growth/{n}_ms": Metric("k", v, "ms", "lower", 1.0) for n, v in (("100k", 8.0), ("4m", 240.0))
    }
    assert [line.split() for line in report.growth_table(metrics)[-2:]] == [
        ["100k", "8.0", "80.0"],
        ["4m", "240.0", "60.0"],
    ]
    assert report.growth_table({}) == []


def test_a_real_run_on_the_demo_scene_yields_sane_metrics(tmp_path: Path):
    path = tmp_path / "metrics.json"
    verb.bench(quick=True, only="gaussians/frame/demo", json=path)
    metrics = {entry["key"]: entry for entry in json.loads(path.read_text())}
    assert {"gaussians/frame/demo_640x360_ms", "gaussians/frame/demo_1280x720_ms"} <= set(metrics)
    assert all(entry["value"] > 0 for entry in metrics.values())
    assert metrics["calibration/fma_gflops"]["unit"] == "GFLOP/s"
    for entry in metrics.values():
        assert entry["direction"] in ("lower", "higher") and entry["tolerance"] >= 0
