"""The tree: a cherry trained as a bonsai, its branches grown towards clouds of space, its flowers where they end.

Trunk and main branches are drawn as splines; twigs grow by space colonisation; every branch is as thick as the
twigs it carries need (pipe model).
Source: Runions et al. 2007, "Modeling trees with a space colonization algorithm"; Shinozaki et al. 1964 (pipe model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from .noise import bumped, fbm, ridged, smoothstep
from .shapes import COVER, spline, tube
from .surfels import Material, Surfels, across, joined, make, unit

SOIL = 0.235
TRUNK = np.array(  # x, y, z, radius
    [
        (0.13, 0.00, SOIL - 0.03, 0.128),
        (0.12, 0.00, SOIL + 0.035, 0.092),
        (0.04, 0.03, 0.39, 0.071),
        (-0.10, 0.03, 0.52, 0.062),
        (-0.14, -0.03, 0.66, 0.052),
        (-0.03, -0.06, 0.79, 0.043),
        (0.10, -0.01, 0.90, 0.033),
        (0.09, 0.04, 1.02, 0.023),
        (0.00, 0.02, 1.14, 0.012),
    ]
)


@dataclass(frozen=True)
class Cloud:
    """A pad of foliage; and the height where its branch leaves the trunk, if it has one of its own."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    leaves_trunk_at: float | None = None


CLOUDS = (
    Cloud((-0.60, -0.04, 0.86), (0.25, 0.21, 0.085), 0.53),
    Cloud((-0.84, -0.12, 0.75), (0.16, 0.14, 0.060)),
    Cloud((-0.38, 0.06, 1.05), (0.23, 0.21, 0.085), 0.79),
    Cloud((0.60, -0.06, 0.84), (0.24, 0.19, 0.080), 0.68),
    Cloud((0.83, 0.04, 0.93), (0.14, 0.13, 0.055)),
    Cloud((0.42, 0.06, 1.08), (0.23, 0.20, 0.085), 0.88),
    Cloud((0.15, -0.36, 0.95), (0.18, 0.13, 0.060), 0.82),
    Cloud((-0.24, -0.30, 0.88), (0.15, 0.12, 0.055), 0.72),
    Cloud((-0.02, 0.42, 0.90), (0.27, 0.19, 0.085), 0.75),
    Cloud((0.38, 0.34, 0.97), (0.17, 0.14, 0.065)),
    Cloud((0.01, 0.02, 1.26), (0.27, 0.24, 0.110), 1.08),
    Cloud((-0.24, 0.00, 1.20), (0.15, 0.15, 0.070)),
    Cloud((0.27, -0.03, 1.22), (0.14, 0.14, 0.065)),
)


def wood(rng: np.random.Generator, detail: float) -> tuple[Surfels, np.ndarray, np.ndarray]:
    """All wood; and the places [M, 3] where flowers may sit, with the centre of each one's cloud [M, 3]."""
    trunk = spline(TRUNK, 160)
    limbs = [_limb(rng, trunk, c, c.leaves_trunk_at) for c in CLOUDS if c.leaves_trunk_at is not None]
    space, owner = _attractors(rng, detail)
    stems = np.concatenate([limb[::3, :3] for limb in limbs] + [trunk[60::4, :3]])
    nodes, parent = _colonised(stems, space)
    twigs = _twigs(nodes, parent, len(stems))
    bark = [_barked(trunk, int(8600 * detail), 1.0)]
    bark += [_barked(limb, int(max(260, 2000 * limb[:, 3].mean() / 0.02 * 0.5) * detail), 0.6) for limb in limbs]
    bark += [_barked(root, int(420 * detail), 1.0) for root in _roots(rng)]
    near = KDTree(nodes).query(space)[0] < 0.06
    centers = np.array([cloud.center for cloud in CLOUDS])[owner]
    return joined([*bark, twigs]), space[near], centers[near]


def _limb(rng: np.random.Generator, trunk: np.ndarray, cloud: Cloud, height: float) -> np.ndarray:  # -> [P, 4]
    """A crooked main branch from the trunk to the underside of its cloud: out, a little down, then up at the tip."""
    start = trunk[np.argmin(np.abs(trunk[:, 2] - height))]
    end = np.array(cloud.center) + [0, 0, -0.4 * cloud.radii[2]]
    reach = end - start[:3]
    length = float(np.linalg.norm(reach))
    share = np.array([0.0, 0.22, 0.42, 0.62, 0.82, 1.0])[:, None]
    crooked = rng.normal(size=(6, 3)) * 0.045 * length * np.array([1, 1, 0.8])
    crooked[[0, -1]] = 0.0
    sag = -0.09 * length * np.sin(np.pi * share) * np.array([0, 0, 1.0])
    path = np.concatenate(
        [start[:3] + share * reach + crooked + sag, [end + 0.5 * unit(reach * [1, 1, 0.2]) * cloud.radii[0]]]
    )
    thick = min(0.52 * start[3], 0.009 + 0.024 * length)
    return spline(np.column_stack([path, thick * np.array([1.3, 0.9, 0.72, 0.56, 0.42, 0.30, 0.13])]), 110)


def _roots(rng: np.random.Generator) -> list[np.ndarray]:
    """Surface roots that hold the soil."""
    roots = []
    for angle in np.arange(7) * 2 * np.pi / 7 + rng.normal(size=7) * 0.2:
        out = np.array([np.cos(angle), np.sin(angle), 0])
        side = np.array([-np.sin(angle), np.cos(angle), 0]) * rng.normal() * 0.05
        base = np.array([0.095, 0.0, SOIL])
        reach = 0.15 + 0.07 * rng.random()
        path = [
            base + 0.04 * out + [0, 0, 0.13],
            base + 0.55 * reach * out + [0, 0, 0.075],
            base + reach * out + side + [0, 0, 0.045],
            base + 1.25 * reach * out + side + [0, 0, 0.0],
        ]
        roots.append(spline(np.column_stack([path, [0.046, 0.030, 0.018, 0.010]]), 30))
    return roots


