"""nerfstudio's saved world and the one before it: ns-process-data turns COLMAP's world and says how.

"applied_transform" leads from the original world to the one that points were saved in, "applied_scale" further to that
of the poses. Both are undone, so that photos, points, COLMAP's own model and what nerfstudio trained from them (its
dataparser_transforms.json starts at the original world) stand in one world.
Source: nerfstudio 1.1.5, colmap_to_json and transform_poses_to_original_space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .entries import Entries
from .errors import LARGEST

STATED = ("aabb_scale", "aabb", "scale", "offset")
"""Keys of instant-ngp that place a scene in its cube; they speak of the saved world, which then stays."""


@dataclass(frozen=True)
class SavedWorld:
    """What leads back: original = turn (saved / scale - shift), turn orthogonal but for a uniform scale."""

    turn: np.ndarray  # [3, 3]
    shift: np.ndarray  # [3]
    scale: float  # of the poses alone

    def pose(self, camera_to_world: np.ndarray) -> np.ndarray:  # [4, 4] -> [4, 4]
        """A camera's pose in the original world."""
        pose = np.eye(4)
        pose[:3, :3] = self.turn @ camera_to_world[:3, :3] / np.cbrt(np.linalg.det(self.turn))
        pose[:3, 3] = self.turn @ (camera_to_world[:3, 3] / self.scale - self.shift)
        return pose

    def points(self, points: np.ndarray) -> np.ndarray:  # [M, 3] -> [M, 3]
        """Points in the original world."""
        return (points - self.shift) @ self.turn.T


def saved_world(entries: Entries) -> SavedWorld:
    """What a file says was done to its world; nothing where it does not say.

    Raises: DatasetError when that is no similarity.
    """
    applied = entries.get("applied_transform")
    scale = entries.positive("applied_scale") or 1.0
    if any(entries.get(key) is not None for key in STATED) or (applied is None and scale == 1.0):
        return SavedWorld(np.eye(3), np.zeros(3), 1.0)
    matrix = _similarity(entries, np.eye(4).tolist() if applied is None else applied)
    return SavedWorld(np.linalg.inv(matrix[:, :3]), matrix[:, 3], scale)


def _similarity(entries: Entries, value: object) -> np.ndarray:  # [3, 4]
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape not in ((3, 4), (4, 4)) or not (np.abs(matrix) <= LARGEST).all():
        raise entries.refused("applied_transform", value, "must be 3 rows of 4 finite numbers")
    gram = matrix[:3, :3] @ matrix[:3, :3].T
    size = float(np.trace(gram)) / 3.0
    if size < 1e-12 or not np.allclose(gram, size * np.eye(3), atol=1e-3 * size) or np.linalg.det(matrix[:3, :3]) < 0:
        raise entries.refused("applied_transform", value, "must turn and scale alone")
    return matrix[:3]
