"""Points about a mesh and their distances to it: a pool that a step draws from, and renews a part of.

Of eight points two lie on the surface, five near it and one anywhere in the box. "Near" is a logistic deviation whose
size is itself drawn, evenly by its logarithm, from a thousandth to a sixteenth of the mesh's radius: one small size
alone, as Instant-NGP has it, leaves what lies between the surface and the far points to chance, and half of the points
on the surface itself, where every distance is 0, teach it a flat place without a normal.

Casting rays for fresh points costs as much as learning from them, so that a point is met about sixteen times before it
is replaced. Which points there are depends on the generator alone. N points of the pool, P drawn ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from h3d.models.meshes import Mesh, MeshDistance
from h3d.models.meshes.mesh import SurfaceSampler

ON_SURFACE, NEAR = 2 / 8, 5 / 8
NEAREST, FARTHEST = 1 / 1024, 1 / 16
"""Sizes of the deviation of near points, in radii of the mesh."""
LOGISTIC_DEVIATION = math.pi / math.sqrt(3.0)
"""Standard deviation of a logistic distribution of scale 1."""


class MeshPoints:
    """Draws points about a mesh in the unit cube."""

    def __init__(self, mesh: Mesh, box: np.ndarray) -> None:  # [2, 3] where the field is to know distances
        self.distance = MeshDistance(mesh)
        self.box = torch.from_numpy(box)
        self._sampler = SurfaceSampler(mesh)
        low, high = mesh.bounds
        self.diagonal = float(np.linalg.norm(high - low))

    def on_surface(self, count: int, generator: torch.Generator) -> torch.Tensor:  # [P, 3] float64
        """Evenly all over the surface."""
        draws = torch.rand(count, 3, generator=generator, dtype=torch.float64)
        return torch.from_numpy(self._sampler(draws.numpy())[0])

    def in_box(self, count: int, generator: torch.Generator) -> torch.Tensor:  # [P, 3] float64
        """Evenly all over the box."""
        draws = torch.rand(count, 3, generator=generator, dtype=torch.float64)
        return self.box[0] + (self.box[1] - self.box[0]) * draws

    def fresh(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """New points [P, 3] and their distances [P], float32, in a random order."""
        surface, near = round(ON_SURFACE * count), round(NEAR * count)
        points = self.on_surface(surface + near, generator)
        points[surface:] += self._deviations(near, generator)
        points = torch.cat([points, self.in_box(count - surface - near, generator)])
        points = torch.maximum(torch.minimum(points, self.box[1]), self.box[0]).float()
        distances = torch.zeros(count)
        distances[surface:] = torch.from_numpy(self.distance.signed(points[surface:].numpy()))
        order = torch.randperm(count, generator=generator)
        return points[order], distances[order]

    def _deviations(self, count: int, generator: torch.Generator) -> torch.Tensor:  # [P, 3]
        draws = torch.rand(count, 4, generator=generator, dtype=torch.float64)
        sizes = 0.5 * self.diagonal * NEAREST * (FARTHEST / NEAREST) ** draws[:, :1]
        shares = draws[:, 1:].clamp(1e-9, 1.0 - 1e-9)
        return sizes * torch.log(shares / (1.0 - shares)) / LOGISTIC_DEVIATION


@dataclass(eq=False)
class PointPool:
    """N points that steps draw from; the oldest are replaced, by as many at a time as the caller says."""

    points: torch.Tensor  # [N, 3]
    distances: torch.Tensor  # [N]
    oldest: int = 0

    @staticmethod
    def filled(source: MeshPoints, size: int, generator: torch.Generator) -> PointPool:
        return PointPool(*source.fresh(size, generator))

    def renew(self, source: MeshPoints, count: int, generator: torch.Generator) -> None:
        """Replaces the oldest `count` points; a whole number of times that makes N."""
        end = self.oldest + count
        self.points[self.oldest : end], self.distances[self.oldest : end] = source.fresh(count, generator)
        self.oldest = end % len(self.points)

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Some of them, [P, 3] and [P]."""
        rows = torch.randint(len(self.points), (count,), generator=generator)
        return self.points[rows], self.distances[rows]
