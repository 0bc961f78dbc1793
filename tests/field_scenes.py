"""Rays, grids and fields that the tests of volume rendering share."""

from __future__ import annotations

import numpy as np
import torch

from h3d.renderers.fields import GRID_CELLS, OccupancyGrid, Samples, cell_centers

UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CENTRE = np.full(3, 0.5)


def box(side: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.5 - side / 2,) * 3, (0.5 + side / 2,) * 3


def rays_through(seed: int, count: int, *, distance: float, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Rays from a sphere about the centre towards places near the centre, float32."""
    rng = np.random.default_rng(seed)
    away = rng.normal(size=(count, 3))
    origins = CENTRE + distance * away / np.linalg.norm(away, axis=1, keepdims=True)
    to = CENTRE + spread * rng.uniform(-1, 1, (count, 3)) - origins
    return origins.astype(np.float32), (to / np.linalg.norm(to, axis=1, keepdims=True)).astype(np.float32)


def blobs(seed: int, cascades: int) -> OccupancyGrid:
    """A few balls of cells in each cascade, and some single cells."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.zeros(cascades, GRID_CELLS)
    for cascade in range(cascades):
        centers = cell_centers(torch.arange(GRID_CELLS), cascade)
        for _ in range(3):
            middle = 0.5 + (torch.rand(3, generator=generator) - 0.5) * 2**cascade
            radius = 0.2 * float(torch.rand(1, generator=generator)) * 2**cascade
            values[cascade][(centers - middle).norm(dim=1) < radius] = 1.0
        values[cascade][torch.randint(0, GRID_CELLS, (20000,), generator=generator)] = 1.0
    return OccupancyGrid.from_values(values, 0.5)


def ball(density: float, radius: float):
    """A ball of constant density and one colour about the centre."""

    def query(positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inside = (positions - 0.5).norm(dim=1) < radius
        return torch.where(inside, density, 0.0), torch.tensor([0.9, 0.5, 0.1]).expand(len(positions), 3)

    return query


def random_samples(rng: np.random.Generator, counts: np.ndarray) -> tuple[Samples, torch.Tensor, torch.Tensor]:
    """Packed samples of random rays with their density and rgb."""
    total = int(counts.sum())
    starts = np.cumsum(counts) - counts
    steps = rng.uniform(1e-3, 2e-2, total)
    t_ends = np.concatenate([0.5 + np.cumsum(steps[s : s + n]) for s, n in zip(starts, counts, strict=True)])
    places = torch.zeros(total, 3)
    begins, ends = (torch.from_numpy(a.astype(np.float32)) for a in (t_ends - steps, t_ends))
    samples = Samples(places, places, begins, ends, torch.from_numpy(starts), torch.from_numpy(counts))
    density = torch.from_numpy(rng.exponential(20.0, total).astype(np.float32))
    return samples, density, torch.from_numpy(rng.uniform(0, 1, (total, 3)).astype(np.float32))
