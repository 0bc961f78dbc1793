"""How a bare surface is lit, for pictures that show shape: clay under a key light, a lamp at the eye and a sky.

All lights stand in the axes of what is lit, but the lamp, which is where the ray begins: no side is ever black. Also
the colours of a plane that a signed distance is cut with. R rays, P points; colours are sRGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ALBEDO = np.array([0.76, 0.71, 0.66], np.float32)  # linear
SKY, LAMP, KEY, GLOSS = 0.32, 0.32, 0.62, 0.05
"""Shares of the light: from above, from the eye, from the key light, and what of that is mirrored."""
GLOSS_POWER = 24
OCCLUSION_REACHES = (0.015, 0.04, 0.1)
"""Distances from the surface, as a share of the box's longest side, at which it is asked whether the sky is free."""
DISTANCE_COLORS = np.array(
    [[0.10, 0.23, 0.45], [0.42, 0.63, 0.80], [0.95, 0.95, 0.93], [0.93, 0.67, 0.42], [0.62, 0.24, 0.10]], np.float32
)
"""From deep inside over the surface to far outside."""
LINES = 8
"""Lines of equal distance between the surface and the end of the colours."""


def clay(
    normals: np.ndarray,  # [R, 3] unit, towards the eye's side
    directions: np.ndarray,  # [R, 3] unit, of the rays
    *,
    up: np.ndarray,  # [3] unit
    openness: np.ndarray | None = None,  # [R] in [0, 1], how much of the sky is free
) -> np.ndarray:  # [R, 3] float32
    """Colours of matt clay."""
    key = key_light(up)
    towards_key = np.maximum(normals @ key, 0.0)
    halfway = key - directions
    # Straight into the key light there is no halfway: nothing is mirrored then.
    halfway /= np.maximum(np.linalg.norm(halfway, axis=1, keepdims=True), 1e-6)
    gloss = np.maximum((normals * halfway).sum(axis=1), 0.0) ** GLOSS_POWER * (towards_key > 0.0)
    lamp = np.maximum(-(normals * directions).sum(axis=1), 0.0)
    sky = 0.5 + 0.5 * normals @ up
    free = np.ones(len(normals), np.float32) if openness is None else openness
    # The key light too is a wide one: a crease that sees little of the sky sees little of it.
    light = free * (SKY * sky + KEY * towards_key) + LAMP * lamp * (0.5 + 0.5 * free)
    return _srgb(light[:, None] * ALBEDO + (GLOSS * free * gloss)[:, None]).astype(np.float32)


def key_light(up: np.ndarray) -> np.ndarray:  # [3] -> [3]
    """Unit direction to the key light: from above, to the side and to the front of what stands upright."""
    side = np.eye(3)[int(np.argmin(np.abs(up)))]
    front = np.cross(side, up)
    key = 0.75 * up + 0.5 * side / np.linalg.norm(side) + 0.6 * front / np.linalg.norm(front)
    return (key / np.linalg.norm(key)).astype(np.float32)


def openness(
    distance: Callable[[np.ndarray], np.ndarray],  # [P, 3] -> [P]
    points: np.ndarray,  # [R, 3] on the surface
    normals: np.ndarray,  # [R, 3] unit, outwards
    side: float,
) -> np.ndarray:  # [R] float32 in [0, 1]
    """How much of the sky a surface sees: what is near above it shows in the distances along its normal.

    Source: Evans 2006, "Fast approximations for global illumination on dynamic scenes".
    """
    free = np.zeros(len(points), np.float32)
    for reach in OCCLUSION_REACHES:
        height = np.float32(reach * side)
        free += np.clip(distance(points + height * normals) / height, 0.0, 1.0)
    return free / np.float32(len(OCCLUSION_REACHES))


def distance_colors(distances: np.ndarray, reach: float) -> np.ndarray:  # [P] -> [P, 3] float32
    """Blue inside, orange outside, with lines of equal distance and a strong one for the surface.

    `reach` is the distance at which the colours end. Lines are as wide as a share of what lies between them, so that
    every pixel's colour depends on its own distance alone.
    """
    place = np.clip(distances / reach, -1.0, 1.0) * 0.5 + 0.5
    anchors = np.linspace(0.0, 1.0, len(DISTANCE_COLORS))
    colors = np.stack([np.interp(place, anchors, channel) for channel in DISTANCE_COLORS.T], axis=1)
    between = distances * (LINES / reach)  # whole numbers on the lines
    off = np.abs(between - np.rint(between))
    shade = 1.0 - 0.45 * np.clip(1.0 - off / 0.07, 0.0, 1.0)
    ink = np.clip(2.0 - np.abs(between) / 0.08, 0.0, 1.0)
    return ((colors * shade[:, None]) * (1.0 - 0.9 * ink[:, None])).astype(np.float32)


def _srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
