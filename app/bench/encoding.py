"""The two kernels that fields are made of: hash encoding and small networks, at 2^16 points.

Backward is to the table and the weights, as in training. 16 levels of 2 features from 16 to 2048 cells are the paper's;
8 of 4 are what fields are trained with here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from h3d.renderers.hash_encoding import FeatureCount, HashGridConfig, hash_encode, initial_table, per_level_scale
from h3d.renderers.mlp import initial_weights, mlp

from .metrics import Effort, Metric, best_of_blocks, milliseconds, timed

POINTS = 1 << 16
COARSEST, FINEST = 16, 2048
LOG2_TABLE_SIZES = (14, 17, 19)
SHAPES: dict[str, tuple[int, FeatureCount]] = {"": (16, 2), "_L8F4": (8, 4)}
NETWORKS = {"density": (32, 64, 16), "color": (32, 64, 64, 3)}


def encode(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of the encoding, alone and with its gradient to the table."""
    positions = torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(0))
    for name, (levels, features) in SHAPES.items():
        for size in LOG2_TABLE_SIZES:
            scale = per_level_scale(COARSEST, FINEST, levels)
            config = HashGridConfig(levels=levels, features=features, log2_table_size=size, per_level_scale=scale)
            table = initial_table(config)
            works = _works(lambda t, c=config: hash_encode(positions, t[0], c), [table], effort)
            for direction, ms in works:
                yield milliseconds(f"fields/encode/{direction}_T{size}{name}_ms", ms)


def networks(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of the density network and of the colour network, alone and with the gradient to their weights."""
    generator = torch.Generator().manual_seed(0)
    for name, widths in NETWORKS.items():
        inputs, weights = torch.randn(POINTS, widths[0], generator=generator), initial_weights(widths, generator)
        for direction, ms in _works(lambda w, i=inputs: mlp(i, w), weights, effort):
            yield milliseconds(f"fields/mlp/{name}_{direction}_ms", ms)


def _works(run, parameters: Sequence[torch.Tensor], effort: Effort) -> Iterator[tuple[str, float]]:
    """Times of `run(parameters)`, and of it with the gradient to the parameters."""
    with torch.no_grad():
        yield "forward", 1e3 * best_of_blocks(lambda: timed(lambda: run(parameters)), effort)
        gradient = torch.randn(run(parameters).shape)
    learnt = [parameter.clone().requires_grad_() for parameter in parameters]

    def both() -> None:
        torch.autograd.grad(run(learnt), learnt, gradient)

    yield "forward_backward", 1e3 * best_of_blocks(lambda: timed(both), effort)
