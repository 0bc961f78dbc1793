"""The occupied cells of a grid of any size over any box, as cells of the 128^3 grid over a cube."""

from __future__ import annotations

import torch

from h3d.renderers.fields import GRID_CELLS, GRID_SIDE, morton_decode


def resampled(cells: torch.Tensor, box: torch.Tensor) -> torch.Tensor:  # [X, Y, Z] bool, [2, 3] -> [128^3]
    """1 where a cell of the unit cube's grid meets an occupied one of the grid over `box`; Morton order.

    A level's grid is the same in its own larger cube, so that one rule serves all levels.
    """
    at = morton_decode(torch.arange(GRID_CELLS))  # [128^3, 3]
    if tuple(cells.shape) == (GRID_SIDE,) * 3 and torch.equal(box, torch.tensor([[0.0] * 3, [1.0] * 3])):
        return cells[at[:, 0], at[:, 1], at[:, 2]].float()
    # How many occupied cells lie below each corner: eight of these numbers count those of any block of cells.
    below = torch.nn.functional.pad(cells.to(torch.int32), (1, 0, 1, 0, 1, 0)).cumsum(0).cumsum(1).cumsum(2)
    sizes = torch.tensor(cells.shape)
    edges = torch.arange(GRID_SIDE + 1, dtype=torch.float64)[:, None] / GRID_SIDE  # [129, 1]
    placed = (edges - box[0].double()) / (box[1] - box[0]).double() * sizes  # [129, 3]
    slack = 1e-4
    first = (placed[:-1] + slack).floor().long().clamp(min=0).minimum(sizes)  # [128, 3]
    last = (placed[1:] - slack).ceil().long().clamp(min=0).minimum(sizes).maximum(first)
    count = torch.zeros(GRID_CELLS, dtype=torch.int32)
    for corner in range(8):
        ends = [(last if corner >> axis & 1 else first)[at[:, axis], axis] for axis in range(3)]
        sign = 1 if corner.bit_count() % 2 == 1 else -1
        count += sign * below[ends[0], ends[1], ends[2]]
    return (count > 0).float()
