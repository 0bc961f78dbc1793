"""The cache as a sphere of camera cells around the object: one value for each patch of azimuth and elevation.

N cells of the statistics, P patches. A patch is all cells of one grid with one azimuth and elevation: radii are taken
together, and so are timesteps unless one layer of them is asked for. Counts are added, rates are sums over sums, and
means weigh every entry or check alike. Directions are those of `h3d.renderers.cameras.orbit` with +z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import assert_never

from h3d.renderers.cameras import orbit

from .cells import normalised
from .ledger import Column
from .statistics import Statistics, ratio

Quantity = Literal["hits", "hit rate", "staleness", "occupancy", "error"]
MEANINGS: dict[Quantity, str] = {
    "hits": "hits",
    "hit rate": "hits per try",
    "staleness": "mean age of the entries, steps",
    "occupancy": "entries",
    "error": "mean relative error of checked hits",
}
"""What the numbers are, as a colour bar says it."""
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Patches:
    """P patches, the finest grid's first."""

    quantity: Quantity
    grid: NDArray[np.int64]  # [P] which of the grids
    bounds: NDArray[np.float64]  # [P, 2, 2] lower and upper end of azimuth and elevation, degrees
    values: NDArray[np.float64]  # [P], nan where there is nothing to say
    last_hit: NDArray[np.int64]  # [P] step of the last hit, -1 before the first
    patch_of_cell: NDArray[np.int64]  # [N] the patch of each cell of the statistics, -1 outside the layer

    @property
    def span(self) -> tuple[float, float]:
        """The values at the ends of a colour bar."""
        if self.quantity == "hit rate":
            return 0.0, 1.0
        known = self.values[np.isfinite(self.values)]
        highest = float(known.max()) if len(known) > 0 else 0.0
        return 0.0, highest if highest > 0.0 else 1.0

    def cells(self, patch: int) -> NDArray[np.intp]:
        """Rows of the statistics that a patch stands for."""
        return np.flatnonzero(self.patch_of_cell == patch)

    def recent_hits(self, count: int) -> NDArray[np.intp]:
        """Up to `count` patches that hit last, the latest first."""
        latest = np.argsort(-self.last_hit, kind="stable")[:count]
        return latest[self.last_hit[latest] >= 0]

    def at(self, azimuth_degrees: float, elevation_degrees: float) -> int | None:
        """The finest patch with a value in this direction; None where there is none."""
        azimuth, elevation = normalised([[azimuth_degrees, elevation_degrees, 0.0, 0.0]])[0, :2]
        (left, right), (low, high) = self.bounds[:, 0].T, self.bounds[:, 1].T
        within = (left <= azimuth) & (azimuth < right) & (low <= elevation)
        within &= (elevation < high) | ((elevation == 90.0) & (high == 90.0))
        found = np.flatnonzero(within & np.isfinite(self.values))
        return int(found[0]) if len(found) > 0 else None


def patches(statistics: Statistics, quantity: Quantity, layer: int | None = None) -> Patches:
    """What a quantity is in every direction, over all timesteps or in one of `timestep_layers`."""
    chosen = in_layer(statistics, statistics.bounds[:, 3], layer)
    grid, cells = statistics.grid[chosen], statistics.cells[chosen]
    # One integer a patch, in the order of the grids: sorting these is much faster than sorting rows.
    lowest = int(cells[:, 1].min()) if len(cells) > 0 else 0
    elevations = int(cells[:, 1].max()) - lowest + 1 if len(cells) > 0 else 1
    azimuths = int(cells[:, 0].max()) + 1 if len(cells) > 0 else 1
    codes = (grid * azimuths + cells[:, 0]) * elevations + (cells[:, 1] - lowest)
    _, first, patch = np.unique(codes, return_index=True, return_inverse=True)
    last_hit = np.full(len(first), -1, np.int64)
    np.maximum.at(last_hit, patch, statistics.column(Column.LAST_HIT)[chosen])
    patch_of_cell = np.full(len(chosen), -1, np.int64)
    patch_of_cell[chosen] = patch
    return Patches(
        quantity=quantity,
        grid=grid[first],
        bounds=statistics.bounds[chosen][first, :2],
        values=_values(statistics, quantity, chosen, patch, len(first)),
        last_hit=last_hit,
        patch_of_cell=patch_of_cell,
    )


