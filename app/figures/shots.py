"""What the parts of a scene look like in a rectangle, and how parts of different kinds come together: by depth.

Gaussians are sorted among themselves by their rasteriser; a field is marched along its own rays. Where both are seen in
a pixel, the nearer one (by expected depth) is laid over the other: exact for surfaces, an approximation where a fog of
one kind reaches into the other. h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shot:
    """One part of a scene over nothing."""

    rgb: np.ndarray  # [h, w, 3] float32, premultiplied by alpha
    alpha: np.ndarray  # [h, w] float32
    depth: np.ndarray  # [h, w] float32, expected depth along the view axis, 0 where nothing is
    cost: np.ndarray | None = None  # [h, w] float32, samples; None where nothing is counted
    stats: dict[str, float] | None = None


def merged(shots: Sequence[Shot]) -> Shot:
    """All parts in one picture, in every pixel the nearest on top. Needs at least one."""
    if len(shots) == 1:
        return shots[0]
    depths = np.stack([np.where(shot.alpha > 0, shot.depth, np.inf) for shot in shots])  # [parts, h, w]
    order = np.argsort(depths, axis=0, kind="stable")
    colors, alphas = np.stack([shot.rgb for shot in shots]), np.stack([shot.alpha for shot in shots])
    rgb, depth = np.zeros_like(shots[0].rgb), np.zeros_like(shots[0].alpha)
    through = np.ones_like(depth)
    for place in order:
        alpha = np.take_along_axis(alphas, place[None], axis=0)[0]
        rgb += through[..., None] * np.take_along_axis(colors, place[None, ..., None], axis=0)[0]
        depth += through * alpha * np.where(alpha > 0, np.take_along_axis(depths, place[None], axis=0)[0], 0.0)
        through *= 1.0 - alpha
    seen = 1.0 - through
    costs = [shot.cost for shot in shots if shot.cost is not None]
    stats: dict[str, float] = {}
    for shot in shots:
        for name, value in (shot.stats or {}).items():
            stats[name] = stats.get(name, 0.0) + value
    mean = np.where(seen > 0, depth / np.maximum(seen, 1e-12), 0.0).astype(np.float32)
    return Shot(rgb, seen, mean, np.sum(costs, axis=0) if costs else None, stats)


def box_mean(values: np.ndarray, samples: int) -> np.ndarray:  # [h * s, w * s, ...] -> [h, w, ...]
    """The mean of every s x s block, summed in a fixed order so that tiles agree to the bit."""
    total = values[::samples, ::samples].copy()
    for row in range(samples):
        for column in range(samples):
            if row + column > 0:
                total += values[row::samples, column::samples]
    return total * np.float32(1.0 / (samples * samples))


def shrunk(shot: Shot, samples: int) -> Shot:
    """The mean of `samples` x `samples` points for every pixel; depth is averaged over what is there."""
    if samples == 1:
        return shot
    alpha = box_mean(shot.alpha, samples)
    depth = box_mean(shot.depth * shot.alpha, samples) / np.maximum(alpha, 1e-12)
    cost = None if shot.cost is None else box_mean(shot.cost, samples)
    return Shot(box_mean(shot.rgb, samples), alpha, depth, cost, shot.stats)


def linear_of(srgb: np.ndarray) -> np.ndarray:  # [...] -> [...]
    """sRGB in [0, 1] as linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_of(linear: np.ndarray) -> np.ndarray:  # [...] -> [...]
    """Linear light as sRGB; what is brighter than 1 stays so."""
    light = np.maximum(linear, 0.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def exposed(rgb: np.ndarray, alpha: np.ndarray, stops: float) -> np.ndarray:  # [h, w, 3] premultiplied sRGB, [h, w]
    """The colours as they look when `stops` brighter."""
    if stops == 0.0:
        return rgb
    cover = np.maximum(alpha, 1e-6)[..., None]
    return srgb_of(linear_of(rgb / cover) * np.float32(2.0**stops)) * cover
