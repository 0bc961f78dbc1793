"""Trainers: each a generator of `Step`, without a thread, a screen or a file of its own.

Whoever listens, the command line or the viewer, decides when to go on, to look, to save and to stop. What a listener
needs of one primitive is a `Task`; `tasks` finds the one for a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from h3d.models.knobs import Setting
from h3d.renderers.cancel import CancelFlag

from .live import FIXED, Live

Asset = TypeVar("Asset")

METRIC_TEXTS: dict[str, str] = {
    "psnr": "PSNR {:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "surface_error": "surface error {:.5f} of the box",
    "iou": "IoU {:.4f}",
    "mse": "squared error {:.3g}",
    "bias": "bias {:+.1%}",
}
"""How a person reads each metric; the names are the columns of metrics.csv."""

Progress = Callable[[str], None]
"""Told in a few words how far something is."""


@dataclass(frozen=True)
class Step(Generic[Asset]):
    """What one training step did. All callables speak of the moment until the next step is asked for."""

    step: int  # counts from 1
    seconds: float  # of training so far, the listener's own time left out
    loss: float
    rays: int  # 0 where nothing is marched
    samples: int  # that a gradient went through
    snapshot: Callable[[], Asset]  # an immutable copy of what is being trained, as it is displayed
    checkpoint: Callable[[Path], None]  # writes all that a resumed run needs, whole or not at all
    live: Live = FIXED
    count: int = 0  # of the primitives that are learnt; 0 where it is a field
    noted: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    """What the trainer did besides, by the names of events: a line of the log each."""
    problem: str = ""
    """What went wrong in this step and was put right, as a person reads it; training goes on."""


@dataclass(frozen=True)
class Judgement:
    """How good an asset is, by what it was not trained on where there is such a thing."""

    metrics: Mapping[str, float]  # by names of METRIC_TEXTS; what could not be measured is left out
    subject: str  # what it was measured on, such as "25 test photos"
    picture: torch.Tensor | None = None  # [H, W, 3] sRGB in [0, 1]: how it should look, and to the right how it does

    @property
    def sentence(self) -> str:
        if len(self.metrics) == 0:
            return f"not judged: {self.subject}"
        texts = [METRIC_TEXTS[name].format(value) for name, value in self.metrics.items()]
        return f"{', '.join(texts)} over {self.subject}"


class Task(Protocol[Asset]):
    """Something to learn: from what, how, and how well it went. Holds no state of a run."""

    @property
    def name(self) -> str:
        """What is learnt from, as a person calls it."""
        ...

    @property
    def model(self) -> str:
        """What is learnt, as --model has it."""
        ...

    @property
    def config(self) -> Any:
        """A frozen dataclass; as JSON it makes the same run again."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `judge` measures, the one to plot first."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the data, a sentence each."""
        ...

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Asset]]:
        """Steps without end; `resume` is a checkpoint of the same task.

        Raises:
            ValueError: data or checkpoint are wrong; one sentence.
            RuntimeError: the loss is no longer a number.
        """
        ...

    def judge(
        self,
        asset: Asset,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """Measures an asset; `quick`: by a sample, in well under a second, for a curve. Raises `Cancelled`."""
        ...
