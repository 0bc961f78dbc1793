"""Camera matrices as files hold them, checked and made rigid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import LARGEST, RECAPTURE, DatasetError

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""On the right of a camera-to-world matrix: +y up and looking along -z becomes +y down and looking along +z."""
SLACK = 1e-2
"""How far columns may be from orthogonal, and their lengths from one another, relative to their length."""


def opencv_pose(source: Path, place: str, value: object) -> np.ndarray:  # [4, 4] | [3, 4] -> [4, 4]
    """A `transform_matrix` (OpenGL axes) as a rigid camera-to-world matrix in OpenCV axes.

    A uniform scale of the axes is taken off; it has no meaning for a camera.
    Raises: DatasetError when it is not finite, singular, mirrored or sheared.
    """
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise DatasetError(source, place, "must be 4 rows of 4 numbers", RECAPTURE)
    finite = np.abs(matrix) <= LARGEST
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        rule = f"row {row}, column {column} is {matrix[row, column]}, must be finite"
        raise DatasetError(source, place, rule, RECAPTURE)
    if matrix.shape == (4, 4) and not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise DatasetError(source, place, f"its last row is {matrix[3].tolist()}, must be 0 0 0 1", RECAPTURE)
    pose = np.eye(4)
    pose[:3, :3] = _nearest_rotation(source, place, matrix[:3, :3])
    pose[:3, 3] = matrix[:3, 3]
    return pose @ OPENGL_TO_OPENCV


def _nearest_rotation(source: Path, place: str, axes: np.ndarray) -> np.ndarray:  # [3, 3] -> [3, 3]
    largest = float(np.abs(axes).max())
    left, sizes, right = np.linalg.svd(axes / largest if largest > 0 else axes)
    if sizes[2] <= 1e-6:
        rule = "its 3x3 part is singular (its columns lie in one plane), so it is no camera's orientation"
        raise DatasetError(source, place, rule, "remove this photo or solve its pose again")
    if np.linalg.det(left @ right) < 0:
        raise DatasetError(source, place, "its 3x3 part is mirrored (determinant below 0)", RECAPTURE)
    if sizes[0] / sizes[2] > 1 + SLACK:
        rule = f"its 3x3 part is sheared or scaled unevenly ({sizes[0] / sizes[2]:.3f} to 1), must be a rotation"
        raise DatasetError(source, place, rule, RECAPTURE)
    return left @ right
