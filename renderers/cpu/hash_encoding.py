"""The hash encoding on the CPU: makes the C++ kernels of hash_encoding.cpp differentiable.

The door, `renderers/hash_encoding.py`, has checked the arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.backends import kernels
from h3d.renderers.hash_encoding import HashGridConfig, layout

from .arrays import empty


def hash_encode(
    positions: torch.Tensor,  # [P, D]
    table: torch.Tensor,  # [E, F]
    config: HashGridConfig,
    *,
    level_mask: int,
) -> torch.Tensor:  # [P, L * F]
    """See the door."""
    return _HashEncode.apply(positions, table, config, level_mask)  # type: ignore[reportReturnType]


def level_grid(config: HashGridConfig, level_mask: int) -> Any:
    """The kernels' view of the levels."""
    levels = layout(config)
    return kernels().HashGrid(
        config.dims,
        config.features,
        [level.scale for level in levels],
        # Of hashed levels only the size is used; this many corners a side fit in no table.
        [level.resolution if level.dense else 1 << 20 for level in levels],
        [level.size for level in levels],
        level_mask,
        levels[0].origin,
    )


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, level_mask: int):
        positions, table = positions.detach().contiguous(), table.detach().contiguous()
        out = empty(positions.shape[0], config.width)
        kernels().hash_encode(level_grid(config, level_mask), positions.numpy(), table.numpy(), out.numpy())
        ctx.save_for_backward(positions, table)
        ctx.options = (config, level_mask)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        positions, table = ctx.saved_tensors
        grid, grad_out = level_grid(*ctx.options), grad_outputs[0].contiguous().numpy()
        grad_positions = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_positions = torch.empty_like(positions)
            kernels().hash_position_gradient(grid, positions.numpy(), table.numpy(), grad_out, grad_positions.numpy())
        if ctx.needs_input_grad[1]:
            grad_table = empty(*table.shape)
            kernels().hash_table_gradient(grid, positions.numpy(), grad_out, grad_table.numpy())
            grad_table = grad_table.to(table.dtype)
        return grad_positions, grad_table, None, None
