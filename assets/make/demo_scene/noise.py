"""Smooth noise in three dimensions, for wood, bark, glaze and moss.

Source: Perlin 2002, "Improving noise" (gradients hashed on a lattice, quintic fade).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .surfels import unit


def gradient_noise(points: np.ndarray, seed: int = 0) -> np.ndarray:  # [N, 3] -> [N] in about [-1, 1]
    """Perlin's noise with features of size one."""
    cell = np.floor(points).astype(np.int64)
    inside = points - cell
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        offset = np.array(corner)
        weight = np.prod(np.where(offset == 1, fade, 1 - fade), axis=-1)
        total += weight * (_gradients(cell + offset, seed) * (inside - offset)).sum(-1)
    return total * 1.6


def fbm(points: np.ndarray, octaves: int = 4, seed: int = 0) -> np.ndarray:  # [N, 3] -> [N] in about [-1, 1]
    """Noise of halving size and strength, added up."""
    layers = [gradient_noise(points * 2.0**o, seed + o) * 0.5**o for o in range(octaves)]
    return np.sum(layers, axis=0) / (2 - 0.5 ** (octaves - 1))


def ridged(points: np.ndarray, octaves: int = 3, seed: int = 0) -> np.ndarray:  # [N, 3] -> [N] in about [0, 1]
    """Noise folded at zero: sharp crests, as in bark."""
    layers = [(1 - np.abs(gradient_noise(points * 2.0**o, seed + o))) * 0.5**o for o in range(octaves)]
    return np.sum(layers, axis=0) / (2 - 0.5 ** (octaves - 1))


def bumped(
    position: np.ndarray,  # [N, 3]
    normal: np.ndarray,  # [N, 3]
    height: Callable[[np.ndarray], np.ndarray],  # [N, 3] -> [N]
    step: float,
) -> np.ndarray:  # [N, 3]
    """Normals of the surface raised by `height`, by finite differences of width `step`."""
    base = height(position)
    slope = np.stack([(height(position + step * axis) - base) / step for axis in np.eye(3)], axis=-1)
    slope -= (slope * normal).sum(-1, keepdims=True) * normal
    return unit(normal - slope)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; `low` > `high` turns it round."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _gradients(cell: np.ndarray, seed: int) -> np.ndarray:  # [N, 3] int -> [N, 3]
    """A pseudo-random vector a lattice point (64-bit multiply and shift hash)."""
    h = (cell * np.array([73856093, 19349663, 83492791])).sum(-1).astype(np.uint64) + np.uint64(seed * 2654435761)
    out = np.empty((len(cell), 3))
    for k in range(3):
        h = (h ^ (h >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
        out[:, k] = (h >> np.uint64(40)).astype(float) / 2.0**23 - 1.0
    return out
