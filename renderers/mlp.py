"""The door to small fully connected networks without biases, as instant-ngp has them: ReLU between layers, none after.

P points, I inputs, O outputs; a weight matrix is [O, I], as in torch.nn.Linear and in tiny-cuda-nn's files.
Source: Mueller et al. 2021, "Real-time Neural Radiance Caching for Path Tracing" (fully fused networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Literal

import torch

from . import backends
from .shapes import check

MAX_WIDTH = 1024


def mlp(
    inputs: torch.Tensor,  # [P, I] float32
    weights: Sequence[torch.Tensor],  # of each layer [O, I] float32
    *,
    backend: Literal["auto", "cpu", "cuda"] = "auto",
) -> torch.Tensor:  # [P, O]
    """The outputs of the last layer; differentiable once in `inputs` and `weights`.

    They are worked out where the arrays lie; another `backend` than that of their device is refused. On the CPU the
    same arguments give the same bits, gradients too, at every number of threads.

    Raises:
        ValueError: an argument has a wrong shape or type, or a layer does not fit the one before.
        RuntimeError: the backend does not work on this machine; the sentence says why.
    """
    sizes: dict[str, int] = {}
    check(inputs, "[P, I]", "inputs", sizes)
    if len(weights) == 0:
        raise ValueError("weights: there is no layer; at least one is needed")
    for index, matrix in enumerate(weights):
        name = f"weights[{index}]"
        check(matrix, "[O, I]", name, {"I": sizes["I"]})
        sizes["I"] = int(matrix.shape[0])
        if not (1 <= matrix.shape[0] <= MAX_WIDTH and 1 <= matrix.shape[1] <= MAX_WIDTH):
            raise ValueError(f"{name}: its shape is {list(matrix.shape)}; each size must be 1 to {MAX_WIDTH}")
    for name, array in [("inputs", inputs), *((f"weights[{i}]", matrix) for i, matrix in enumerate(weights))]:
        if array.dtype != torch.float32:
            raise ValueError(f"{name}: it is {array.dtype}; must be torch.float32")
        if array.device != inputs.device:
            raise ValueError(f"{name}: it is on {array.device}, inputs are on {inputs.device}; must be on one device")
    twin = import_module(f"h3d.renderers.{backends.for_device(backend, inputs.device)}.mlp")
    return twin.mlp(inputs, weights)


def initial_weights(
    widths: Sequence[int], generator: torch.Generator | None = None
) -> list[torch.Tensor]:  # of each layer [O, I]
    """Fresh matrices for layers between `widths` = (inputs, ..., outputs), Xavier uniform as in tiny-cuda-nn."""
    matrices: list[torch.Tensor] = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        bound = (6.0 / (fan_in + fan_out)) ** 0.5
        matrices.append((torch.rand(fan_out, fan_in, generator=generator) * 2.0 - 1.0) * bound)
    return matrices
