"""What a person sees of an optimisation: frozen values that the optimisation thread publishes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from h3d.models.hash3d import CacheView
from h3d.models.knobs import Knob, Setting

RunState = Literal["running", "paused", "stopped", "failed"]


@dataclass(frozen=True)
class Judged:
    """How good it was at a step."""

    step: int
    seconds: float
    metrics: Mapping[str, float]
    subject: str


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment."""

    key: int
    name: str
    model: str
    state: RunState
    layer: int | None = None  # key of the layer that shows it; None until there is something to show
    step: int = 0
    seconds: float = 0.0  # of its own steps
    steps_per_second: float = 0.0  # by its own clock, over the last second
    wall_share: float = 0.0  # of the time that has passed lately, how much its steps had
    loss: float | None = None
    rays: int = 0
    samples: int = 0
    count: int = 0  # of the primitives that are learnt; 0 where it is a field
    losses: tuple[tuple[int, float], ...] = ()  # step and loss, thinned to a few hundred
    counts: tuple[tuple[int, float], ...] = ()  # the same of `count`; empty for fields
    milliseconds: tuple[tuple[int, float], ...] = ()  # the same of what a step took
    clock: tuple[tuple[int, float], ...] = ()  # step and seconds of its own, thinned in the same way
    judged: tuple[Judged, ...] = ()
    kept: bool = False  # whether it is written into a folder
    knobs: Mapping[str, Knob] = field(default_factory=dict)  # settings that may change, as they are now
    asked: Mapping[str, Setting] = field(default_factory=dict)  # of knobs, where they will be at the next step
    facts: Mapping[str, str] = field(default_factory=dict)  # what its trainer tells of it besides, by name
    meters: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)  # step and value, by name
    cache: CacheView | None = None  # of the denoiser that it learns from, where there is one
    problem: str = ""  # why it failed, what went wrong in a step, or what cannot be measured or written

    @property
    def settings(self) -> dict[str, Setting]:
        """What the knobs are at."""
        return {name: knob.value for name, knob in self.knobs.items()}


class Curve:
    """A number over the steps, thinned as it grows: at most `LIMIT` points, each the mean of as many steps."""

    LIMIT = 400

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self._stride = 1
        self._sum, self._count = 0.0, 0

    def add(self, step: int, value: float) -> None:
        """One more step; what is no number is left out."""
        if not math.isfinite(value):
            return
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self._stride:
            return
        self.points.append((step, self._sum / self._count))
        self._sum, self._count = 0.0, 0
        if len(self.points) >= self.LIMIT:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [(later[0], 0.5 * (first[1] + later[1])) for first, later in pairs]
            self._stride *= 2


class Rate:
    """How fast a run has gone lately, by its own clock, and how much of the time that passed it had."""

    SECONDS = 2.0

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()  # when each began, and how long it took

    def add(self, began: float, took: float) -> None:
        """One more step; seconds of the monotonic clock."""
        self._steps.append((began, took))
        while len(self._steps) > 2 and began - self._steps[0][0] > self.SECONDS:
            self._steps.popleft()

    def read(self) -> tuple[float, float]:
        """Steps a second of its own time, and its share of all time since the first of them."""
        steps = list(self._steps)
        own = sum(took for _, took in steps)
        if own <= 0.0:
            return 0.0, 0.0
        passed = max(time.monotonic() - steps[0][0], own)
        return len(steps) / own, own / passed
