"""Whose step is next, where several runs go on at once: equal time, equal steps, or clocks that are level.

A turn costs what the run's own clock counted for it, so that waiting for pictures, judging and saving are nobody's
debt. Who joins late or after a rest starts level with whoever has had least: nothing is made up for, but by "clocks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from typing_extensions import assert_never

Sharing = Literal["time", "steps", "clocks"]
"""time: from now on each has as many seconds as the others; steps: as many steps; clocks: whose clock is behind has all
turns until it has caught up."""


class TakesTurns(Protocol):
    """What takes turns: a `Run` is one."""

    @property
    def key(self) -> int: ...

    @property
    def seconds(self) -> float:
        """Of its own steps so far."""
        ...


Taker = TypeVar("Taker", bound=TakesTurns)


class Turns:
    """For one thread. `pick`, let it step, then `took`."""

    def __init__(self) -> None:
        self._had: dict[int, float] = {}  # by key, since they go on together: seconds, or steps
        self._sharing: Sharing = "time"

    def pick(self, runs: Sequence[Taker], sharing: Sharing) -> Taker:
        """Which of these, one at least, is to make a step; of equals the first."""
        if sharing != self._sharing:
            self._had, self._sharing = {}, sharing
        level = min((self._had[run.key] for run in runs if run.key in self._had), default=0.0)
        self._had = {run.key: self._had.get(run.key, level) for run in runs}
        match sharing:
            case "time" | "steps":
                return min(runs, key=lambda run: self._had[run.key])
            case "clocks":
                return min(runs, key=lambda run: run.seconds)
            case _:
                assert_never(sharing)

    def took(self, key: int, seconds: float) -> None:
        """A step was made, of so many seconds by the run's own clock; one that was nobody's turn is not counted."""
        if key in self._had:
            self._had[key] += 1.0 if self._sharing == "steps" else seconds
