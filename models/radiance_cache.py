"""The radiance cache of a path tracer: a hash grid and a small network that know the light that surfaces scatter.

S(x, direction) = scale * reflectance * network(features of x, direction, normal, roughness, albedo, specular), where
the reflectance is albedo + specular: what a texture or a colour does to light need not be learnt. N points.
Source: Mueller, Rousselle, Novak, Keller 2021, "Real-time Neural Radiance Caching for Path Tracing"; the hash grid in
place of its frequencies: Mueller et al. 2022, section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from h3d.renderers.hash_encoding import HashGridConfig, hash_encode
from h3d.renderers.mlp import mlp
from h3d.renderers.path_tracer import SurfacePoints, surface_inputs

MARGIN = 1.01
"""Of the encoded cube over the scene, so that surfaces at its border lie inside."""


@dataclass(frozen=True)
class UnitCube:
    """Where the encoding's [0, 1]^3 lies: a cube about the scene."""

    low: tuple[float, float, float]
    side: float

    @staticmethod
    def around(bounds: np.ndarray) -> UnitCube:  # [2, 3]
        """The smallest with a little margin."""
        side = MARGIN * float((bounds[1] - bounds[0]).max())
        x, y, z = (float(v) for v in bounds.mean(axis=0) - 0.5 * side)
        return UnitCube((x, y, z), side)

    def warped(self, positions: torch.Tensor) -> torch.Tensor:  # [N, 3] -> [N, 3]
        """Places of the world in the cube."""
        return (positions - torch.tensor(self.low)) * (1.0 / self.side)


@dataclass(frozen=True, eq=False)
class RadianceCache:
    """What has been learnt of a scene's light. All floats are float32."""

    encoding: HashGridConfig  # of 3 dimensions
    table: torch.Tensor  # [E, F]
    weights: tuple[torch.Tensor, ...]  # [H, L * F + 27], ..., [3, H]
    cube: UnitCube
    scale: float  # of the scene's light, so that the network's numbers are about 1
    step: int = 0  # of training

    def scattered(self, points: SurfacePoints) -> torch.Tensor:  # [N, 3]
        """Linear radiance that leaves the points along their directions, without what they give off themselves."""
        with torch.no_grad():
            light = scattered(points, self.table, self.weights, self.encoding, self.cube)
            return light.clamp_(min=0.0).mul_(self.scale)

    @property
    def nbytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.table, *self.weights))


def scattered(
    points: SurfacePoints,
    table: torch.Tensor,  # [E, F]
    weights: Sequence[torch.Tensor],
    encoding: HashGridConfig,
    cube: UnitCube,
) -> torch.Tensor:  # [N, 3]
    """Scattered light in units of the cache's scale; differentiable in table and weights, may dip below 0."""
    hashed = hash_encode(cube.warped(points.positions), table, encoding)
    return mlp(surface_inputs(hashed, points), weights) * (points.albedo + points.specular)
