"""NGP unit space: where instant-ngp puts a data set, and the way back.

instant-ngp scales and shifts positions and then cycles the axes: p' = cycle(p * scale + offset) with
cycle(x, y, z) = (y, z, x). The scene lies in the cube of side `aabb_scale` about (0.5, 0.5, 0.5). Poses here are in
OpenCV axes already, so that the sign flips of instant-ngp's loader are not part of this; rotations stay rotations.
Source: instant-ngp's nerf_loader.h, by its formulas; `fitted` by the idea of its colmap2nerf.py (closest approach of
the viewing axes in the middle, mean camera distance 4 before the scale of 0.33).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCALE = 0.33
CAMERA_DISTANCE = 4.0 * SCALE
"""Mean distance of the cameras to the middle that `fitted` aims at, in NGP units."""
LARGEST_FITTED = 16
_CYCLE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


@dataclass(frozen=True)
class NgpSpace:
    """The similarity between a data set's own world and NGP unit space."""

    scale: float = SCALE
    offset: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def matrix(self) -> np.ndarray:
        """World to NGP as [4, 4] float64."""
        matrix = np.eye(4)
        matrix[:3, :3] = _CYCLE * self.scale
        matrix[:3, 3] = _CYCLE @ np.asarray(self.offset, np.float64)
        return matrix

    def points_to_ngp(self, points: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
        """Positions of the world in NGP unit space."""
        return (np.asarray(points) * self.scale + np.asarray(self.offset))[..., [1, 2, 0]]

    def points_from_ngp(self, points: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
        """The inverse of `points_to_ngp`."""
        return (np.asarray(points)[..., [2, 0, 1]] - np.asarray(self.offset)) / self.scale

    def directions_to_ngp(self, directions: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
        """Directions keep their length: only the axes are cycled."""
        return np.asarray(directions)[..., [1, 2, 0]]

    def directions_from_ngp(self, directions: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
        """The inverse of `directions_to_ngp`."""
        return np.asarray(directions)[..., [2, 0, 1]]

    def pose_to_ngp(self, camera_to_world: np.ndarray) -> np.ndarray:  # [4, 4] -> [4, 4]
        """A camera's pose in NGP unit space; its rotation stays one."""
        pose = np.eye(4)
        pose[:3, :3] = _CYCLE @ camera_to_world[:3, :3]
        pose[:3, 3] = self.points_to_ngp(camera_to_world[:3, 3])
        return pose

    def pose_from_ngp(self, pose: np.ndarray) -> np.ndarray:  # [4, 4] -> [4, 4]
        """The inverse of `pose_to_ngp`."""
        camera_to_world = np.eye(4)
        camera_to_world[:3, :3] = _CYCLE.T @ pose[:3, :3]
        camera_to_world[:3, 3] = self.points_from_ngp(pose[:3, 3])
        return camera_to_world


def boxed(low: np.ndarray, high: np.ndarray) -> NgpSpace:  # [3], [3]
    """The space whose unit cube is the smallest about the box between two corners (the key "aabb" of instant-ngp)."""
    scale = 1.0 / max(float(np.abs(high - low).max()), 1e-6)
    x, y, z = (0.5 - 0.5 * (low + high) * scale).tolist()
    return NgpSpace(scale, (x, y, z))


def fitted(poses: np.ndarray, points: np.ndarray | None) -> tuple[NgpSpace, int]:  # [C, 4, 4], [M, 3]
    """A space with the cameras' common middle at (0.5, 0.5, 0.5), and the aabb_scale that holds the scene."""
    middle = common_middle(poses)
    distances = np.linalg.norm(poses[:, :3, 3] - middle, axis=1)
    reach = float(distances.mean())
    if reach < 1e-9 and points is not None and len(points) > 0:
        reach = float(np.median(np.linalg.norm(points - middle, axis=1)))
    scale = CAMERA_DISTANCE / reach if reach > 1e-9 else SCALE
    x, y, z = (0.5 - middle * scale).tolist()
    # Far points are few and uncertain: the nearest 95 of 100 decide. Without points, as far behind as cameras before.
    extents = np.abs(points - middle).max(axis=1) if points is not None and len(points) > 0 else 2.0 * distances
    half = scale * max(float(np.quantile(extents, 0.95)), float(np.abs(poses[:, :3, 3] - middle).max()))
    aabb_scale = 2 ** int(np.ceil(np.log2(max(1.0, 2.0 * half))))
    return NgpSpace(scale, (x, y, z)), min(aabb_scale, LARGEST_FITTED)


def common_middle(poses: np.ndarray) -> np.ndarray:  # [C, 4, 4] -> [3]
    """The point nearest to all viewing axes; the mean camera where they are parallel or point away from it."""
    positions, forwards = poses[:, :3, 3], poses[:, :3, 2]
    mean = positions.mean(axis=0)
    across = np.eye(3) - forwards[:, :, None] * forwards[:, None, :]
    system = across.sum(axis=0)
    if np.linalg.eigvalsh(system)[0] < 1e-3 * len(poses):
        return mean
    middle = np.linalg.solve(system, np.einsum("cij,cj->i", across, positions))
    ahead = np.einsum("ci,ci->c", middle - positions, forwards)
    return middle if np.mean(ahead > 0) > 0.5 else mean
