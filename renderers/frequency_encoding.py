"""Frequency encoding: sines and cosines of each coordinate at octaves, what hash grids are measured against.

P points, D dimensions, L levels (octaves). Nothing in it is trained.
Source: Mildenhall et al. 2020, "NeRF", equation 4; Mueller et al. 2022 compare with it in figure 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from .shapes import check

MAX_OCTAVES = 16
"""More than float32 positions can tell apart."""


@dataclass(frozen=True)
class FrequencyConfig:
    """The shape of a frequency encoding; level l has waves of 2^(1 - l) of the unit cube's side."""

    dims: Literal[2, 3] = 3
    levels: int = 10
    """Octaves, 1 to 16."""

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ValueError(f"dims: {self.dims}; must be 2 or 3")
        if not 1 <= self.levels <= MAX_OCTAVES:
            raise ValueError(f"levels: {self.levels}; must be 1 to {MAX_OCTAVES}")

    @property
    def width(self) -> int:
        """Features that a point gets, L * 2 D."""
        return self.levels * 2 * self.dims


def frequency_encode(
    positions: torch.Tensor,  # [P, D] float32
    config: FrequencyConfig,
    *,
    level_mask: int | None = None,
) -> torch.Tensor:  # [P, L * 2 D]
    """Level by level the sines, then the cosines of 2^l pi x; levels whose bit in the mask is 0 give zeros.

    Raises:
        ValueError: positions or mask have a wrong shape or range; the sentence says which.
    """
    check(positions, "[P, D]", "positions", {"D": config.dims})
    full = (1 << config.levels) - 1
    mask = full if level_mask is None else level_mask
    if not 0 <= mask <= full:
        raise ValueError(f"level_mask: {level_mask}; must have {config.levels} bits, 0 to {full}")
    octaves = math.pi * 2.0 ** torch.arange(config.levels, device=positions.device)
    angles = positions[:, None, :] * octaves[:, None]  # [P, L, D]
    waves = torch.cat([angles.sin(), angles.cos()], dim=2)  # [P, L, 2 D]
    if mask != full:
        on = torch.tensor([float(mask >> level & 1) for level in range(config.levels)], device=positions.device)
        waves = waves * on[:, None]
    return waves.flatten(1)
