"""All that changes while Gaussians are learnt: what a checkpoint holds, a picture shows and a hand edits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import FEATURES, TrainedGaussians
from h3d.renderers.gaussians import Rect

from .checkpoints import Reached
from .compensating import LearntCompensation, part_of
from .edited_rows import edit_rows, frame_from, frame_tensor, shown
from .edits import RowEdit
from .gaussians_config import GaussiansTraining
from .photo_fit import PhotoFit


@dataclass(frozen=True, eq=False)
class Beginning:
    """Gaussians to start from, instead of points, as though the run were at a step already: rates and SH degree."""

    gaussians: Gaussians
    step: int = 0

    def state(
        self, config: GaussiansTraining, generator: torch.Generator, fit: PhotoFit, device: torch.device
    ) -> GaussiansState:
        """All of the rows under their ids, moments as before the first step, in the world of the photos."""
        frame, rows = self.gaussians.frame, self.gaussians.with_sh_degree(config.sh_degree)
        if frame != IDENTITY:
            back = frame.inverse
            rows = rows.transformed(np.array(back.wxyz), np.array(back.position), back.scale)
        learnt, order = TrainedGaussians.of(rows).to(device), torch.zeros(0, dtype=torch.int64)
        made = GaussiansState(learnt, config, generator, order, fit, self.step, frame=frame)
        made.compensation = LearntCompensation.going_on(rows, learnt)
        return made


@dataclass(eq=False)
class GaussiansState:
    """Changed in place, between two steps and in them."""

    rows: TrainedGaussians
    config: GaussiansTraining  # as it is now
    generator: torch.Generator
    order: torch.Tensor  # [photos left of this round] int64
    fit: PhotoFit
    step: int = 0
    seconds: float = 0.0
    frame: Similarity = IDENTITY  # where the world of the photos, in which rows are learnt, lies as they are shown
    compensation: LearntCompensation | None = None  # None = pictures are compared as they are

    def compensate(self) -> None:
        """Begin to learn the network that the config names, unless it is learnt already, or be without one."""
        plan = self.config.compensation.plan
        if plan is None:
            self.compensation = None
            self.rows.carry(FEATURES, None)
        elif self.compensation is None or self.compensation.network.plan != plan:
            self.compensation = LearntCompensation.begun(plan, self.rows, self.generator)

    def part(self, size: tuple[int, int]) -> Rect | None:
        """What the next step looks at of a photo of that size; None = all of it."""
        return (
            None
            if self.compensation is None
            else part_of(size, self.config.compensation.compensate_crop, self.generator)
        )

    @property
    def sh_degree(self) -> int:
        """Of what is learnt by now."""
        return min(self.step // self.config.sh_interval, self.config.sh_degree)

    def gaussians(self, remark: str = "") -> Gaussians:
        """The live rows, copied, where they were placed; of harmonics only those that are learnt."""
        config = self.config
        rows = shown(self, config.sh_degree, antialiased=config.antialiased, remark=remark)
        return rows if self.compensation is None else replace(rows, compensation=self.compensation.reached())

    def edit(self, edit: RowEdit) -> RowEdit:
        """Edits the rows by hand between two steps. Raises: as `edit_rows`."""
        return edit_rows(self, self.gaussians(), edit)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        own = {
            "generator": self.generator.get_state(),
            "order": self.order.to(torch.int64),
            "frame": frame_tensor(self.frame),
        }
        rows = {name: array.cpu() for name, array in self.rows.tensors("rows").items()}
        network = {} if self.compensation is None else self.compensation.tensors()
        return rows | own | self.fit.tensors() | network

    @staticmethod
    def from_tensors(
        tensors: dict[str, torch.Tensor],
        config: GaussiansTraining,
        fit: PhotoFit,
        at: Reached,
        device: torch.device,
    ) -> GaussiansState:
        """With photos `fit` as they were learnt.

        Raises:
            KeyError: an array is missing.
            ValueError, RuntimeError: one is of another shape or type.
        """
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        rows = TrainedGaussians.from_tensors("rows", tensors).to(device)
        # Runs of before rows could be placed have no frame.
        frame = frame_from(tensors["frame"]) if "frame" in tensors else IDENTITY
        state = GaussiansState(rows, config, generator, tensors["order"].clone(), fit, at.step, at.seconds, frame)
        if config.compensation.plan is not None:
            state.compensation = LearntCompensation.from_tensors(tensors, config.compensation.plan, device)
        return state
