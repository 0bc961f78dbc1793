"""How a field's first network sees a position: trained grids of features, hashed or dense, or fixed waves.

A dense grid is a hash grid whose table has room for every corner, so it needs no kernel of its own. A field that sums
its levels is one whose first matrix is the same for every level (W (a + b) = [W W] [a b]), so it needs none either,
and its file is that of any other.
P points, E entries of the table (0 where nothing is trained), F features of an entry.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from h3d.renderers.frequency_encoding import FrequencyConfig, frequency_encode
from h3d.renderers.hash_encoding import (
    MAX_LOG2_TABLE_SIZE,
    HashGridConfig,
    hash_encode,
    initial_table,
    layout,
    num_entries,
)

Encoding = HashGridConfig | FrequencyConfig


def encode(
    positions: torch.Tensor,  # [P, 3] in [0, 1]
    table: torch.Tensor,  # [E, F]
    encoding: Encoding,
    *,
    level_mask: int | None = None,
) -> torch.Tensor:  # [P, encoding.width]
    """What the network reads of the positions; differentiable in the table."""
    if isinstance(encoding, HashGridConfig):
        return hash_encode(positions, table, encoding, level_mask=level_mask)
    return frequency_encode(positions, encoding, level_mask=level_mask)


def table_shape(encoding: Encoding) -> tuple[int, int]:
    """[E, F] of the encoding's table."""
    return (num_entries(encoding), encoding.features) if isinstance(encoding, HashGridConfig) else (0, 1)


def fresh_table(encoding: Encoding, generator: torch.Generator) -> torch.Tensor:  # [E, F]
    """The table before training."""
    return initial_table(encoding, generator) if isinstance(encoding, HashGridConfig) else torch.zeros(0, 1)


def dense_like(hashed: HashGridConfig) -> HashGridConfig:
    """The grid with as many levels and features, an entry for every corner, and about as many parameters.

    As in tiny-cuda-nn's dense grids the levels grow by less than the hashed ones, to a coarser finest one.
    """
    wanted = num_entries(hashed)
    low, high = 1.0, 2.0 * hashed.per_level_scale
    roomy = replace(hashed, log2_table_size=MAX_LOG2_TABLE_SIZE)
    for _ in range(40):
        middle = 0.5 * (low + high)
        grid = replace(roomy, per_level_scale=middle)
        fits = all(level.dense for level in layout(grid)) and num_entries(grid) <= wanted
        low, high = (middle, high) if fits else (low, middle)
    return replace(roomy, per_level_scale=low)


def tied(first: torch.Tensor, encoding: Encoding) -> torch.Tensor:  # [H, F] -> [H, encoding.width]
    """The first matrix of a network that reads the sum of the levels, as one that reads them side by side."""
    return first.repeat(1, encoding.levels)


def describe(encoding: Encoding) -> str:
    """The encoding in a few words, for a person."""
    if isinstance(encoding, FrequencyConfig):
        return f"sines and cosines of {encoding.levels} octaves"
    if all(level.dense for level in layout(encoding)):
        return f"{encoding.levels} dense levels of {encoding.features} features"
    return f"{encoding.levels} levels of {encoding.features} features, up to 2^{encoding.log2_table_size} entries"


def encoding_header(encoding: Encoding) -> dict[str, Any]:
    """The encoding as JSON holds it; `encoding_from` is the inverse."""
    kind = {} if isinstance(encoding, HashGridConfig) else {"kind": "frequency"}
    return kind | asdict(encoding)


def encoding_from(header: dict[str, Any]) -> Encoding:
    """Raises: KeyError, TypeError or ValueError where something is missing or out of range."""
    values = dict(header)
    match values.pop("kind", "hash"):
        case "hash":
            return HashGridConfig(**values)
        case "frequency":
            return FrequencyConfig(**values)
        case other:
            raise ValueError(f"kind: {other!r}; must be hash or frequency")
