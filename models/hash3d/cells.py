"""Cells of camera and timestep: which poses share what is cached.

A key is (azimuth in degrees, elevation in degrees, radius, timestep), a cell four integers in the same order. Source:
Hash3D (arXiv 2404.06091), section 4.2: floor(x / size) for each. What the paper leaves open: azimuth wraps at 360
degrees, so -180 and 180 share a cell, and where 360 is no multiple of the size the last cell is the narrower one. The
pole belongs to the topmost cell below it. Its cells keep their azimuths: there the azimuth is the camera's roll.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Cell = tuple[int, int, int, int]

NAMES = ("azimuth_degrees", "elevation_degrees", "radius", "timestep")
POLE_ROUNDING = 1e-3
"""Degrees that an elevation may lie beyond a pole by rounding."""


@dataclass(frozen=True)
class Grid:
    """Sizes of the cells."""

    azimuth_degrees: float = 45.0
    elevation_degrees: float = 30.0
    radius: float = 1.0
    """In the scene's units."""
    timesteps: float = 250.0

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if not (math.isfinite(size) and size > 0):
                raise ValueError(f"Grid.{name}: {size}; the size of a cell must be finite and above 0")

    @property
    def azimuth_cells(self) -> int:
        """How many cells go around."""
        return math.ceil(360.0 / self.azimuth_degrees)

    def cells(self, keys: ArrayLike) -> NDArray[np.int64]:
        """Cells [N, 4] of keys [N, 4].

        Raises:
            ValueError: a key is no camera or no timestep; the sentence says which and why.
        """
        normal = normalised(keys)
        index = _floor_divided(normal, self._sizes())
        index[:, 0] = np.clip(index[:, 0], 0, self.azimuth_cells - 1)
        index[:, 1] = np.minimum(index[:, 1], math.ceil(90.0 / self.elevation_degrees) - 1)
        return index

    def cell(self, key: ArrayLike) -> Cell:
        """The cell of one key [4]; raises what `cells` does."""
        a, e, r, t = self.cells(np.asarray(key, np.float64)[None])[0].tolist()
        return a, e, r, t

    def bounds(self, cells: ArrayLike) -> NDArray[np.float64]:
        """Lower and upper ends [N, 4, 2] of cells [N, 4]: lower <= key < upper, and at the pole key <= upper."""
        index = np.asarray(cells, np.int64).reshape(-1, 4)
        ends = np.stack([index * self._sizes(), (index + 1) * self._sizes()], axis=-1)
        ends[:, 0] = np.minimum(ends[:, 0], 360.0)
        ends[:, 1] = np.clip(ends[:, 1], -90.0, 90.0)
        return ends

    def _sizes(self) -> NDArray[np.float64]:
        return np.array(astuple(self), np.float64)


ADAPTIVE_GRIDS = (
    Grid(10.0, 10.0, 0.1, 10.0),
    Grid(20.0, 20.0, 0.15, 20.0),
    Grid(30.0, 30.0, 0.2, 30.0),
)
"""The paper's M = 3 sizes for AdaptGrid."""


def normalised(keys: ArrayLike) -> NDArray[np.float64]:
    """Keys [N, 4] with azimuths in [0, 360) and elevations in [-90, 90].

    Raises:
        ValueError: a value is not finite, an elevation lies beyond a pole, a radius or timestep is below 0.
    """
    normal = np.array(keys, np.float64).reshape(-1, 4)
    for column, name in enumerate(NAMES):
        _refuse(name, normal[:, column], ~np.isfinite(normal[:, column]), "it must be finite")
    beyond = np.abs(normal[:, 1]) > 90.0 + POLE_ROUNDING
    _refuse(NAMES[1], normal[:, 1], beyond, "it is counted from the horizon, -90 to 90; give 90 minus a polar angle")
    for column in (2, 3):
        _refuse(NAMES[column], normal[:, column], normal[:, column] < 0, "it must not be below 0")
    azimuths = np.mod(normal[:, 0], 360.0)
    normal[:, 0] = np.where(azimuths >= 360.0, 0.0, azimuths)  # The remainder of -1e-20 rounds to 360.
    normal[:, 1] = np.clip(normal[:, 1], -90.0, 90.0)
    return normal


def _floor_divided(values: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """The integers k with k * size <= value < (k + 1) * size in floating point, which a rounded quotient may miss."""
    index = np.floor(values / sizes).astype(np.int64)
    index -= index * sizes > values
    index += (index + 1) * sizes <= values
    return index


def _refuse(name: str, values: NDArray[np.float64], wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} of camera {row} is {values[row]}; {rule}")
