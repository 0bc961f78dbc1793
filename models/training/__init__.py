"""Trainers: each a generator of `Step`, without a thread, a screen or a file of its own.

Whoever listens, the command line or the viewer, decides when to go on, to look, to save and to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Asset = TypeVar("Asset")


@dataclass(frozen=True)
class Step(Generic[Asset]):
    """What one training step did. `snapshot` and `checkpoint` speak of the moment until the next step is asked for."""

    step: int  # counts from 1
    seconds: float  # of training so far, the listener's own time left out
    loss: float
    rays: int
    samples: int  # that a gradient went through
    snapshot: Callable[[], Asset]  # an immutable copy of what is being trained, as it is displayed
    checkpoint: Callable[[Path], None]  # writes all that a resumed run needs, whole or not at all
    psnr: float | None = None  # dB over the test split; a listener that evaluates fills it in
