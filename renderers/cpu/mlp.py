"""Small networks on the CPU: makes the fused C++ kernels of mlp.cpp differentiable.

Only the inputs are kept for the backward pass; the activations are computed again there, which costs less than writing
them to memory and reading them back. The door, `renderers/mlp.py`, has checked the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.backends import kernels

from .arrays import empty


def mlp(inputs: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:  # [P, I], [O, I]... -> [P, O]
    """See the door."""
    return _Mlp.apply(inputs, *weights)  # type: ignore[reportReturnType]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, *weights: torch.Tensor):
        inputs, *matrices = (array.detach().contiguous() for array in (inputs, *weights))
        out = empty(inputs.shape[0], matrices[-1].shape[0])
        kernels().mlp_forward([matrix.numpy() for matrix in matrices], inputs.numpy(), out.numpy())
        ctx.save_for_backward(inputs, *matrices)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        inputs, *matrices = ctx.saved_tensors
        grad_inputs = empty(*inputs.shape) if ctx.needs_input_grad[0] else None
        wanted = ctx.needs_input_grad[1:]
        grad_matrices = [torch.empty_like(matrix) for matrix in matrices] if any(wanted) else []
        kernels().mlp_backward(
            [matrix.numpy() for matrix in matrices],
            inputs.numpy(),
            grad_outputs[0].contiguous().numpy(),
            None if grad_inputs is None else grad_inputs.numpy(),
            [grad.numpy() for grad in grad_matrices],
        )
        if not any(wanted):
            return grad_inputs, *(None for _ in matrices)
        return grad_inputs, *(grad if want else None for grad, want in zip(grad_matrices, wanted, strict=True))
