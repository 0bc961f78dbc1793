"""The bowl: a thrown pot in a deep teal glaze that breaks to amber at the lip, broken once and mended with gold."""

from __future__ import annotations

import numpy as np

from .noise import bumped, fbm, gradient_noise, smoothstep
from .shapes import COVER, revolved, spline, strokes
from .surfels import Material, Surfels, joined, make, unit

HEIGHT, LIP_RADIUS = 0.285, 0.475
GOLD = (1.0, 0.72, 0.30)
# Radius and height of the outer wall from the foot to the lip, then over the lip and down to the soil.
WALL = np.array(
    [(0.275, 0.0), (0.282, 0.03), (0.335, 0.055), (0.405, 0.105), (0.437, 0.16), (0.438, 0.205), (0.430, 0.24)]
)
LIP = np.array([(0.430, 0.24), (0.446, 0.262), (0.470, 0.272), (0.476, 0.282), (0.462, 0.288), (0.438, 0.274)])
INSIDE = np.array([(0.438, 0.274), (0.418, 0.25), (0.414, 0.215)])


def pot(rng: np.random.Generator, detail: float) -> Surfels:
    """The bowl standing on z = 0."""
    profile = outline()
    position, normal, tangent, arc, spacing = revolved(profile, int(17500 * detail))
    wobble = bumped(position, normal, lambda p: 0.010 * fbm(p * [5, 5, 9], 2, seed=21), 0.01)
    sigma = spacing * np.array([COVER, COVER, 0.12])
    shell = make(position, normal, tangent, sigma, _glaze(position, normal), normal=wobble)
    return joined([shell, _kintsugi(rng, detail)])


def outline() -> np.ndarray:  # -> [P, 2]
    """Radius and height along the pot, foot first, soil last."""
    return spline(np.column_stack([np.concatenate([WALL, LIP[1:], INSIDE[1:]]), np.zeros(14)]), 300)[:, :2]


def _glaze(position: np.ndarray, normal: np.ndarray) -> Material:  # two of [N, 3]
    height = position[:, 2]
    runs = gradient_noise(position * [16, 16, 2.5], seed=31)
    thin = smoothstep(0.252, 0.290, height + 0.016 * runs)  # Glaze runs off the lip and shows the clay.
    pooled = smoothstep(0.16, 0.035, height + 0.02 * runs)
    cloud = smoothstep(-0.5, 0.6, fbm(position * 7, 3, seed=33))
    speck = smoothstep(0.50, 0.62, gradient_noise(position * 70, seed=35))
    teal, sea, ink = np.array([0.010, 0.125, 0.150]), np.array([0.030, 0.235, 0.235]), np.array([0.004, 0.030, 0.058])
    amber = np.array([0.150, 0.058, 0.016])
    color = _mixed(_mixed(teal, sea, cloud), ink, 0.85 * pooled)
    color = _mixed(color, amber, 0.9 * thin) * (1 - 0.6 * speck * (1 - thin))[:, None]
    bare = smoothstep(0.022, 0.012, height + 0.004 * runs)  # The foot ring is unglazed.
    clay = np.array([0.23, 0.135, 0.085])
    return Material(_mixed(color, clay, bare), specular=0.075 * (1 - bare), roughness=0.13 + 0.4 * bare)


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:  # [3] or [N, 3] twice, [N] -> [N, 3]
    return a * (1 - share)[:, None] + b * share[:, None]


def _kintsugi(rng: np.random.Generator, detail: float) -> Surfels:
    """Golden seams along the cracks, each a chain of short strokes with beads where the lacquer pooled."""
    profile = outline()
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    lip = float(arc[np.argmax(profile[:, 1])])
    gold = Material((0.20, 0.115, 0.030), specular=GOLD, roughness=0.27)
    parts = []
    for seam, width in _cracks(rng, lip):
        path, normal = _on_pot(seam, profile, arc)
        position, along, reach = strokes(path, 0.006 / np.sqrt(detail))
        share = np.linspace(0, 1, len(position))
        out = unit(np.stack([np.interp(share, np.linspace(0, 1, len(path)), c) for c in normal.T], axis=1))
        wide = width * (1 + 0.5 * gradient_noise(position * 45, seed=41)) * (1 - 0.35 * share)
        sigma = np.stack([np.full(len(position), reach), wide, np.full(len(position), 0.0012)], axis=1)
        parts.append(make(position + 0.0022 * out, out, along, sigma, gold))
    return joined(parts)


def _cracks(rng: np.random.Generator, lip: float) -> list[tuple[np.ndarray, float]]:
    """Unrolled seams [P, 2] (arc about the pot, arc up the pot) and their widths: rays from two blows, and forks."""
    seams = []
    for blow, headings in ((0.05, (-168, -132, -97, -62, -24)), (0.98, (-150, -88, -40)), (-0.95, (-125, -60))):
        for heading in headings:
            ray = _crack(rng, np.array([blow, lip]), np.radians(heading), 0.20 + 0.32 * rng.random(), lip)
            seams.append((ray, 0.0034))
            fork = ray[int(len(ray) * (0.35 + 0.25 * rng.random()))]
            turn = np.radians(heading) + rng.choice([-1, 1]) * (0.75 + 0.3 * rng.random())
            seams.append((_crack(rng, fork, turn, 0.10 + 0.16 * rng.random(), lip), 0.0024))
    return [(seam, width) for seam, width in seams if len(seam) > 3]


def _crack(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, lip: float) -> np.ndarray:
    """A line that changes its mind now and then, until it meets the foot or the lip."""
    count = int(length / 0.01)
    bends = np.repeat(rng.normal(size=count // 4 + 1) * 0.32, 4)[:count]
    angle = heading + np.cumsum(bends * 0.35) - 0.5 * np.cumsum(bends * 0.35).mean() + bends
    path = start + np.cumsum(0.01 * np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0)
    path = np.concatenate([[start], path])
    gone = np.flatnonzero((path[:, 1] < 0.05) | (path[:, 1] > lip + 1e-6))
    return path[: gone[0]] if len(gone) > 0 else path


def _on_pot(seam: np.ndarray, profile: np.ndarray, arc: np.ndarray):  # [P, 2], [Q, 2], [Q]
    """Unrolled coordinates to points and normals on the pot; the seam's 0 faces the front."""
    angle = seam[:, 0] / 0.42 - np.pi / 2
    slope = np.gradient(profile, arc, axis=0)
    r, z = (np.interp(seam[:, 1], arc, column) for column in profile.T)
    dr, dz = (np.interp(seam[:, 1], arc, column) for column in slope.T)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([r * cos, r * sin, z], 1), unit(np.stack([dz * cos, dz * sin, -dr], 1))
