"""How every trainer becomes a generator of steps: timed, checked, and with what a listener may ask of each.

A trainer holds what stays the same through a run, a state all that changes, in place.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from h3d.models.knobs import Setting
from h3d.renderers.threads import one_torch_thread

from . import Asset, Step
from .live import FIXED, Live

MOST_PROBLEMS = 20
"""Steps in a row that may go wrong."""


class RunState(Protocol):
    """What the loop knows of a state."""

    step: int
    seconds: float


State = TypeVar("State", bound=RunState)


@dataclass(frozen=True)
class Advance:
    """What one step did."""

    loss: float
    samples: int  # that a gradient went through
    rays: int = 0
    count: int = 0  # of the primitives that are learnt
    noted: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)  # see `Step`
    problem: str = ""
    """What went wrong and was put right; only then may the loss be no number."""


class Trainer(ABC, Generic[State, Asset]):
    """How one primitive is learnt."""

    @abstractmethod
    def advance(self, state: State) -> Advance:
        """One step in place, `state.step` included."""

    @abstractmethod
    def snapshot(self, state: State) -> Asset:
        """An immutable copy of what is being learnt, as it is displayed."""

    @abstractmethod
    def save(self, path: Path, state: State) -> None:
        """Writes all of the state, whole or not at all."""

    def live(self, state: State) -> Live:
        """What can be changed and asked while it runs."""
        del state
        return FIXED


def steps(trainer: Trainer[State, Asset], state: State) -> Iterator[Step[Asset]]:
    """Steps without end; the listener stops asking, and its own time does not count.

    Raises:
        RuntimeError: the loss is no longer a number, or `MOST_PROBLEMS` steps in a row went wrong.
    """
    problems = 0
    while True:
        began = time.perf_counter()
        with one_torch_thread():
            done = trainer.advance(state)
        state.seconds += time.perf_counter() - began
        problems = problems + 1 if done.problem else 0
        if problems >= MOST_PROBLEMS:
            rule = f"training: {done.problem}, and so went {problems} steps in a row"
            raise RuntimeError(f"{rule}; the last checkpoint is sound, look at the photos and start with lower rates")
        if not done.loss < float("inf") and not done.problem:
            rule = f"training: the loss is {done.loss} at step {state.step}"
            raise RuntimeError(f"{rule}; the last checkpoint is sound, start again with another --seed")
        yield Step(
            step=state.step,
            seconds=state.seconds,
            loss=done.loss,
            rays=done.rays,
            samples=done.samples,
            snapshot=lambda: trainer.snapshot(state),
            checkpoint=lambda path: trainer.save(path, state),
            live=trainer.live(state),
            count=done.count,
            noted=done.noted,
            problem=done.problem,
        )
