"""Two runs side by side in numbers: what differs in their settings, and how far apart they are, measured.

A metric is known where a run was judged, and between two such places, along the straight line from one to the next;
never before the first or after the last. Two runs are compared at the latest place that both have come to: by their
own clocks (equal time), or by their steps. Letters: a is the first run, b the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .runs import Judged, RunStatus

Axis = Literal["seconds", "steps"]


@dataclass(frozen=True)
class Gap:
    """A metric of both runs at one place."""

    at: float  # seconds, or steps
    a: float
    b: float

    @property
    def difference(self) -> float:
        """b - a."""
        return self.b - self.a


def curve_of(judged: Sequence[Judged], metric: str, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Where a metric was measured, increasing, and what it was."""
    known = [one for one in judged if metric in one.metrics]
    places = [one.seconds if axis == "seconds" else float(one.step) for one in known]
    return np.array(places, np.float64), np.array([one.metrics[metric] for one in known], np.float64)


def losses_of(status: RunStatus, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """The run's losses, thinned, over its steps or its seconds."""
    if len(status.losses) == 0:
        return np.zeros(0), np.zeros(0)
    steps, losses = np.array(status.losses, np.float64).T
    if axis == "steps":
        return steps, losses
    clock_steps, clock_seconds = np.array(status.clock, np.float64).T
    return np.interp(steps, clock_steps, clock_seconds), losses


def gap(a: RunStatus, b: RunStatus, metric: str, axis: Axis) -> Gap | str:
    """The metric of both where both have come to; a sentence where there is no such place."""
    (a_places, a_values), (b_places, b_values) = (curve_of(run.judged, metric, axis) for run in (a, b))
    for name, places in (("A", a_places), ("B", b_places)):
        if len(places) == 0:
            return f"{name} has not been judged yet"
    at = min(a_places[-1], b_places[-1])
    if at < max(a_places[0], b_places[0]):
        spans = [
            f"{name} {_place(p[0], axis)} to {_place(p[-1], axis)}" for name, p in (("A", a_places), ("B", b_places))
        ]
        return f"no common point: judged from {', '.join(spans)}"
    return Gap(float(at), float(np.interp(at, a_places, a_values)), float(np.interp(at, b_places, b_values)))


def common_metric(a: RunStatus, b: RunStatus) -> str | None:
    """The first metric that both are judged by."""
    names = [list(run.judged[0].metrics) if len(run.judged) > 0 else [] for run in (a, b)]
    return next((name for name in names[0] if name in names[1]), None)


def _place(value: float, axis: Axis) -> str:
    return f"{value:.1f} s" if axis == "seconds" else f"step {value:,.0f}"
