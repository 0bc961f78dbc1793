"""How the entries of a bucket answer a query: weights from the distance between noisy latents.

Source: Hash3D (arXiv 2404.06091), section 4.2: v = sum_i W_i v_i with W = softmax(-|x - x_i|^2). Its published code
takes |x - x_i| without the square. In thousands of dimensions both are almost always one entry: the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import assert_never

Weighting = Literal["softmax", "softmax_unsquared", "nearest"]


def squared_distances(latent: Tensor, latents: Sequence[Tensor]) -> Tensor:
    """|x - x_i|^2 [K] of a latent and others of its shape, in float32."""
    difference = torch.stack(list(latents)).float() - latent.float()
    return difference.flatten(1).square().sum(dim=1)


def weights(squared: Tensor, weighting: Weighting) -> list[float]:
    """How much each of K entries counts, from squared distances [K]; together 1."""
    if len(squared) == 1:
        return [1.0]
    if weighting == "softmax":
        return torch.softmax(-squared, dim=0).tolist()
    if weighting == "softmax_unsquared":
        return torch.softmax(-squared.sqrt(), dim=0).tolist()
    if weighting == "nearest":
        nearest = int(squared.argmin())
        return [float(i == nearest) for i in range(len(squared))]
    assert_never(weighting)


def blended(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Weighted sum of values of one shape. A single entry with all the weight comes back as it is, not a copy."""
    counting = [(value, share) for value, share in zip(values, shares, strict=True) if share > 0.0]
    if len(counting) == 1:
        return counting[0][0]
    total = sum(value.float() * share for value, share in counting)
    assert isinstance(total, Tensor)
    return total.to(values[0].dtype)


def cosines(value: Tensor, others: Sequence[Tensor]) -> list[float]:
    """Cosine similarity of a value with others of its shape; 0 where one of them is all zero."""
    if len(others) == 0:
        return []
    mine = value.flatten().float()
    return [float(torch.cosine_similarity(mine, other.flatten().float(), dim=0)) for other in others]
