"""The bowl: a thrown pot in a deep teal glaze that breaks to amber at the lip, broken once and mended with gold."""

from __future__ import annotations

import numpy as np

from .noise import bumped, fbm, gradient_noise, smoothstep
from .shapes import COVER, resampled, revolved, spline, strokes
from .surfels import Material, Surfels, joined, make, unit

HEIGHT, LIP_RADIUS = 0.285, 0.475
GOLD = (1.0, 0.72, 0.30)
# Radius and height of the outer wall from the foot up, over the lip, and down inside to the soil.
WALL = np.array(
    [(0.270, 0.0), (0.280, 0.026), (0.345, 0.046), (0.420, 0.088), (0.449, 0.135), (0.445, 0.182), (0.428, 0.220)]
)
LIP = np.array([(0.420, 0.243), (0.426, 0.258), (0.447, 0.267), (0.461, 0.276), (0.458, 0.287), (0.442, 0.290)])
INSIDE = np.array([(0.427, 0.280), (0.414, 0.255), (0.412, 0.215)])
# Seams on the unrolled wall: arc about the pot from its front, height above the table. Each bends at its points.
SEAMS = (
    (((0.17, 0.292), (0.10, 0.245), (-0.02, 0.205), (-0.11, 0.155), (-0.08, 0.050)), 0.0044),
    (((-0.02, 0.205), (0.14, 0.172), (0.29, 0.205), (0.40, 0.292)), 0.0036),
    (((0.14, 0.172), (0.19, 0.110), (0.17, 0.045)), 0.0030),
    (((-0.11, 0.155), (-0.27, 0.190), (-0.37, 0.292)), 0.0034),
    (((-0.27, 0.190), (-0.34, 0.120), (-0.31, 0.045)), 0.0028),
    (((0.29, 0.205), (0.38, 0.150), (0.52, 0.130), (0.60, 0.045)), 0.0028),
    (((1.10, 0.292), (1.02, 0.210), (1.12, 0.140), (1.06, 0.050)), 0.0040),
    (((1.02, 0.210), (0.88, 0.170), (0.80, 0.050)), 0.0030),
    (((-0.95, 0.292), (-0.90, 0.200), (-1.02, 0.130), (-0.98, 0.050)), 0.0036),
    (((-0.90, 0.200), (-0.74, 0.165), (-0.66, 0.060)), 0.0028),
)


def pot(rng: np.random.Generator, detail: float) -> Surfels:
    """The bowl standing on z = 0."""
    profile = outline()
    # The lip bends sharply and needs a finer cover than the wall.
    high = int(np.argmax(profile[:, 1] > 0.243))
    parts = [_shell(profile[: high + 1], int(12000 * detail)), _shell(profile[high:], int(7600 * detail))]
    return joined([*parts, _kintsugi(rng, detail)])


def _shell(profile: np.ndarray, count: int) -> Surfels:  # [P, 2]
    position, normal, tangent, _, spacing = revolved(profile, count)
    wobble = bumped(position, normal, _throwing_marks, 0.004)
    sigma = spacing * np.array([COVER, COVER, 0.12])
    return make(position, normal, tangent, sigma, _glaze(position), normal=wobble)


def outline() -> np.ndarray:  # -> [P, 2]
    """Radius and height along the pot, foot first, soil last."""
    return spline(np.column_stack([np.concatenate([WALL, LIP, INSIDE]), np.zeros(16)]), 300)[:, :2]


def _throwing_marks(p: np.ndarray) -> np.ndarray:  # [N, 3] -> [N]
    """Height of the clay: rings left by the potter's fingers, never quite level, and a slow unevenness."""
    level = p[:, 2] + 0.006 * gradient_noise(p * [3, 3, 6], seed=23)
    strength = 0.5 + 0.5 * gradient_noise(p * [4, 4, 20], seed=25)
    return 0.0009 * strength * np.sin(level * (2 * np.pi / 0.027)) + 0.003 * fbm(p * [5, 5, 9], 2, seed=21)


