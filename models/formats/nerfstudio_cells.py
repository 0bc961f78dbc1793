"""The occupied cells of a grid of any size over any box, as cells of the 128^3 grid over a cube."""

from __future__ import annotations

import torch

from h3d.renderers.fields import GRID_SIDE

_BITS = GRID_SIDE.bit_length() - 1


def resampled(cells: torch.Tensor, box: torch.Tensor) -> torch.Tensor:  # [X, Y, Z] bool, [2, 3] -> [128^3]
    """1 where a cell of the unit cube's grid meets an occupied one of the grid over `box`; Morton order.

    A level's grid is the same in its own larger cube, so that one rule serves all levels.
    """
    if tuple(cells.shape) == (GRID_SIDE,) * 3 and torch.equal(box, torch.tensor([[0.0] * 3, [1.0] * 3])):
        return _in_morton_order(cells.float())
    # How many occupied cells lie below each corner: eight of these numbers count those of any block of cells.
    below = torch.nn.functional.pad(cells.to(torch.int32), (1, 0, 1, 0, 1, 0)).cumsum(0).cumsum(1).cumsum(2)
    sizes = torch.tensor(cells.shape)
    edges = torch.arange(GRID_SIDE + 1, dtype=torch.float64)[:, None] / GRID_SIDE  # [129, 1]
    placed = (edges - box[0].double()) / (box[1] - box[0]).double() * sizes  # [129, 3]
    slack = 1e-4
    first = (placed[:-1] + slack).floor().long().clamp(min=0).minimum(sizes)  # [128, 3]
    last = (placed[1:] - slack).ceil().long().clamp(min=0).minimum(sizes).maximum(first)
    count = below
    for axis in range(3):
        count = count.index_select(axis, last[:, axis]) - count.index_select(axis, first[:, axis])
    return _in_morton_order((count > 0).float())


def _in_morton_order(values: torch.Tensor) -> torch.Tensor:  # [128, 128, 128] by x, y, z -> [128^3]
    """Bit i of x, y and z become the bits 3 i, 3 i + 1 and 3 i + 2 of the place."""
    order = [axis * _BITS + bit for bit in range(_BITS) for axis in (2, 1, 0)]
    return values.reshape([2] * (3 * _BITS)).permute(order).reshape(-1)
