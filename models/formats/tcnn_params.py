"""How tiny-cuda-nn lays the matrices of a network out in one vector: layer after layer, each row by row, [O, I].

Inputs and outputs of a network are filled up to a multiple of 16 (FullyFusedMLP) or of 8 (CutlassMLP); hidden layers
are not. What stands in the filled-up rows and columns has no meaning: a grid encoding gives zeros to such inputs.
Source: tiny-cuda-nn, fully_fused_mlp and cutlass_mlp, by their documented sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

FULLY_FUSED, CUTLASS = 16, 8
"""Multiples that the two kinds of network fill up to."""
FULLY_FUSED_WIDTHS = (16, 32, 64, 128)


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of a network without biases."""

    inputs: int
    hidden: int
    """Width of each hidden layer."""
    layers: int
    """How many hidden layers there are."""
    outputs: int

    def padded(self, multiple: int) -> tuple[tuple[int, int], ...]:
        """[O, I] of each matrix as it is stored."""
        widths = [_filled(self.inputs, multiple), *[self.hidden] * self.layers, _filled(self.outputs, multiple)]
        return tuple(zip(widths[1:], widths[:-1], strict=True))

    def count(self, multiple: int) -> int:
        """Parameters as they are stored."""
        return sum(rows * columns for rows, columns in self.padded(multiple))

    def split(self, flat: torch.Tensor, multiple: int) -> tuple[torch.Tensor, ...]:  # [P] -> of each layer [O, I]
        """The matrices in a vector of `count(multiple)` parameters, without what was filled up."""
        matrices, start = [], 0
        for rows, columns in self.padded(multiple):
            matrices.append(flat[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        matrices[0] = matrices[0][:, : self.inputs]
        matrices[-1] = matrices[-1][: self.outputs]
        return tuple(matrix.float().contiguous() for matrix in matrices)

    def join(self, matrices: Sequence[torch.Tensor], multiple: int) -> torch.Tensor:  # of each layer [O, I] -> [P]
        """The inverse of `split`: zeros fill up."""
        parts = []
        for matrix, (rows, columns) in zip(matrices, self.padded(multiple), strict=True):
            room = torch.zeros(rows, columns)
            room[: matrix.shape[0], : matrix.shape[1]] = matrix
            parts.append(room.flatten())
        return torch.cat(parts)


def shape_of(matrices: Sequence[torch.Tensor]) -> NetworkShape | None:  # of each layer [O, I]
    """The shape of a network; None where its hidden layers are not all of one width."""
    hidden = {int(matrix.shape[0]) for matrix in matrices[:-1]}
    if len(hidden) > 1:
        return None
    width = hidden.pop() if len(hidden) > 0 else CUTLASS
    return NetworkShape(int(matrices[0].shape[1]), width, len(matrices) - 1, int(matrices[-1].shape[0]))


def _filled(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
