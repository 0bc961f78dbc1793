"""The sphere of a cache as a figure for paper, and its cells as a table: PDF, SVG, PNG and CSV.

A map of all directions from which the object can be seen, and under it one small map for each layer of timesteps.
Source of the projection: Mollweide's, which keeps areas true; the two ends of the map are the direction behind.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h3d.models.formats.atomic import replacing
from h3d.models.hash3d import CacheView
from h3d.models.hash3d.sphere import MEANINGS, Patches, Quantity, patches, timestep_layers
from h3d.models.hash3d.sphere_mesh import outlines

from .colormaps import SEQUENTIAL, colored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
RECENT = 8
"""Patches marked that hit last."""
MOST_LAYERS = 8
"""Small maps; of more layers as many are taken evenly."""
PNG_DPI = 200
LAND, INK, MARK = "#eceef1", "#3c4148", "#e8453c"


def write_figure(path: Path, view: CacheView, quantity: Quantity, layer: int | None = None) -> None:
    """Writes the figure by the path's suffix, whole or not at all.

    Raises:
        ValueError: the suffix is none of `SUFFIXES`.
        OSError: it cannot be written there.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path.name}: a figure ends in {', '.join(SUFFIXES)}, not in {path.suffix or 'nothing'}")
    made = figure(view, quantity, layer)
    with replacing(path) as file:
        made.savefig(file, format=kind[1:], dpi=PNG_DPI, bbox_inches="tight", pad_inches=0.06)


def write_csv(path: Path, view: CacheView) -> None:
    """Writes one line a cell, its columns those of `Statistics.table`; what is not known stays empty."""
    table = view.statistics.table()
    columns = [["" if value != value else value for value in column.tolist()] for column in table.values()]
    with replacing(path) as file:
        lines = _Lines(file)
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))


class _Lines:
    """What csv writes, as bytes into a file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


def figure(view: CacheView, quantity: Quantity, layer: int | None = None) -> Figure:
    """All directions on one map, its colour bar, what was counted, and where there are several layers each of them."""
    from matplotlib.figure import Figure

    statistics = view.statistics
    whole = patches(statistics, quantity, layer)
    layers = timestep_layers(statistics)
    shown = _evenly(len(layers)) if layer is None and len(layers) > 1 else []
    rows = -(-len(shown) // 4)
    made = Figure(figsize=(6.4, 4.1 + 1.15 * rows))
    grid = made.add_gridspec(1 + rows, 4, height_ratios=[3.2] + [1.0] * rows, hspace=0.12, wspace=0.06)
    main = made.add_subplot(grid[0, :])
    drawn = _map(main, whole, whole.span)
    _graticule_labels(main)
    _marks(main, view, whole)
    bar = made.colorbar(drawn, ax=main, shrink=0.72, aspect=22, pad=0.02)
    bar.set_label(MEANINGS[quantity], fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    main.set_title(_heading(view, quantity, None if layer is None else layers[layer]), fontsize=9, loc="left")
    parts = [patches(statistics, quantity, i) for i in shown]
    span = (0.0, max((part.span[1] for part in parts), default=1.0))
    for place, (i, part) in enumerate(zip(shown, parts, strict=True)):
        small = made.add_subplot(grid[1 + place // 4, place % 4])
        _map(small, part, span)
        title = f"t {layers[i, 0]:g} to {layers[i, 1]:g}"
        small.set_title(title, fontsize=6.5, pad=2, color=INK)
    if len(shown) > 0 and span != whole.span:
        made.text(0.5, 0.075, f"small maps: 0 to {span[1]:.3g}", ha="center", fontsize=6.5, color=INK)
    made.text(0.5, 0.02, caption(view), ha="center", va="bottom", fontsize=7, color=INK, linespacing=1.4)
    return made


def caption(view: CacheView) -> str:
    """The counters in two lines."""
    totals, passes, statistics = view.statistics.totals, view.passes, view.statistics
    hits, tries = totals["hits"], totals["tries"]
    share = f" ({100.0 * hits / tries:.1f} %)" if tries > 0 else ""
    memory = f"{statistics.nbytes / 1e6:,.1f} MB of {statistics.budget_bytes / 1e6:,.0f} MB"
    lines = [
        f"step {statistics.step:,} · {hits:,} hits of {tries:,} tries{share} · {statistics.entries:,} entries, {memory}"
    ]
    kinds = [f"{100.0 * passes.full_share:.1f} % of the elements ran in full"]
    for name, seconds, count in (
        ("full pass", passes.full_seconds, passes.full_passes),
        ("hit", passes.hit_seconds, passes.hit_passes),
    ):
        if count > 0:
            kinds.append(f"{name} {1e3 * seconds / count:.1f} ms")
    return "\n".join([*lines, " · ".join(kinds)])


def _heading(view: CacheView, quantity: Quantity, layer: NDArray[np.float64] | None) -> str:
    which = "all timesteps" if layer is None else f"timesteps {layer[0]:g} to {layer[1]:g}"
    config = view.config
    sizes = ", ".join(f"{g.azimuth_degrees:g}° x {g.elevation_degrees:g}°" for g in config.grids)
    return f"Hash3D: {quantity}, {which}; cells {sizes}; $\\eta$ = {config.eta:g}"


def _evenly(count: int) -> list[int]:
    """Which layers have a map of their own."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_LAYERS)).tolist()})