def _glaze(position: np.ndarray) -> Material:  # [N, 3]
    height = position[:, 2]
    runs = gradient_noise(position * [16, 16, 2.5], seed=31)
    thin = smoothstep(0.256, 0.288, height + 0.016 * runs)  # Glaze runs off the lip and shows the clay.
    pooled = smoothstep(0.16, 0.035, height + 0.02 * runs)
    cloud = smoothstep(-0.5, 0.6, fbm(position * 7, 3, seed=33))
    speck = smoothstep(0.50, 0.62, gradient_noise(position * 70, seed=35))
    teal, sea, ink = np.array([0.010, 0.125, 0.150]), np.array([0.030, 0.235, 0.235]), np.array([0.004, 0.030, 0.058])
    amber = np.array([0.150, 0.058, 0.016])
    color = _mixed(_mixed(teal, sea, cloud), ink, 0.85 * pooled)
    color = _mixed(color, amber, 0.9 * thin) * (1 - 0.6 * speck * (1 - thin))[:, None]
    bare = smoothstep(0.022, 0.012, height + 0.004 * runs)  # The foot ring is unglazed.
    clay = np.array([0.23, 0.135, 0.085])
    return Material(_mixed(color, clay, bare), specular=0.10 * (1 - bare), roughness=0.085 + 0.4 * bare)


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:  # [3] or [N, 3] twice, [N] -> [N, 3]
    return a * (1 - share)[:, None] + b * share[:, None]


def _kintsugi(rng: np.random.Generator, detail: float) -> Surfels:
    """Golden seams where the bowl was broken: chains of short strokes, wider where the lacquer pooled."""
    gold = Material((0.40, 0.23, 0.055), specular=GOLD, roughness=0.28)
    parts = []
    for bends, width in SEAMS:
        path, normal = _on_wall(_wandering(rng, np.array(bends)))
        position, along, reach = strokes(path, 0.006 / np.sqrt(detail))
        share = np.linspace(0, 1, len(position))
        out = unit(np.stack([np.interp(share, np.linspace(0, 1, len(path)), c) for c in normal.T], axis=1))
        wide = width * (1 + 0.4 * gradient_noise(position * 45, seed=41))
        sigma = np.stack([np.full(len(position), reach), wide, np.full(len(position), 0.0012)], axis=1)
        parts.append(make(position + 0.0022 * out, out, along, sigma, gold))
    return joined(parts)


def _wandering(rng: np.random.Generator, bends: np.ndarray) -> np.ndarray:  # [B, 2] -> [P, 2]
    """A crack through the bends: straight between them, give or take a few millimetres."""
    dense = resampled(np.column_stack([bends, np.zeros(len(bends))]), 80)[:, :2]
    drift = np.cumsum(rng.normal(size=(80, 2)), axis=0) * 0.0016
    share = np.linspace(0, 1, 80)[:, None]
    return dense + drift - share * drift[-1]  # The ends stay where they were, so that forks meet.


def _on_wall(seam: np.ndarray):  # [P, 2] -> two of [P, 3]
    """Points and normals on the outer wall; a seam's 0 faces the front."""
    profile = outline()
    outer = profile[: int(np.argmax(profile[:, 1])) + 1]
    slope = unit(np.gradient(np.column_stack([outer, np.zeros(len(outer))]), axis=0))
    angle = seam[:, 0] / 0.44 - np.pi / 2
    r = np.interp(seam[:, 1], outer[:, 1], outer[:, 0])
    dr, dz = (np.interp(seam[:, 1], outer[:, 1], slope[:, k]) for k in (0, 1))
    cos, sin = np.cos(angle), np.sin(angle)
    height = np.minimum(seam[:, 1], outer[-1, 1])
    return np.stack([r * cos, r * sin, height], axis=1), unit(np.stack([dz * cos, dz * sin, -dr], axis=1))
