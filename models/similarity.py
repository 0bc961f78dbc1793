"""Similarities: a rotation, a uniform scale and a translation, x -> scale * R(wxyz) x + position.

What a layer's place is, and how a run's world was moved. Inverses stand side by side: `matrix` and `Similarity.of`,
`to_json` and `from_json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from h3d.renderers.cameras import quat_to_rotation, rotation_to_quat


@dataclass(frozen=True)
class Similarity:
    """The identity, if nothing is said.

    Raises:
        ValueError: a number is not finite, the quaternion is all zero, or the scale not above 0.
    """

    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def __post_init__(self) -> None:
        sizes = (len(self.wxyz), len(self.position))
        if sizes != (4, 3) or not all(map(math.isfinite, (*self.wxyz, *self.position, self.scale))):
            raise ValueError(f"similarity: {self}; must be four, three and one finite numbers")
        if not any(self.wxyz) or self.scale <= 0.0:
            raise ValueError(f"similarity: wxyz {self.wxyz}, scale {self.scale}; must not be all 0, and above 0")

    @staticmethod
    def of(matrix: np.ndarray) -> Similarity:  # [4, 4]
        """The similarity with this matrix."""
        scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
        w, x, y, z = map(float, rotation_to_quat(matrix[:3, :3] / scale))
        a, b, c = map(float, matrix[:3, 3])
        return Similarity((w, x, y, z), (a, b, c), scale)

    @property
    def rotation(self) -> np.ndarray:  # [3, 3]
        return quat_to_rotation(np.array(self.wxyz))

    @property
    def matrix(self) -> np.ndarray:  # [4, 4] float64
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.position
        return matrix

    @property
    def inverse(self) -> Similarity:
        return Similarity.of(np.linalg.inv(self.matrix))

    def after(self, first: Similarity) -> Similarity:
        """`first`, and this one after it."""
        if first == IDENTITY:
            return self
        return first if self == IDENTITY else Similarity.of(self.matrix @ first.matrix)

    def point(self, point: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a point comes to lie."""
        x, y, z = map(float, self.matrix[:3, :3] @ np.array(point) + np.array(self.position))
        return x, y, z

    def turn(self, wxyz: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """What an orientation becomes."""
        w, x, y, z = map(float, rotation_to_quat(self.rotation @ quat_to_rotation(np.array(wxyz))))
        return w, x, y, z

    def pose(self, camera_to_world: np.ndarray) -> np.ndarray:  # [4, 4] -> [4, 4]
        """Where a camera comes to stand: moved and turned, and rigid as before."""
        moved = self.matrix @ camera_to_world
        moved[:3, :3] /= self.scale
        return moved

    def to_json(self) -> dict[str, Any]:
        return {"wxyz": list(self.wxyz), "position": list(self.position), "scale": self.scale}

    @staticmethod
    def from_json(value: Any) -> Similarity:
        """Raises: ValueError where it is none."""
        try:
            wxyz, position = (tuple(map(float, value[name])) for name in ("wxyz", "position"))
            return Similarity(wxyz, position, float(value["scale"]))  # type: ignore[reportArgumentType]
        except (KeyError, TypeError) as error:
            raise ValueError(f"similarity: {value!r}; must have wxyz, position and scale") from error


IDENTITY = Similarity()
