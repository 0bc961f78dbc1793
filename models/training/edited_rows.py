"""Gaussians that are learnt, shown and edited by hand between two steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.models.selection import Rows, Selection
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import TrainedGaussians

from .edits import Delete, Place, Restore, RowEdit


class EditedRows(Protocol):
    """What editing needs of a run's state."""

    rows: TrainedGaussians
    frame: Similarity
    """Where the world in which rows are learnt lies as they are shown."""


def shown(state: EditedRows, sh_degree: int, *, antialiased: bool = False, remark: str = "") -> Gaussians:
    """The live rows, copied, where they were placed; of harmonics those up to a degree."""
    rows = state.rows.gaussians(antialiased=antialiased, remark=remark).to(torch.device("cpu"))
    rows = replace(rows, sh=rows.sh[:, : (sh_degree + 1) ** 2].contiguous())
    if state.frame == IDENTITY:
        return rows
    return rows.transformed(np.array(state.frame.wxyz), np.array(state.frame.position), state.frame.scale)


def edit_rows(state: EditedRows, now: Gaussians, edit: RowEdit) -> RowEdit:
    """Edits the rows by hand, which are shown as `now`; returns what takes it back. See `edits`.

    Raises:
        ValueError: no row would be left.
    """
    match edit:
        case Delete(selection):
            chosen = selection.mask(now)
            if len(now) > 0 and bool(chosen.all()):
                raise ValueError(f"delete: all {len(now):,} Gaussians are meant; leave some to learn from")
            return Restore(Rows.of(state.rows.mark_deleted(now.ids[chosen], True)))
        case Restore(rows):
            back = Rows.of(state.rows.mark_deleted(rows.array, False))
            return Delete(Selection().then("add", back))
        case Place(frame):
            before, state.frame = state.frame, frame
            return Place(before)


def frame_tensor(frame: Similarity) -> torch.Tensor:  # [8] float64
    """A frame as a checkpoint has it; `frame_from` is the inverse."""
    return torch.tensor((*frame.wxyz, *frame.position, frame.scale), dtype=torch.float64)


def frame_from(tensor: torch.Tensor) -> Similarity:  # [8]
    w, x, y, z, a, b, c, scale = tensor.tolist()
    return Similarity((w, x, y, z), (a, b, c), scale)
