"""A triangle mesh as a frozen value, and pure functions on it. V vertices, F faces, P points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles over shared vertices; seen from outside, a face's corners go round counter-clockwise."""

    vertices: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int32, rows of `vertices`
    colors: np.ndarray | None = None  # [V, 3] float32, sRGB in [0, 1]
    normals: np.ndarray | None = None  # [V, 3] float32, unit

    @property
    def bounds(self) -> np.ndarray:  # [2, 3]
        """Low and high corner of the box about the vertices."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @cached_property
    def face_vectors(self) -> np.ndarray:  # [F, 3] float64
        """Normal of each face, as long as twice its area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a)

    @cached_property
    def areas(self) -> np.ndarray:  # [F] float64
        return 0.5 * np.linalg.norm(self.face_vectors, axis=1)

    @property
    def volume(self) -> float:
        """What a closed mesh encloses; below 0 where its faces look inwards."""
        return float((self.vertices[self.faces[:, 0]] * self.face_vectors).sum() / 6.0)

    def transformed(self, matrix: np.ndarray) -> Mesh:  # [4, 4], a rotation times a uniform scale, and a translation
        """The mesh in other axes."""
        normals = self.normals
        if normals is not None:
            normals = normals @ (matrix[:3, :3] / np.cbrt(np.linalg.det(matrix[:3, :3]))).T.astype(np.float32)
        return replace(self, vertices=self.vertices @ matrix[:3, :3].T + matrix[:3, 3], normals=normals)

    def with_normals(self) -> Mesh:
        """With the mean of the faces' normals at each vertex, weighted by their areas."""
        sums = np.stack(
            [
                np.bincount(self.faces.ravel(), np.repeat(self.face_vectors[:, axis], 3), minlength=len(self.vertices))
                for axis in range(3)
            ],
            axis=1,
        )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return replace(self, normals=(sums / np.where(lengths > 0.0, lengths, 1.0)).astype(np.float32))

    def welded(self) -> Mesh:
        """Vertices at the very same place become one, faces without area and vertices without faces go.

        STL repeats every corner, exporters repeat vertices along seams: only a welded mesh shows whether it is closed.
        """
        # Adding 0 makes -0 into 0: the two are one place.
        rows = np.ascontiguousarray(self.vertices + 0.0).view([("", np.float64)] * 3).ravel()
        _, first, place = np.unique(rows, return_index=True, return_inverse=True)
        return self._of(first, place.reshape(-1)[self.faces]).without_idle()

    def without_idle(self) -> Mesh:
        """Without faces that name a vertex twice, and vertices that no face names."""
        a, b, c = self.faces.T
        return self._of(np.arange(len(self.vertices)), self.faces[(a != b) & (b != c) & (c != a)])

    def largest_component(self) -> Mesh:
        """The faces that hang together and have the most area; of a field, what is left without floating crumbs."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if len(self.faces) == 0:
            return self
        starts, ends = self.faces.ravel(), np.roll(self.faces, 1, axis=1).ravel()
        links = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(len(self.vertices),) * 2)
        part = connected_components(links, directed=False)[1][self.faces[:, 0]]
        largest = int(np.argmax(np.bincount(part, self.areas)))
        return self._of(np.arange(len(self.vertices)), self.faces[part == largest])

    def _of(self, rows: np.ndarray, faces: np.ndarray) -> Mesh:  # [W] rows of the vertices, faces over them
        """Those vertices that the faces use."""
        used = np.zeros(len(rows), bool)
        used[faces] = True
        numbers = np.cumsum(used) - 1
        kept = rows[used]
        return Mesh(
            self.vertices[kept],
            numbers[faces].astype(np.int32),
            None if self.colors is None else self.colors[kept],
            None if self.normals is None else self.normals[kept],
        )


def open_edges(mesh: Mesh) -> int:
    """Edges that are not shared by exactly two faces, one going along it each way: 0 of a closed welded mesh."""
    starts = mesh.faces.astype(np.int64).ravel()
    ends = np.roll(mesh.faces, -1, axis=1).astype(np.int64).ravel()
    count = np.int64(len(mesh.vertices))
    forth = np.sort(starts * count + ends)
    back = np.sort(ends * count + starts)
    if len(forth) == 0 or (np.array_equal(forth, back) and (forth[1:] != forth[:-1]).all()):
        return 0
    edges, uses = np.unique(np.minimum(starts, ends) * count + np.maximum(starts, ends), return_counts=True)
    balance = np.zeros(len(edges), np.int64)
    np.add.at(balance, np.searchsorted(edges, np.minimum(starts, ends) * count + np.maximum(starts, ends)),
              np.where(starts < ends, 1, -1))  # fmt: skip
    return int(((uses != 2) | (balance != 0)).sum())


class SurfaceSampler:
    """Draws points evenly all over the surface of one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        sums = np.cumsum(mesh.areas)
        self._shares = sums / sums[-1]
        self._corner = mesh.vertices[mesh.faces[:, 0]]
        self._sides = [mesh.vertices[mesh.faces[:, corner]] - self._corner for corner in (1, 2)]

    def __call__(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [P, 3] -> [P, 3], [P]
        """Points and the face of each, from draws in [0, 1): which face, and where in it."""
        face = np.minimum(np.searchsorted(self._shares, draws[:, 0], side="right"), len(self._shares) - 1)
        # The half of the unit square beyond its diagonal is folded back onto the other half.
        along = np.where(draws[:, 1:].sum(axis=1, keepdims=True) > 1.0, 1.0 - draws[:, 1:], draws[:, 1:])
        points = self._corner[face] + along[:, :1] * self._sides[0][face] + along[:, 1:] * self._sides[1][face]
        return points, face
