"""Momentum made orthogonal, for weights that are matrices: more is learnt of each picture than with Adam.

The momentum of a weight with two axes or more (a convolution's are [out, rest]) is replaced by the nearest
semi-orthogonal matrix, by a Newton-Schulz iteration, and scaled to the size of an Adam update, so that one learning
rate serves both. Embeddings, biases, gains and the layers at both ends stay with Adam.
Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; Liu et al. 2025, "Muon is scalable" (the scale).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
UPDATE_SIZE = 0.2
"""Root mean square of Adam's updates, about."""
ENDS = ("conv_in", "conv_out", "words", "places")


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal; for weights with two axes or more."""

    def __init__(self, weights: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.01):
        super().__init__(weights, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1.0 - MOMENTUM)
                ahead = weight.grad.lerp(momentum, MOMENTUM).flatten(1)
                update = orthogonalized(ahead) * (UPDATE_SIZE * max(ahead.shape) ** 0.5)
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"])


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:  # [m, n] -> [m, n]
    """Nearly the nearest semi-orthogonal matrix: singular values go to between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those for Muon, and those for Adam."""
    matrices, others = [], []
    for name, value in network.named_parameters():
        inner = value.ndim >= 2 and not any(end in name for end in ENDS)
        (matrices if inner else others).append(value)
    return matrices, others
