"""The committed numbers, and whether a run is worse than them.

Times and rates are kept as they would be on the reference machine of `calibration`, so that a baseline measured on one
machine judges a run on another; ratios to peers, counts and bytes are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .calibration import Calibration
from .metrics import Metric, write_text

BASELINE_FILE = Path(__file__).parent / "baseline.json"
_GROWS_WITH_SPEED = {"s": -1, "ms": -1, "frames/s": 1}
"""Unit -> the power of the machine's speed that a value of it goes with; other units do not depend on it (pictures/s
neither: a rate that is capped)."""


@dataclass(frozen=True)
class Baseline:
    """What a run is held against."""

    calibration: Calibration
    """Of the machine that measured it; for the reader, the comparison does not use it."""
    metrics: Mapping[str, Metric]
    """By key, normalised."""


@dataclass(frozen=True)
class Verdict:
    """One metric held against the baseline."""

    metric: Metric
    """As measured."""
    expected: float
    """The baseline, brought to this machine's speed."""
    worse: bool
    """Beyond the tolerance."""

    @property
    def change(self) -> float:
        """How many times as good as expected: above 1 is better."""
        better, base = (self.metric.value, self.expected)
        if self.metric.direction == "lower":
            better, base = base, better
        return better / base if base != 0 else (1.0 if better == base else float("inf"))

    def sentence(self) -> str:
        way = "above" if self.metric.direction == "lower" else "below"
        return (
            f"{self.metric.key} is {self.metric.value:.4g} {self.metric.unit}, {way} the {self.expected:.4g} expected "
            f"here by more than its tolerance of {self.metric.tolerance:.0%}"
        )


def normalised(metric: Metric, speed: float) -> Metric:
    """The metric as the reference machine would have it; `expected_here` is the inverse."""
    return replace(metric, value=metric.value * speed ** -_GROWS_WITH_SPEED.get(metric.unit, 0))


def expected_here(metric: Metric, speed: float) -> Metric:
    """A normalised metric as a machine of this speed would have it."""
    return replace(metric, value=metric.value * speed ** _GROWS_WITH_SPEED.get(metric.unit, 0))


def judge(metrics: Iterable[Metric], calibration: Calibration, baseline: Baseline) -> list[Verdict]:
    """Holds every metric that the baseline knows against it. The tolerance of the baseline counts."""
    verdicts = []
    for metric in metrics:
        base = baseline.metrics.get(metric.key)
        if base is None:
            continue
        expected = expected_here(base, calibration.speed).value
        if base.direction == "lower":
            worse = metric.value > expected * (1 + base.tolerance)
        else:
            worse = metric.value < expected / (1 + base.tolerance)
        verdicts.append(Verdict(replace(metric, tolerance=base.tolerance), expected, worse))
    return verdicts


def load(path: Path = BASELINE_FILE) -> Baseline:
    """The baseline that was committed.

    Raises:
        ValueError: it is missing or not one; the sentence says how to make one.
    """
    try:
        value = json.loads(path.read_text())
        metrics = [Metric(**entry) for entry in value["metrics"]]
        return Baseline(Calibration(**value["calibration"]), {metric.key: metric for metric in metrics})
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no baseline; make one with `h3d bench --update-baseline`") from error
    except (KeyError, TypeError, ValueError) as error:
        rule = f"not a baseline ({error}); make it anew with `h3d bench --update-baseline`"
        raise ValueError(f"{path}: {rule}") from error


def save(metrics: Iterable[Metric], calibration: Calibration, path: Path = BASELINE_FILE) -> None:
    """Puts these metrics in the place of those with the same keys; others stay, calibration rates are not kept."""
    before = dict(load(path).metrics) if path.exists() else {}
    fresh = {m.key: normalised(m, calibration.speed) for m in metrics if not m.key.startswith("calibration/")}
    kept = [asdict(replace(m, value=_rounded(m.value))) for _, m in sorted({**before, **fresh}.items())]
    rates = {name: _rounded(rate) for name, rate in asdict(calibration).items()}
    write_text(path, json.dumps({"calibration": rates, "metrics": kept}, indent=1) + "\n")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