def _attractors(rng: np.random.Generator, detail: float):
    """Points that branches grow to, denser near the upper skin of each cloud: [M, 3] and the cloud's index [M]."""
    points, owner = [], []
    for k, cloud in enumerate(CLOUDS):
        radii = np.array(cloud.radii)
        count = int(1500 * (radii[0] * radii[1] / 0.07) ** 0.8 * np.clip(detail, 0.05, 1.0))
        direction = unit(rng.normal(size=(count, 3)))
        direction[:, 2] = np.where(rng.random(count) < 0.72, np.abs(direction[:, 2]), direction[:, 2])
        r = rng.random(count) ** (1 / 5)
        local = direction * r[:, None] * (1 + 0.42 * fbm(direction * 2.2 + 9 * k, 2, seed=51))[:, None]
        local[:, 2] = np.maximum(local[:, 2], -0.6)
        points.append(np.array(cloud.center) + local * radii)
        owner.append(np.full(count, k))
    return np.concatenate(points), np.concatenate(owner)


def _colonised(stems: np.ndarray, space: np.ndarray, step: float = 0.022, reach: float = 0.30, kill: float = 0.032):
    """Grow nodes from `stems` [S, 3] until no point of `space` [M, 3] is left: nodes [P, 3], parents [P]."""
    nodes, parent = stems, np.full(len(stems), -1)
    alive = space
    for _ in range(60):
        distance, nearest = (np.asarray(a) for a in KDTree(nodes).query(alive))
        pull = distance < reach
        target, inverse = np.unique(nearest[pull], return_inverse=True)
        if len(target) == 0:
            break
        direction = np.zeros((len(target), 3))
        np.add.at(direction, inverse, unit(alive[pull] - nodes[nearest[pull]]))
        grown = nodes[target] + step * unit(unit(direction) + [0, 0, 0.06])
        fresh = KDTree(nodes).query(grown)[0] > 0.4 * step  # Two pulls in balance would grow the same node for ever.
        if not fresh.any():
            break
        nodes, parent = np.concatenate([nodes, grown[fresh]]), np.concatenate([parent, target[fresh]])
        alive = alive[KDTree(grown[fresh]).query(alive)[0] > kill]
        if len(alive) == 0:
            break
    return nodes, parent


def _twigs(nodes: np.ndarray, parent: np.ndarray, stems: int) -> Surfels:
    """One long thin Gaussian, or a ring of them, from each grown node to its parent."""
    load = np.zeros(len(nodes))
    children = np.bincount(parent[parent >= 0], minlength=len(nodes))
    load[children == 0] = 1.0
    for k in range(len(nodes) - 1, stems - 1, -1):  # Children come after their parents.
        load[parent[k]] += load[k]
    grown = np.arange(stems, len(nodes))
    radius = np.minimum(0.0021 * load[grown] ** 0.42, 0.012)
    start, end = nodes[parent[grown]], nodes[grown]
    along, length = unit(end - start), np.linalg.norm(end - start, axis=1)
    up = across(along, [0.0, 0.0, 1.0])
    bright = 0.8 + 0.4 * np.sin(np.arange(len(grown)) * 12.9)
    brown = np.array([0.150, 0.085, 0.062]) * bright[:, None]
    sigma = np.stack([0.40 * length, 0.62 * radius, 0.62 * radius], axis=1)
    return make(0.5 * (start + end), up, along, sigma, Material(brown, translucency=0.15), opacity=0.95)


def _bark_height(p: np.ndarray) -> np.ndarray:  # [N, 3] -> [N]
    """Plates that run along the trunk, and the cherry's short dark bars across it."""
    warped = p + 0.02 * np.stack([fbm(p * 9 + 5 * k, 2, seed=61 + k) for k in range(3)], axis=1)
    return 0.011 * ridged(warped * [46, 46, 20], 3, seed=65) ** 2


def _barked(path: np.ndarray, count: int, roughness: float) -> Surfels:  # [P, 4]
    position, normal, along, _, spacing = tube(path[:, :3], path[:, 3], count)
    height = _bark_height(position) * roughness
    rough = bumped(position, normal, lambda p: _bark_height(p) * roughness * 2.2, 0.003)
    crest = smoothstep(0.0025, 0.0085, height / roughness)
    dark, light = np.array([0.016, 0.010, 0.009]), np.array([0.165, 0.105, 0.082])
    albedo = dark + (light - dark) * crest[:, None] * (0.85 + 0.3 * fbm(position * 14, 2, seed=67))[:, None]
    # Lichen on the weather side, and moss that climbs from the soil.
    lichen = smoothstep(0.25, 0.55, fbm(position * 8, 3, seed=71) + 0.25 * normal[:, 1]) * 0.55
    climbing = smoothstep(0.16, 0.0, position[:, 2] - SOIL + 0.10 * fbm(position * 12, 2, seed=73)) * 0.5
    albedo += lichen[:, None] * (np.array([0.19, 0.22, 0.15]) - albedo)
    albedo += climbing[:, None] * (np.array([0.085, 0.125, 0.018]) - albedo)
    sigma = spacing * np.array([1.15 * COVER, 0.82 * COVER, 0.3])
    bark = Material(albedo, specular=0.03, roughness=0.55)
    return make(position + normal * height[:, None], normal, along, sigma, bark, normal=rough)
