"""Small networks on a GPU: torch's own products, which are cuBLAS's; its autograd gives the gradients.

A fused kernel would save the activations' way through memory; at widths of 64 that is a factor of a few, which is left
until a GPU shows it to matter. Products of float32 are exact unless torch was told to allow TF32. The door has checked
the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def mlp(inputs: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:  # [P, I], [O, I]... -> [P, O]
    """See the door."""
    for matrix in weights[:-1]:
        inputs = torch.relu(inputs @ matrix.T)
    return inputs @ weights[-1].T
