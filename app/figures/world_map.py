"""The sphere of camera cells on a flat map: Mollweide's, which keeps areas true. Azimuth 0, the front, is its middle.

K tiles. Azimuth grows to the right, as for who looks at the object from outside. Source: Snyder, Map Projections - A
Working Manual (1987), page 249.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from h3d.models.hash3d.sphere import Patches
from h3d.models.hash3d.sphere_mesh import outlines

from .colormaps import SEQUENTIAL, colored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAND, INK = "#eceef1", "#3c4148"
PARALLELS, MERIDIANS = (-60.0, -30.0, 0.0, 30.0, 60.0), (-90.0, 0.0, 90.0)


def draw_map(axes: Axes, found: Patches, span: tuple[float, float]) -> None:
    """Draws patches by their values between the ends of `span`, the coarsest grid's first, on a grey world."""
    from matplotlib.collections import PolyCollection

    half = mollweide(np.stack([np.full(90, 180.0), np.linspace(-90.0, 90.0, 90)], axis=-1))
    rim = np.concatenate([half, -half])
    axes.fill(*rim.T, color=LAND, linewidth=0, zorder=0)
    axes.plot(*np.concatenate([rim, rim[:1]]).T, color=INK, linewidth=0.6, zorder=5)
    known = np.flatnonzero(np.isfinite(found.values))[::-1]
    shapes, owners = tiles(found.bounds[known])
    colors = colored(found.values[known][owners], SEQUENTIAL, *span)
    axes.add_collection(PolyCollection(list(shapes), facecolors=colors, edgecolors="white", linewidths=0.3, zorder=1))
    for elevation in PARALLELS:
        _line(axes, np.stack([np.linspace(-180.0, 180.0, 2), np.full(2, elevation)], axis=-1))
    for azimuth in MERIDIANS:
        _line(axes, np.stack([np.full(60, azimuth), np.linspace(-90.0, 90.0, 60)], axis=-1))
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set(xlim=(-2.85, 2.85), ylim=(-1.44, 1.44))


def label_map(axes: Axes) -> None:
    """Writes elevations at the left end, azimuths along the equator."""
    from matplotlib.patheffects import withStroke

    for elevation in PARALLELS:
        x, y = mollweide(np.array([-180.0, elevation])).tolist()
        axes.text(x - 0.06, y, f"{elevation:g}°", ha="right", va="center", fontsize=6.5, color=INK)
    for azimuth in MERIDIANS:
        x, y = mollweide(np.array([azimuth, 0.0])).tolist()
        text = axes.text(x, y, f"{azimuth % 360.0:g}°", ha="center", va="center", fontsize=6, color=INK)
        text.set(zorder=4, path_effects=[withStroke(linewidth=1.6, foreground="white")])


def rim_tiles(axes: Axes, bounds: NDArray[np.float64], color: str) -> None:  # [K, 2, 2]
    """Draws a rim around tiles that is seen on every colour."""
    from matplotlib.collections import PolyCollection

    shapes, _ = tiles(bounds)
    for edge, width, order in (("white", 2.2, 6), (color, 1.0, 7)):
        axes.add_collection(
            PolyCollection(list(shapes), facecolors="none", edgecolors=edge, linewidths=width, zorder=order)
        )


def _line(axes: Axes, points: NDArray[np.float64]) -> None:  # [L, 2]
    axes.plot(*mollweide(points).T, color=INK, linewidth=0.3, alpha=0.5, zorder=3)


def wrapped(points: NDArray[np.float64]) -> NDArray[np.float64]:  # [..., 2]
    """Azimuths in [-180, 180), elevations as they are: in the middle of the map is azimuth 0, the front."""
    return np.stack([np.mod(points[..., 0] + 180.0, 360.0) - 180.0, points[..., 1]], axis=-1)


def tiles(bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:  # [K, 2, 2]
    """Outlines [T, E, 2] on the map, and whose each is [T]; tiles that reach over the map's end come as two."""
    owners = np.arange(len(bounds))
    over = (bounds[:, 0, 0] < 180.0) & (bounds[:, 0, 1] > 180.0)
    left, right = bounds.copy(), bounds[over].copy()
    left[over, 0, 1], right[:, 0, 0] = 180.0, 180.0
    parts, whose = np.concatenate([left, right]), np.concatenate([owners, owners[over]])
    parts[:, 0] -= np.where(parts[:, 0, 0] >= 180.0, 360.0, 0.0)[:, None]
    order = np.argsort(whose, kind="stable")
    return mollweide(outlines(parts[order])), whose[order]


def mollweide(points: NDArray[np.float64]) -> NDArray[np.float64]:  # [..., 2] degrees -> [..., 2]
    """Places on the map: x from -2 sqrt 2 to 2 sqrt 2 for azimuths from -180 to 180, y from -sqrt 2 to sqrt 2."""
    azimuth, elevation = np.radians(points[..., 0]), np.radians(points[..., 1])
    theta = _auxiliary(np.sin(elevation))
    root = np.sqrt(2.0)
    return np.stack([2.0 * root / np.pi * azimuth * np.cos(theta), root * np.sin(theta)], axis=-1)


def _auxiliary(sines: NDArray[np.float64]) -> NDArray[np.float64]:
    """theta with 2 theta + sin 2 theta = pi sin(elevation), by a table: Newton's steps stall at the poles."""
    # Spaced by the cosine, so that the table is as exact at the poles, where theta turns sharply.
    table = -0.5 * np.pi * np.cos(np.linspace(0.0, np.pi, 4001))
    return np.interp(sines, (2.0 * table + np.sin(2.0 * table)) / np.pi, table)
