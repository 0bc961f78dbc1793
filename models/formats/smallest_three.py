"""Unit quaternions as three components: the largest is left out and follows from the unit length.

compressed.ply, .spz and SOG pack quaternions so; they differ in the order of components and in how many bits each gets.
The components here are in whatever order the format uses; `largest` [N] is the index of the one left out, in 0..3, and
`rest` [N, 3] the others in order, in [-sqrt(1/2), sqrt(1/2)].
"""

from __future__ import annotations

import numpy as np

_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def drop_largest(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, 4] -> [N], [N, 3]
    """Inverse of `restore_largest`, up to the sign of the quaternion: the one left out is made positive."""
    unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    largest = np.abs(unit).argmax(axis=1)
    signs = np.where(np.take_along_axis(unit, largest[:, None], axis=1) < 0, -1, 1).astype(unit.dtype)
    return largest, np.take_along_axis(unit, _OTHERS[largest], axis=1) * signs


def restore_largest(largest: np.ndarray, rest: np.ndarray) -> np.ndarray:  # [N], [N, 3] -> [N, 4] float32
    """Quaternions with the left-out component back in its place."""
    quats = np.empty((len(rest), 4), np.float32)
    missing = np.sqrt(np.maximum(0, 1 - np.einsum("nk,nk->n", rest, rest)))
    # Rows are gathered by which component is missing: four plain copies instead of a scatter.
    for index in range(4):
        rows = np.flatnonzero(largest == index)
        quats[rows, index] = missing[rows]
        quats[rows[:, None], _OTHERS[index]] = rest[rows]
    return quats
