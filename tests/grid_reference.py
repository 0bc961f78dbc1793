"""The definition of right: slow, obvious hash encoding and network in float64, one point and one corner at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from h3d.renderers.hash_encoding import HashGridConfig, Level, layout

PRIMES = (1, 2654435761, 805459861)


def entry(level: Level, corner: tuple[int, ...]) -> int:
    """The row, within the level, of a corner of its grid."""
    strides = [level.resolution**d for d in range(len(corner))]
    if level.resolution ** len(corner) <= level.size:
        return sum(c * s for c, s in zip(corner, strides, strict=True)) % level.size
    hashed = 0
    for c, prime in zip(corner, PRIMES, strict=False):
        hashed ^= (c * prime) % 2**32
    return hashed % level.size


def cell(level: Level, position: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """The lowest corner of a point's cell, and the point's fractions in it, [D]."""
    p = position.clamp(0.0, 1.0) * level.scale + 0.5
    lowest = [math.floor(float(x)) for x in p.detach()]
    return lowest, p - torch.tensor(lowest, dtype=torch.float64)


def encode(
    positions: torch.Tensor,  # [P, D] float64
    table: torch.Tensor,  # [E, F] float64
    config: HashGridConfig,
    level_mask: int | None = None,
) -> torch.Tensor:  # [P, L * F]
    """Differentiable by torch."""
    rows = []
    for position in positions:
        features = []
        for index, level in enumerate(layout(config)):
            if level_mask is not None and level_mask >> index & 1 == 0:
                features.append(torch.zeros(config.features, dtype=torch.float64))
                continue
            lowest, fractions = cell(level, position)
            total = torch.zeros(config.features, dtype=torch.float64)
            for steps in itertools.product((0, 1), repeat=config.dims):
                corner = tuple(low + step for low, step in zip(lowest, steps, strict=True))
                weight = torch.ones((), dtype=torch.float64)
                for fraction, step in zip(fractions, steps, strict=True):
                    weight = weight * (fraction if step else 1.0 - fraction)
                total = total + weight * table[level.offset + entry(level, corner)]
            features.append(total)
        rows.append(torch.cat(features))
    return torch.stack(rows)


def away_from_borders(config: HashGridConfig, count: int, seed: int, margin: float = 0.02) -> torch.Tensor:  # [P, D]
    """Random points, none of which lies within `margin` cells of a border of cells."""
    rng = np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    while len(kept) < count:
        point = rng.uniform(0.01, 0.99, config.dims).astype(np.float32)
        fractions = [(point.astype(np.float64) * level.scale + 0.5) % 1.0 for level in layout(config)]
        if all(bool(((f > margin) & (f < 1.0 - margin)).all()) for f in fractions):
            kept.append(point)
    return torch.from_numpy(np.stack(kept))


def network(inputs: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:  # [P, I], [O, I]... -> [P, O]
    """ReLU between the layers, none after the last; differentiable by torch."""
    for matrix in weights[:-1]:
        inputs = torch.relu(inputs @ matrix.T)
    return inputs @ weights[-1].T
