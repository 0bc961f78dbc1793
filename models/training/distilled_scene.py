"""What score distillation asks of whatever it optimises: differentiable pictures, a step down their gradient, a copy.

B cameras, one picture size. One primitive is a module beside this one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import torch

from h3d.models.knobs import Setting
from h3d.renderers.cameras import Camera

from . import Asset
from .distilled_config import Distillation
from .edits import RowEdit


@dataclass(frozen=True, eq=False)
class ScenePictures:
    """What B cameras see, in the graph of torch."""

    rgb: torch.Tensor  # [B, 3, H, W] over the background that was asked for
    alpha: torch.Tensor  # [B, 1, H, W]
    samples: int  # rows that were drawn, or points along rays
    depth: torch.Tensor | None = None  # [B, H, W] along the axis, 0 where nothing is seen; out of the graph


class DistilledScene(ABC, Generic[Asset]):
    """Changed in place by `descend`; all that is random comes from the generator that is passed in."""

    @abstractmethod
    def pictures(
        self, cameras: Sequence[Camera], background: float, generator: torch.Generator, *, depth: bool = False
    ) -> ScenePictures:
        """Pictures over a grey of this sRGB value, cameras of one size, with depth where it is asked for."""

    @abstractmethod
    def descend(
        self, loss: torch.Tensor, config: Distillation, step: int, generator: torch.Generator
    ) -> tuple[Mapping[str, Setting], str]:
        """One step down the gradient of a loss of the last pictures; `step` counts from 1.

        Returns what was done to the set of rows, and what went wrong and was put right, empty when nothing did.
        """

    @abstractmethod
    def snapshot(self, remark: str) -> Asset:
        """An immutable copy as it is displayed."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name, for a checkpoint."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`. Raises: KeyError, ValueError, RuntimeError where they do not fit."""

    @property
    def count(self) -> int:
        """Of the primitives; 0 where it is a field."""
        return 0

    def edit(self, edit: RowEdit) -> RowEdit:
        """See `Live.edit`."""
        raise ValueError(f"{type(edit).__name__.lower()}: what is trained here has no rows that a hand could edit")
