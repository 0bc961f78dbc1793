"""`h3d bench`: runs the workloads, prints what they find, writes it, holds it against the baseline."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from . import baseline, report
from .calibration import Calibration, calibrate
from .metrics import FULL, QUICK, Effort, Metric, Skipped, write_json
from .workloads import Workload, chosen


def bench(
    quick: bool = False, gate: bool = False, only: str = "", json: Path | None = None, update_baseline: bool = False
) -> None:
    """Measure what this program costs on this machine.

    Args:
        quick: Fewer repeats and no scene above a million Gaussians; about two minutes.
        gate: Exit with 1 when a metric is worse than the committed baseline by more than its tolerance.
        only: Measure only metrics whose keys begin with this, such as gaussians/frame.
        json: Write the metrics to this file, a list of {key, value, unit, direction, tolerance}.
        update_baseline: Put the metrics of this run into the committed baseline.

    Raises:
        ValueError: a metric is worse than the baseline (with `gate`); or no workload begins with `only`.
    """
    effort = QUICK if quick else FULL
    workloads = chosen(only)
    known = baseline.load() if gate else None
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    calibration = calibrate(effort)
    metrics: dict[str, Metric] = {}
    try:
        for workload in workloads:
            measure(workload, effort, only, metrics)
        calibration = calibration.best(calibrate(effort))
        verdicts = [] if known is None else _judged(metrics, workloads, effort, calibration, known)
    finally:
        rates = {metric.key: metric for metric in calibration.metrics()}
        if json is not None:
            write_json(json, [*rates.values(), *metrics.values()])
    for metric in rates.values():
        print(report.line(metric))
    _print_lines(report.growth_table(metrics))
    if update_baseline:
        baseline.save(metrics.values(), calibration)
        print(f"baseline: {len(metrics)} metrics written to {baseline.BASELINE_FILE.name}")
    if known is not None:
        _print_lines(report.verdict_lines(verdicts))
        _refuse_the_worse(verdicts)


def measure(workload: Workload, effort: Effort, only: str, metrics: dict[str, Metric]) -> None:
    """Runs one workload; every metric is printed as it comes, and kept where it is new or better."""
    try:
        for metric in workload.run(effort):
            if not metric.key.startswith(only):
                continue
            metrics[metric.key] = better(metric, metrics.get(metric.key))
            print(report.line(metric), flush=True)
    except Skipped as reason:
        print(f"{workload.prefixes[0]}: skipped: {reason}", flush=True)


def better(a: Metric, b: Metric | None) -> Metric:
    """The one with the better value."""
    if b is None:
        return a
    return a if (a.value < b.value) == (a.direction == "lower") else b


def _judged(
    metrics: dict[str, Metric],
    workloads: Sequence[Workload],
    effort: Effort,
    calibration: Calibration,
    known: baseline.Baseline,
) -> list[baseline.Verdict]:
    """The verdicts; what is worse is measured once more first, since a neighbour may have been loud just then."""
    verdicts = baseline.judge(metrics.values(), calibration, known)
    for workload in workloads:
        worse = [v.metric.key for v in verdicts if v.worse and v.metric.key.startswith(workload.prefixes)]
        if worse:
            print(f"once more, since it was worse than the baseline: {', '.join(worse)}", flush=True)
            measure(workload, effort, os.path.commonprefix(worse), metrics)
    return baseline.judge(metrics.values(), calibration, known)


def _refuse_the_worse(verdicts: Sequence[baseline.Verdict]) -> None:
    if len(verdicts) == 0:
        raise ValueError("nothing that was measured is in the baseline, so the gate has nothing to say; see --only")
    worse = [verdict.sentence() for verdict in verdicts if verdict.worse]
    if worse:
        raise ValueError(f"{len(worse)} of {len(verdicts)} metrics are worse than the baseline: {'; '.join(worse)}")
    print(f"gate: {len(verdicts)} metrics hold against the baseline")


def _print_lines(lines: Sequence[str]) -> None:
    for text in lines:
        print(text)
