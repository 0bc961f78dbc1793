"""What grows and lies in the pot: a mound of moss, grass, and river stones."""

from __future__ import annotations

import numpy as np

from .noise import bumped, fbm, gradient_noise, smoothstep
from .shapes import COVER, disc, ellipsoid
from .surfels import Material, Surfels, joined, make, unit
from .tree import SOIL

INNER_RADIUS = 0.415
STONES = (  # x, y, radii, turn
    (-0.20, -0.20, (0.085, 0.060, 0.052), 0.5),
    (-0.285, -0.115, (0.046, 0.038, 0.030), 1.9),
    (-0.115, -0.275, (0.036, 0.028, 0.021), 0.1),
    (0.27, 0.17, (0.070, 0.055, 0.050), 2.4),
)


def garden(rng: np.random.Generator, detail: float) -> Surfels:
    """Everything on the soil."""
    return joined(
        [_soil(int(1200 * detail)), _moss(rng, int(5500 * detail)), _grass(rng, int(110 * detail)), _stones(detail)]
    )


def ground(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the soil: a mound around the trunk, soft hummocks, down to the rim."""
    flat = np.stack([x, y, np.zeros_like(x)], axis=1)
    mound = 0.075 * np.exp(-((x - 0.09) ** 2 + y**2) / 0.05)
    hummocks = 0.022 * np.abs(fbm(flat * 9, 2, seed=81)) + 0.018 * fbm(flat * 4, 2, seed=83)
    edge = smoothstep(INNER_RADIUS, INNER_RADIUS - 0.10, np.hypot(x, y))
    return SOIL + 0.012 + edge * (mound + hummocks)


def _soil(count: int) -> Surfels:
    position, spacing = disc(INNER_RADIUS, count)
    position[:, 2] = ground(position[:, 0], position[:, 1]) - 0.010
    sigma = spacing * np.array([0.8, 0.8, 0.3])
    up = np.array([0.0, 0.0, 1.0])
    return make(position, up, np.array([1.0, 0, 0]), sigma, Material((0.030, 0.026, 0.012)))


def _moss(rng: np.random.Generator, count: int) -> Surfels:
    """Two Gaussians a sprout: a dark stem and a bright tip that leans at random."""
    base, _ = disc(INNER_RADIUS - 0.006, count)
    base[:, :2] += rng.normal(size=(count, 2)) * 0.0018
    base[:, 2] = ground(base[:, 0], base[:, 1])
    up = np.tile([0.0, 0.0, 1.0], (count, 1))
    hill = bumped(base * [1, 1, 0], up, lambda p: ground(p[:, 0], p[:, 1]), 0.012)
    lean = unit(hill + 0.42 * rng.normal(size=(count, 3)))
    tall = 0.011 * (0.7 + 0.6 * rng.random(count)) * (1 + 0.5 * gradient_noise(base * 18, seed=85))
    patch = smoothstep(-0.35, 0.45, fbm(base * 7, 3, seed=87))[:, None]
    bright = np.array([0.235, 0.300, 0.030]) * (1 - patch) + np.array([0.075, 0.185, 0.030]) * patch
    bright = bright * (0.75 + 0.5 * rng.random((count, 1)))
    side = np.cross(lean, [0.2, 0.9, 0.1])
    stem = np.stack([0.55 * tall, np.full(count, 0.0039), np.full(count, 0.0039)], axis=1)
    tip = np.stack([0.36 * tall, np.full(count, 0.0021), np.full(count, 0.0021)], axis=1)
    low, high = base + 0.3 * tall[:, None] * lean, base + 1.05 * tall[:, None] * lean
    return joined(
        [
            make(low, side, lean, stem, Material(0.42 * bright, translucency=0.1), normal=hill),
            make(high, side, lean, tip, Material(bright, translucency=0.3), normal=unit(hill + 0.5 * lean)),
        ]
    )


def _grass(rng: np.random.Generator, count: int) -> Surfels:
    """Tufts of blades: each blade a chain of six thin Gaussians along a falling arc."""
    tufts = np.array([(0.30, -0.14), (0.25, -0.22), (-0.02, 0.30), (-0.33, 0.05), (0.36, -0.02)])
    where = tufts[rng.integers(len(tufts), size=count)] + rng.normal(size=(count, 2)) * 0.012
    foot = np.column_stack([where, ground(where[:, 0], where[:, 1])])
    turn = rng.random(count) * 2 * np.pi
    out = np.stack([np.cos(turn), np.sin(turn), np.zeros(count)], axis=1)
    tall, bend = 0.085 + 0.075 * rng.random(count), 0.02 + 0.075 * rng.random(count)
    tint = rng.random((count, 1))
    parts = []
    for k in range(6):
        t = (k + 0.5) / 6
        place = foot + (bend * t**2)[:, None] * out + (tall * (t - 0.28 * t**3))[:, None] * [0, 0, 1]
        along = unit((2 * bend * t)[:, None] * out + (tall * (1 - 0.84 * t**2))[:, None] * [0, 0, 1])
        wide = np.full(count, 0.0017 * (1.05 - t))
        sigma = np.stack([tall / 6 * 0.62, wide, np.full(count, 0.0004)], axis=1)
        color = (np.array([0.10, 0.20, 0.03]) + tint * [0.16, 0.10, 0.0]) * (0.45 + 0.75 * t)
        blade = Material(color, specular=0.03, roughness=0.4, translucency=0.4)
        parts.append(make(place, np.cross(along, np.cross(out, [0, 0, 1])), along, sigma, blade))
    return joined(parts)


def _stones(detail: float) -> Surfels:
    parts = []
    for k, (x, y, half_axes, turn) in enumerate(STONES):
        radii = np.array(half_axes)
        count = int(1700 * detail * (radii[0] / 0.085) ** 1.6)
        position, normal, spacing = ellipsoid(radii, count)
        swell = 1 + 0.22 * fbm(normal * 1.1 + 3 * k, 2, seed=91)
        rough = bumped(position, normal, lambda p: 0.006 * fbm(p * 22, 3, seed=93), 0.006)
        grain = gradient_noise(position * 160, seed=95)
        vein = smoothstep(0.06, 0.0, np.abs(fbm(position * 16 + k, 2, seed=97)))
        grey = np.array([0.15, 0.15, 0.165]) * (0.8 + 0.35 * grain)[:, None]
        color = grey + 0.6 * vein[:, None] * (np.array([0.42, 0.40, 0.37]) - grey)
        stone = make(
            position * swell[:, None],
            normal,
            np.array([0.0, 0, 1]),
            spacing * np.array([COVER, COVER, 0.15]),
            Material(color, specular=0.045, roughness=0.30),
            normal=rough,
        )
        cos, sin = np.cos(turn), np.sin(turn)
        stone = stone.turned(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]))
        height = float(ground(np.array([x]), np.array([y]))[0])
        parts.append(stone.moved((x, y, height + 0.22 * radii[2])))
    return joined(parts)
