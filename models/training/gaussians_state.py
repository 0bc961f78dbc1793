"""All that changes while Gaussians are learnt: what a checkpoint holds, a picture shows and a hand edits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.models.selection import Rows, Selection
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import TrainedGaussians

from .checkpoints import Reached
from .edits import Delete, Place, Restore, RowEdit
from .gaussians_config import GaussiansTraining
from .photo_fit import PhotoFit


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

    @property
    def sh_degree(self) -> int:
        """Of what is learnt by now."""
        return min(self.step // self.config.sh_interval, self.config.sh_degree)

    def gaussians(self, remark: str = "") -> Gaussians:
        """The live rows, copied, where they were placed; of harmonics only those that are learnt."""
        rows = self.rows.gaussians(antialiased=self.config.antialiased, remark=remark).to(torch.device("cpu"))
        rows = replace(rows, sh=rows.sh[:, : (self.config.sh_degree + 1) ** 2].contiguous())
        if self.frame == IDENTITY:
            return rows
        return rows.transformed(np.array(self.frame.wxyz), np.array(self.frame.position), self.frame.scale)

    def edit(self, edit: RowEdit) -> RowEdit:
        """Edits the rows by hand between two steps; returns what takes it back. See `edits`.

        Raises:
            ValueError: no row would be left.
        """
        match edit:
            case Delete(selection):
                shown = self.gaussians()
                chosen = selection.mask(shown)
                if len(shown) > 0 and bool(chosen.all()):
                    raise ValueError(f"delete: all {len(shown):,} Gaussians are meant; leave some to learn from")
                return Restore(Rows.of(self.rows.mark_deleted(shown.ids[chosen], True)))
            case Restore(rows):
                back = Rows.of(self.rows.mark_deleted(rows.array, False))
                return Delete(Selection().then("add", back))
            case Place(frame):
                before, self.frame = self.frame, frame
                return Place(before)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        frame = (*self.frame.wxyz, *self.frame.position, self.frame.scale)
        own = {
            "generator": self.generator.get_state(),
            "order": self.order.to(torch.int64),
            "frame": torch.tensor(frame, dtype=torch.float64),
        }
        rows = {name: array.cpu() for name, array in self.rows.tensors("rows").items()}
        return rows | own | self.fit.tensors()

    @staticmethod
    def from_tensors(
        tensors: dict[str, torch.Tensor], config: GaussiansTraining, fit: PhotoFit, at: Reached
    ) -> GaussiansState:
        """With photos `fit` as they were learnt.

        Raises:
            KeyError: an array is missing.
            ValueError, RuntimeError: one is of another shape or type.
        """
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        rows = TrainedGaussians.from_tensors("rows", tensors)
        frame = IDENTITY
        if "frame" in tensors:  # Runs of before rows could be placed have none.
            w, x, y, z, a, b, c, scale = tensors["frame"].tolist()
            frame = Similarity((w, x, y, z), (a, b, c), scale)
        return GaussiansState(rows, config, generator, tensors["order"].clone(), fit, at.step, at.seconds, frame)
