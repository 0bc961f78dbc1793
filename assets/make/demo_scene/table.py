"""The round walnut board: long grain, a polished edge, and a band of brass waves let into the wood."""

from __future__ import annotations

import numpy as np

from .noise import bumped, fbm, gradient_noise, smoothstep
from .shapes import COVER, disc, revolved, strokes
from .surfels import Material, Surfels, joined, make

RADIUS, THICKNESS = 0.80, 0.085
BRASS = (0.95, 0.64, 0.27)


def table(detail: float) -> Surfels:
    """The board with its top at z = 0."""
    return joined([_top(int(14200 * detail)), _edge(int(6000 * detail)), _waves(detail)])


def _walnut(position: np.ndarray) -> Material:  # [N, 3]
    """Dark wood with the trunk's axis along x, a little off centre."""
    warped = position + 0.05 * np.stack([fbm(position * [1.2, 4, 4] + 7 * k, 2, seed=k) for k in range(3)], axis=1)
    rings = np.hypot(warped[:, 1] + 0.34, 1.6 * (warped[:, 2] + 0.55)) * 24
    late = smoothstep(0.25, 0.95, rings % 1.0) * smoothstep(1.0, 0.93, rings % 1.0)
    pores = smoothstep(0.30, 0.75, gradient_noise(position * [9, 75, 75], seed=5))
    tone = fbm(position * [1.5, 5, 5], 3, seed=9)
    light, dark = np.array([0.115, 0.048, 0.021]), np.array([0.018, 0.0075, 0.0045])
    mix = np.clip(0.18 + 0.75 * late + 0.35 * tone, 0, 1)[:, None]
    albedo = (light * (1 - mix) + dark * mix) * (1 - 0.55 * pores)[:, None]
    return Material(albedo, specular=0.038, roughness=0.30 + 0.2 * pores)


def _top(count: int) -> Surfels:
    position, spacing = disc(RADIUS - 0.031, count, stretch=2.0)
    position = position[np.hypot(position[:, 0], position[:, 1]) > 0.24]  # The pot hides the middle.
    normal = np.tile([0.0, 0.0, 1.0], (len(position), 1))
    uneven = bumped(position, normal, lambda p: 0.002 * fbm(p * 6, 2, seed=3), 0.01)
    sigma = np.array([2.0 * spacing * COVER, spacing * COVER, 0.002])
    return make(position, normal, np.array([1.0, 0, 0]), sigma, _walnut(position), normal=uneven)


def _edge(count: int) -> Surfels:
    turn = np.linspace(np.pi / 2, -np.pi / 2, 24)
    half = THICKNESS / 2
    profile = np.stack([RADIUS - half * 0.7 + half * 0.7 * np.cos(turn), half * np.sin(turn) - half], axis=1)
    rim = np.concatenate([[[RADIUS - 0.042, 0]], profile])
    # The rim and its roundings get most of the surfels; the underside, seldom seen, a coarse cover.
    under = np.array([[RADIUS - 1.6 * half, -THICKNESS + 0.006], [0.0, -THICKNESS + 0.006]])
    parts = []
    for part, share in ((rim, 0.88), (under, 0.12)):
        position, normal, tangent, _, spacing = revolved(part, int(count * share))
        normal = -normal if part is under and normal[:, 2].mean() > 0 else normal
        normal = normal if (normal * position)[:, :2].sum() >= 0 or part is under else -normal
        sigma = np.minimum(spacing * np.array([COVER, COVER, 0.25]), [0.05, 0.05, 0.002])
        parts.append(make(position, normal, tangent, sigma, _walnut(position)))
    return joined(parts)


def _waves(detail: float) -> Surfels:
    """Seigaiha: rows of nested half circles around the board, between two rings."""
    curves = [_ring(0.757, 0.0040), _ring(0.608, 0.0026), _ring(0.746, 0.0013)]
    scales, rows = 44, ((0.632, 0.0), (0.672, 0.5), (0.712, 0.0))
    half = np.pi / scales
    turn = np.linspace(0.0, np.pi, 12)
    for row_radius, shift in rows:
        for k in range(scales):
            for part, width in ((1.0, 0.0019), (0.66, 0.0014), (0.34, 0.0014)):
                angle = (2 * (k + shift)) * half - part * half * np.cos(turn)
                r = row_radius + part * 0.040 * np.sin(turn) - 0.012
                curves.append((np.stack([r * np.cos(angle), r * np.sin(angle), np.full(12, 0.0012)], axis=1), width))
    return joined(_inlay(path, width, 0.0093 / np.sqrt(detail)) for path, width in curves)


def _ring(radius: float, width: float):
    turn = np.linspace(0, 2 * np.pi, 240)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(240, 0.0012)], axis=1), width


def _inlay(path: np.ndarray, width: float, step: float) -> Surfels:
    position, along, reach = strokes(path, step)
    up = np.array([0.0, 0.0, 1.0])
    metal = Material((0.34, 0.19, 0.055), specular=BRASS, roughness=0.30)
    return make(position, up, along, np.array([reach, width, 0.0006]), metal, opacity=0.95)
