"""How far points are from a mesh, on which side of it they are, and what rays meet of it; by open3d's ray casting.

A point is inside when most of a few rays from it cross the mesh an odd number of times. Of a closed mesh any one ray
would do; a hole lets some rays through, and then the majority decides. P points, R rays.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from h3d.renderers import num_threads

from .library import open3d
from .mesh import Mesh, open_edges

CLOSED_RAYS, OPEN_RAYS = 3, 11
PROBES = 4096
"""Points at which it is tried whether rays agree."""
CLEAR_SHARE = 0.9
"""Of the probes, how many must be inside or outside beyond doubt."""


class NoInside(ValueError):
    """The mesh does not part space into an inside and an outside."""


class MeshDistance:
    """Answers for one mesh. The same points get the same answers, at every number of threads."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.open_edges = open_edges(mesh)
        self._rays = CLOSED_RAYS if self.open_edges == 0 else OPEN_RAYS

    @property
    def remark(self) -> str:
        """What a person should know of a mesh that is not closed."""
        if self.open_edges == 0:
            return ""
        edges = "edge is" if self.open_edges == 1 else "edges are"
        return (
            f"the mesh is not watertight ({self.open_edges:,} {edges} not shared by exactly two faces): "
            f"what is inside is decided by most of {OPEN_RAYS} rays; close its holes for an exact field"
        )

    def signed(self, points: np.ndarray) -> np.ndarray:  # [P, 3] float32 -> [P] float32
        """Distance to the surface, below 0 inside."""
        points = np.ascontiguousarray(points, np.float32)
        return self._scene.compute_signed_distance(points, nthreads=num_threads(), nsamples=self._rays).numpy()

    def inside(self, points: np.ndarray) -> np.ndarray:  # [P, 3] float32 -> [P] bool
        points = np.ascontiguousarray(points, np.float32)
        return self._scene.compute_occupancy(points, nthreads=num_threads(), nsamples=self._rays).numpy() > 0.5

    def first_hits(
        self,
        origins: np.ndarray,  # [R, 3]
        directions: np.ndarray,  # [R, 3] unit
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distance along each ray to the mesh, [R] (infinite where it passes), and the face's unit normal, [R, 3]."""
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        found = self._scene.cast_rays(rays, nthreads=num_threads())
        return found["t_hit"].numpy(), found["primitive_normals"].numpy()

    def require_inside(self) -> None:
        """Finds out whether the mesh has an inside at all.

        Raises:
            NoInside: it encloses nothing, or rays from the same point disagree about too much of the space.
        """
        low, high = self.mesh.bounds
        margin = 0.05 * float((high - low).max())  # A flat sheet too has space about it.
        low, high = low - margin, high + margin
        draws = np.random.default_rng(0)
        points = (low + (high - low) * draws.random((PROBES, 3))).astype(np.float32)
        turned = draws.normal(size=(8, 3))
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        odd = np.stack([self._odd(points, direction) for direction in turned]).sum(axis=0)
        clear = float(((odd <= 1) | (odd >= len(turned) - 1)).mean())
        if not (odd > len(turned) // 2).any():
            rule = "the mesh encloses nothing: it is an open surface or has no thickness"
            raise NoInside(f"{rule}; a signed distance needs a closed mesh, close its holes or give it a thickness")
        if clear < CLEAR_SHARE:
            rule = f"inside and outside can be told apart in {100 * clear:.0f} % of the mesh's box only"
            raise NoInside(f"{rule} ({self.open_edges:,} open edges); a signed distance needs a closed mesh, close it")

    def _odd(self, points: np.ndarray, direction: np.ndarray) -> np.ndarray:  # [P, 3], [3] -> [P] bool
        rays = np.concatenate([points, np.broadcast_to(direction.astype(np.float32), points.shape)], axis=1)
        return self._scene.count_intersections(rays, nthreads=num_threads()).numpy() % 2 == 1

    @cached_property
    def _scene(self) -> Any:
        scene = open3d().t.geometry.RaycastingScene()
        scene.add_triangles(self.mesh.vertices.astype(np.float32), self.mesh.faces.astype(np.uint32))
        return scene
