"""Fields that are known exactly without training: one dense level of the encoding holds a function at its corners."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from h3d.models.hash_grid import HashGridField
from h3d.models.meshes import Mesh
from h3d.models.signed_distance import SignedDistanceField
from h3d.renderers.fields import GRID_CELLS, GRID_SIDE, cell_centers
from h3d.renderers.hash_encoding import HashGridConfig, layout

CORNERS = 64
ENCODING = HashGridConfig(levels=1, features=1, log2_table_size=18, base_resolution=CORNERS)


def distance_field(distance: Callable[[np.ndarray], np.ndarray], side: float = 2.0) -> SignedDistanceField:
    """Of a function of points [P, 3] in the unit cube, which lies about (1, 2, 3) with sides of `side`."""
    asset_from_unit = torch.diag(torch.tensor([side, side, side, 1.0], dtype=torch.float64))
    asset_from_unit[:3, 3] = torch.tensor([1.0, 2.0, 3.0]) - 0.5 * side
    box = torch.tensor([[0.05] * 3, [0.95] * 3])
    return SignedDistanceField(ENCODING, table(distance), (torch.ones(1, 1),), box, asset_from_unit, remark="made up")


def density_field(
    log_density: Callable[[np.ndarray], np.ndarray], ngp_from_world: torch.Tensor | None = None
) -> HashGridField:
    """Of the logarithm of the density at points [P, 3] of the unit cube; grey, and the brighter the denser."""
    density_weights, rgb_weights = torch.zeros(16, 1), torch.zeros(3, 32)
    density_weights[0] = 1.0
    rgb_weights[:, 0] = 0.1
    centres = cell_centers(torch.arange(GRID_CELLS), 0)
    thickness = np.exp(np.clip(log_density(centres.numpy()), -20.0, 10.0)).astype(np.float32) / GRID_SIDE
    return HashGridField(
        ENCODING,
        table(log_density),
        (density_weights,),
        (rgb_weights,),
        torch.from_numpy(thickness)[None],
        torch.tensor([[0.0] * 3, [1.0] * 3]),
        torch.eye(4, dtype=torch.float64) if ngp_from_world is None else ngp_from_world,
    )


def table(function: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:  # [E, 1]
    """The function at the corners: that of number i lies at (i - 0.5) / scale."""
    (level,) = layout(ENCODING)
    along = (np.arange(level.resolution) - 0.5) / level.scale
    z, y, x = np.meshgrid(along, along, along, indexing="ij")
    values = np.zeros(level.size, np.float32)
    values[: x.size] = function(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    return torch.from_numpy(values)[:, None]


def ball(points: np.ndarray, radius: float = 0.3) -> np.ndarray:  # [P, 3] -> [P]
    """Signed distance to a ball in the middle of the unit cube."""
    return np.linalg.norm(points - 0.5, axis=1) - radius


def box_mesh(low: float = -1.0, high: float = 1.0) -> Mesh:
    """A closed box of twelve triangles."""
    corners = np.array([[x, y, z] for x in (low, high) for y in (low, high) for z in (low, high)], np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [(a, b, c) for a, b, c, _ in quads] + [(a, c, d) for a, _, c, d in quads]
    return Mesh(corners, np.array(faces, np.int32))


def ball_mesh(radius: float = 1.0, subdivisions: int = 4) -> Mesh:
    """A closed ball, from a box whose faces are parted again and again."""
    mesh = box_mesh()
    for _ in range(subdivisions):
        a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
        ab, bc, ca = 0.5 * (a + b), 0.5 * (b + c), 0.5 * (c + a)
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        corners = np.concatenate([np.stack(part, axis=1) for part in parts])
        mesh = Mesh(corners.reshape(-1, 3), np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)).welded()
    lengths = np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    return Mesh(radius * mesh.vertices / lengths, mesh.faces)