def _map(axes: Axes, found: Patches, span: tuple[float, float]) -> Any:
    """Draws patches, the coarsest grid's first; returns what a colour bar is made of."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.cm import ScalarMappable

    edge = mollweide(np.stack([np.full(90, 180.0), np.linspace(-90.0, 90.0, 90)], axis=-1))
    rim = np.concatenate([edge, -edge])
    axes.fill(*rim.T, color=LAND, linewidth=0, zorder=0)
    axes.plot(*np.concatenate([rim, rim[:1]]).T, color=INK, linewidth=0.6, zorder=5)
    known = np.flatnonzero(np.isfinite(found.values))[::-1]
    shapes, owners = tiles(found.bounds[known])
    colors = colored(found.values[known][owners], SEQUENTIAL, *span)
    axes.add_collection(PolyCollection(list(shapes), facecolors=colors, edgecolors="none", zorder=1))
    for elevation in (-60.0, -30.0, 0.0, 30.0, 60.0):
        line = mollweide(np.stack([np.linspace(-180.0, 180.0, 2), np.full(2, elevation)], axis=-1))
        axes.plot(*line.T, color=INK, linewidth=0.3, alpha=0.5, zorder=3)
    for azimuth in (-90.0, 0.0, 90.0):
        line = mollweide(np.stack([np.full(60, azimuth), np.linspace(-90.0, 90.0, 60)], axis=-1))
        axes.plot(*line.T, color=INK, linewidth=0.3, alpha=0.5, zorder=3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set(xlim=(-2.92, 2.92), ylim=(-1.48, 1.48))
    return ScalarMappable(Normalize(*span), ListedColormap(SEQUENTIAL.tolist()))


def _graticule_labels(axes: Axes) -> None:
    style = {"fontsize": 6.5, "color": INK, "zorder": 6}
    for elevation in (-60, -30, 0, 30, 60):
        x, y = mollweide(np.array([[-180.0, elevation]]))[0]
        axes.text(x - 0.06, y, f"{elevation}°", ha="right", va="center", **style)
    for azimuth in (-90, 0, 90):
        x, y = mollweide(np.array([[azimuth, -90.0 if azimuth == 0 else -62.0]]))[0]
        label = {-90: "270° ", 0: "azimuth 0°", 90: " 90°"}[azimuth]
        axes.text(x + azimuth / 90 * 0.2, y - 0.05, label, ha="center", va="top", **style)


def _marks(axes: Axes, view: CacheView, found: Patches) -> None:
    """Rims of the patches that hit last, and where the last call looked from."""
    from matplotlib.collections import PolyCollection

    recent = found.recent_hits(RECENT)
    if len(recent) > 0:
        shapes, _ = tiles(found.bounds[recent])
        axes.add_collection(PolyCollection(list(shapes), facecolors="none", edgecolors="white", linewidths=2.2, zorder=6))
        axes.add_collection(PolyCollection(list(shapes), facecolors="none", edgecolors=MARK, linewidths=1.0, zorder=7))
    handles = [axes.plot([], [], "s", mfc="none", mec=MARK, label=f"last {len(recent)} cells that hit")[0]]
    if len(view.last) > 0:
        points = mollweide(wrapped(np.array([looked.key[:2] for looked in view.last])))
        style = {"marker": "^", "s": 46, "c": MARK, "edgecolors": "white", "linewidths": 0.9}
        handles.append(axes.scatter(*points.T, **style, zorder=8, label="cameras of the last call"))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, -0.04), fontsize=6.5, frameon=False, handletextpad=0.3
    )


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


def kinds() -> Sequence[str]:
    """Formats by the names that a person reads."""
    return tuple(suffix[1:].upper() for suffix in SUFFIXES)