def timestep_layers(statistics: Statistics) -> NDArray[np.float64]:
    """Lower and upper ends [L, 2] of the first grid's timestep cells, from 0 to the last that was seen."""
    seen = statistics.cells[statistics.grid == 0, 3]
    count = int(seen.max()) + 1 if len(seen) > 0 else 0
    size = statistics.grids[0].timesteps
    ends = size * np.arange(count + 1, dtype=np.float64)
    return np.stack([ends[:-1], ends[1:]], axis=1)


def in_layer(
    statistics: Statistics,
    timesteps: NDArray[np.float64],  # [N, 2] lower and upper ends
    layer: int | None,
) -> NDArray[np.bool_]:  # [N]
    """Which cells hold the middle of a layer: of other grids, whose cells are wider, those that lie around it."""
    if layer is None:
        return np.ones(len(timesteps), bool)
    middle = (layer + 0.5) * statistics.grids[0].timesteps
    return (timesteps[:, 0] <= middle) & (middle < timesteps[:, 1])


def directions(azimuths_degrees: ArrayLike, elevations_degrees: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors [..., 3] from the object to cameras that stand there; the two broadcast. Inverse: `angles`."""
    azimuths, elevations = np.radians(azimuths_degrees), np.radians(elevations_degrees)
    flat = np.cos(elevations)
    local = np.stack(np.broadcast_arrays(flat * np.cos(azimuths), flat * np.sin(azimuths), np.sin(elevations)), axis=-1)
    return local @ _axes()


def angles(direction: ArrayLike) -> tuple[float, float]:
    """Azimuth in [0, 360) and elevation in degrees of a vector [3] of any length."""
    east, north, up = (_axes() @ np.asarray(direction, np.float64)).tolist()
    azimuth = math.degrees(math.atan2(north, east)) % 360.0
    return azimuth if azimuth < 360.0 else 0.0, math.degrees(math.atan2(up, math.hypot(east, north)))


@lru_cache(maxsize=1)
def _axes() -> NDArray[np.float64]:
    """Rows [3, 3]: where an orbit's cameras stand at azimuth 0, at azimuth 90 and at the upper pole."""
    corners = ((0.0, 0.0), (90.0, 0.0), (0.0, 90.0))
    cameras = [orbit(np.zeros(3), 1.0, azimuth_degrees=a, elevation_degrees=e, up=UP) for a, e in corners]
    return np.stack([camera.position for camera in cameras])


def _values(
    statistics: Statistics, quantity: Quantity, chosen: NDArray[np.bool_], patch: NDArray[np.intp], count: int
) -> NDArray[np.float64]:  # [P]
    """What each patch says of its cells."""

    def total(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(patch, values[chosen].astype(np.float64), count).astype(np.float64)

    def of(column: Column) -> NDArray[np.float64]:
        return total(statistics.column(column))

    if quantity == "hits":
        return np.where(of(Column.TRIES) > 0, of(Column.HITS), np.nan)
    if quantity == "hit rate":
        return ratio(of(Column.HITS), of(Column.TRIES))
    if quantity == "staleness":
        return statistics.step - ratio(of(Column.BORN), of(Column.OCCUPANCY))
    if quantity == "occupancy":
        return np.where(of(Column.INSERTIONS) + of(Column.REBINNED) > 0, of(Column.OCCUPANCY), np.nan)
    if quantity == "error":
        checks = statistics.column(Column.CHECKS)
        return ratio(total(np.where(checks > 0, statistics.error, 0.0) * checks), total(checks))
    assert_never(quantity)
