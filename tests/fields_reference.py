"""Volume rendering as double loops in float64, step by step and sample by sample: what defines right, and slow.

Letters, axes and the rules of steps and cascades are those of `h3d.renderers.fields`; nothing here is shared with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIDE = 128
SMALLEST, LARGEST = math.sqrt(3) / 1024, math.sqrt(3)


def step_begin(n: float, cone: float) -> float:
    """Where step n begins: linear, exponential, linear, smooth where they meet."""
    if cone == 0:
        return n * SMALLEST
    growth = math.log1p(cone)
    low, high = SMALLEST / growth, LARGEST / growth
    if n <= math.log(low) / growth:
        return low + (n - math.log(low) / growth) * SMALLEST
    if n <= math.log(high) / growth:
        return math.exp(n * growth)
    return high + (n - math.log(high) / growth) * LARGEST


def step_number(t: float, cone: float) -> float:
    """The inverse of `step_begin`, by bisection."""
    low, high = -1e6, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if step_begin(middle, cone) < t else (low, middle)
    return 0.5 * (low + high)


def morton(x: int, y: int, z: int) -> int:
    return sum(((c >> bit) & 1) << (3 * bit + axis) for axis, c in enumerate((x, y, z)) for bit in range(7))


def is_occupied(bits: np.ndarray, place: np.ndarray, size: float) -> bool:  # [cascades, bytes], [3]
    """Whether the cell is set in the finest cascade that holds `place` and has cells below twice `size`."""
    last = len(bits) - 1
    reach = float(np.abs(place - 0.5).max())
    cascade = 0
    while cascade < last and (reach >= 2.0 ** (cascade - 1) or size >= 2.0**cascade / (2 * SIDE)):
        cascade += 1
    cell = np.floor(((place - 0.5) / 2.0**cascade + 0.5) * SIDE).astype(int)
    if (cell < 0).any() or (cell >= SIDE).any():
        return False
    index = morton(*cell.tolist())
    return bool(bits[cascade, index // 8] >> (index % 8) & 1)


def march(
    origin, direction, bits, *, aabb, cone: float, near: float = 0.0, jitter: float = 0.0, most: int = 1024, stride=1.0
):
    """The kept steps of one ray, [(t_start, t_end)]; `stride` usual ones each."""
    half = 2.0 ** (len(bits) - 2)
    enter, leave = near, math.inf
    for axis in range(3):
        low, high = max(aabb[0][axis], 0.5 - half), min(aabb[1][axis], 0.5 + half)
        if direction[axis] == 0:
            if not low <= origin[axis] <= high:
                return []
            continue
        walls = sorted(((low - origin[axis]) / direction[axis], (high - origin[axis]) / direction[axis]))
        enter, leave = max(enter, walls[0]), min(leave, walls[1])
    if not enter < leave:
        return []
    kept, n = [], step_number(enter, cone) + jitter * stride
    while len(kept) < most:
        t_start, t_end = step_begin(n, cone), step_begin(n + stride, cone)
        middle = 0.5 * (t_start + t_end)
        if middle >= leave:
            break
        if is_occupied(bits, origin + middle * direction, t_end - t_start):
            kept.append((t_start, t_end))
        n += stride
    return kept


@dataclass
class Seen:
    rgb: np.ndarray  # [3]
    alpha: float
    depth: float
    weights: list[float]
    used: int


def composite(density, rgb, t_starts, t_ends, background, *, stop: float) -> Seen:
    """One ray's samples, front to back."""
    light, color, moment, weights, used = 1.0, np.zeros(3), 0.0, [], 0
    for sigma, c, begin, end in zip(density, rgb, t_starts, t_ends, strict=True):
        if light < stop:
            weights.append(0.0)
            continue
        through = math.exp(-sigma * (end - begin))
        weights.append(light * (1 - through))
        color = color + weights[-1] * c
        moment += weights[-1] * 0.5 * (begin + end)
        light *= through
        used += 1
    alpha = 1 - light
    return Seen(color + light * np.asarray(background), alpha, moment / alpha if alpha > 0 else 0.0, weights, used)
