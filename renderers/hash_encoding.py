"""The door to the multiresolution hash encoding: L grids of trainable features, interpolated and put side by side.

P points, D dimensions (2 or 3), L levels, F features a level, E entries of the table, T = 2^log2_table_size entries at
most in a level. Levels and indexing are exactly tiny-cuda-nn's, so that its tables mean the same here; those of
nerfstudio's torch implementation, whose tables are not interchangeable with them, are there to show what it trained.
Source: Mueller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Literal, get_args

import numpy as np
import torch

from . import backends
from .shapes import check

Dims = Literal[2, 3]
FeatureCount = Literal[1, 2, 4, 8]
Indexing = Literal["tiny-cuda-nn", "nerfstudio"]

MAX_LEVELS = 32
MAX_LOG2_TABLE_SIZE = 24


@dataclass(frozen=True)
class HashGridConfig:
    """The shape of a hash grid; the defaults are the paper's, for a scene of the unit cube."""

    dims: Dims = 3
    levels: int = 16
    """1 to 32."""
    features: FeatureCount = 2
    log2_table_size: int = 19
    """Entries at most in a level, as a power of two; 3 to 24."""
    base_resolution: int = 16
    """Corners a side of the coarsest level; 1 to 4096."""
    per_level_scale: float = 1.447
    """How much finer each level is than the one before; 1 to 16."""
    indexing: Indexing = "tiny-cuda-nn"
    """Whose rule says which entry a corner has; nerfstudio's torch code hashes coarse levels too and shifts none."""

    def __post_init__(self) -> None:
        if self.dims not in get_args(Dims):
            raise ValueError(f"dims: {self.dims}; must be 2 or 3")
        if self.features not in get_args(FeatureCount):
            raise ValueError(f"features: {self.features}; must be 1, 2, 4 or 8")
        if self.indexing not in get_args(Indexing):
            raise ValueError(f"indexing: {self.indexing}; must be one of {', '.join(get_args(Indexing))}")
        ranges = {
            "levels": (1, MAX_LEVELS),
            "log2_table_size": (3, MAX_LOG2_TABLE_SIZE),
            "base_resolution": (1, 4096),
            "per_level_scale": (1, 16),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: {getattr(self, name)}; must be {low} to {high}")
        finest = self.base_resolution * self.per_level_scale ** (self.levels - 1)
        if finest > 2**30:
            raise ValueError(
                f"per_level_scale: {self.per_level_scale} makes level {self.levels - 1} {finest:.3g} corners wide; "
                f"at most 2^30 can be told apart, use fewer levels or a smaller scale"
            )

    @property
    def width(self) -> int:
        """Features that a point gets, L * F."""
        return self.levels * self.features


@dataclass(frozen=True)
class Level:
    """One grid of the encoding. `offset` and `size` count entries of F features."""

    offset: int
    size: int
    resolution: int
    """Corners a side."""
    scale: float
    """A point x of [0, 1] lies at x * scale + origin in the grid; float32."""
    dense: bool
    """Whether every corner has an entry of its own; the entries of other levels are hashed and shared."""
    origin: float = 0.5


@lru_cache(maxsize=64)
def layout(config: HashGridConfig) -> tuple[Level, ...]:
    """The levels, coarsest first, rounded to float32 where tiny-cuda-nn is: that decides resolutions.

    With a scale of 2^(1/3), for example, every third level is a corner wider than 2^k.
    """
    if config.indexing == "nerfstudio":
        return _nerfstudio_layout(config)
    levels: list[Level] = []
    log2_scale = np.float32(math.log2(np.float32(config.per_level_scale)))
    offset = 0
    for index in range(config.levels):
        growth = np.float32(2.0 ** float(np.float32(index) * log2_scale))
        scale = growth * np.float32(config.base_resolution) - np.float32(1)
        resolution = int(np.ceil(scale)) + 1
        corners = resolution**config.dims
        size = min(-(-corners // 8) * 8, 2**config.log2_table_size)
        levels.append(Level(offset, size, resolution, float(scale), dense=corners <= size))
        offset += size
    return tuple(levels)


def _nerfstudio_layout(config: HashGridConfig) -> tuple[Level, ...]:
    """As nerfstudio's torch code has them; its power is float32, which makes 2047 of a finest resolution of 2048."""
    scales = torch.floor(config.base_resolution * config.per_level_scale ** torch.arange(config.levels)).tolist()
    size = 2**config.log2_table_size
    return tuple(
        Level(index * size, size, int(scale) + 1, scale, dense=False, origin=0.0) for index, scale in enumerate(scales)
    )


def num_entries(config: HashGridConfig) -> int:
    """Rows of the table, E; it holds E * F parameters."""
    last = layout(config)[-1]
    return last.offset + last.size


def per_level_scale(base_resolution: int, finest_resolution: float, levels: int) -> float:
    """The scale with which `levels` levels run from `base_resolution` to `finest_resolution`."""
    if levels == 1:
        return 1.0
    return float(np.exp(np.log(finest_resolution / base_resolution) / (levels - 1)))


def initial_table(config: HashGridConfig, generator: torch.Generator | None = None) -> torch.Tensor:  # [E, F]
    """A fresh table, uniform in [-1e-4, 1e-4]."""
    table = torch.rand(num_entries(config), config.features, generator=generator)
    return table.mul_(2e-4).sub_(1e-4)


def hash_encode(
    positions: torch.Tensor,  # [P, D] float32 in [0, 1]
    table: torch.Tensor,  # [E, F] float32 or float16
    config: HashGridConfig,
    *,
    level_mask: int | None = None,
    backend: Literal["auto", "cpu", "cuda"] = "auto",
) -> torch.Tensor:  # [P, L * F] float32
    """The features of the points, level by level; differentiable once in `positions` and `table`.

    They are worked out where the arrays lie; another `backend` than that of their device is refused.

    Positions beyond [0, 1] get the features of the nearest point of the border (and no gradient), NaN those of 0.
    Level l is switched off, and gives zeros, where bit l of `level_mask` is 0; None = all are on. On the CPU
    the same arguments give the same bits, gradients too, at every number of threads.

    Raises:
        ValueError: an argument has a wrong shape, type or range; the sentence says which.
        RuntimeError: the backend does not work on this machine; the sentence says why.
    """
    _check_arrays(positions, table, config)
    full = (1 << config.levels) - 1
    mask = full if level_mask is None else level_mask
    if not 0 <= mask <= full:
        raise ValueError(f"level_mask: {level_mask}; must have {config.levels} bits, 0 to {full}")
    twin = import_module(f"h3d.renderers.{backends.for_device(backend, positions.device)}.hash_encoding")
    return twin.hash_encode(positions, table, config, level_mask=mask)


def _check_arrays(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> None:
    sizes = {"D": config.dims, "E": num_entries(config), "F": config.features}
    check(positions, "[P, D]", "positions", sizes)
    check(table, "[E, F]", "table", sizes)
    if positions.dtype != torch.float32:
        raise ValueError(f"positions: they are {positions.dtype}; must be torch.float32")
    if table.dtype not in (torch.float32, torch.float16):
        raise ValueError(f"table: it is {table.dtype}; must be torch.float32 or torch.float16")
    if table.device != positions.device:
        raise ValueError(f"table: it is on {table.device}, positions are on {positions.device}; must be on one device")
