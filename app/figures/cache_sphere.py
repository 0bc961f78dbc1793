"""The sphere of a cache as a figure for paper, and its cells as a table: PDF, SVG, PNG and CSV.

A map of all directions from which the object can be seen, and under it one small map for each layer of timesteps.
Lengths are inches.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from h3d.models.formats.atomic import replacing
from h3d.models.hash3d import CacheView
from h3d.models.hash3d.sphere import MEANINGS, Patches, Quantity, patches, timestep_layers

from .colormaps import SEQUENTIAL
from .world_map import INK, draw_map, label_map, mollweide, rim_tiles, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".png", ".svg")
RECENT = 8
"""Patches marked that hit last."""
MOST_LAYERS, IN_A_ROW = 8, 4
"""Small maps; of more layers as many are taken evenly."""
PNG_DPI = 200
MARK = "#e8453c"
WIDTH, TITLE, MAP, SMALL, CAPTION = 6.4, 0.3, (0.35, 5.2, 2.63), (1.5, 0.95), 0.66
"""Of the figure; height of the title; left, width and height of the map; width and height of a small one with its
title; height of what is written below."""


def write_figure(path: Path, view: CacheView, quantity: Quantity = "hit rate", layer: int | None = None) -> None:
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
        made.savefig(file, format=kind[1:], dpi=PNG_DPI)


def write_csv(path: Path, view: CacheView) -> None:
    """Writes one line a cell, its columns those of `Statistics.table`; what is not known stays empty."""
    table = view.statistics.table()
    columns = [np.where(np.isnan(column), "", column.astype(str)) for column in map(np.asarray, table.values())]
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))
        text.detach()


def figure(view: CacheView, quantity: Quantity, layer: int | None = None) -> Figure:
    """All directions on one map, its colour bar, what was counted, and where there are several layers each of them."""
    from matplotlib.figure import Figure

    statistics = view.statistics
    whole, layers = patches(statistics, quantity, layer), timestep_layers(statistics)
    shown = _evenly(len(layers)) if layer is None and len(layers) > 1 else []
    rows = -(-len(shown) // IN_A_ROW)
    height = TITLE + MAP[2] + rows * SMALL[1] + CAPTION
    made = Figure(figsize=(WIDTH, height))
    top = height - TITLE - MAP[2]
    axes = _axes(made, MAP[0], top, MAP[1], MAP[2])
    draw_map(axes, whole, whole.span)
    label_map(axes)
    _colour_bar(made, top, quantity, whole.span)
    heading = _heading(view, quantity, None if layer is None else layers[layer])
    made.text(0.02, 1.0 - 0.16 / height, heading, va="center", fontsize=9)
    parts = [patches(statistics, quantity, i) for i in shown]
    span = (0.0, max((part.span[1] for part in parts), default=1.0))
    for place, (i, part) in enumerate(zip(shown, parts, strict=True)):
        row, column = divmod(place, IN_A_ROW)
        left = 0.16 + column * (WIDTH - 0.24) / IN_A_ROW
        small = _axes(made, left, top - (row + 1) * SMALL[1], SMALL[0], SMALL[1] - 0.2)
        draw_map(small, part, span)
        small.set_title(f"timesteps {layers[i, 0]:g} to {layers[i, 1]:g}", fontsize=6.5, pad=1.5, color=INK)
    _marks(axes, made, view, whole, (CAPTION - 0.16) / height)
    remark = f"; small maps from 0 to {span[1]:.3g}" if len(shown) > 0 and span != whole.span else ""
    made.text(0.5, 0.08 / height, caption(view) + remark, ha="center", va="bottom", fontsize=7, color=INK)
    return made


def caption(view: CacheView) -> str:
    """The counters in two lines."""
    totals, passes, statistics = view.statistics.totals, view.passes, view.statistics
    hits, tries = totals["hits"], totals["tries"]
    share = f" ({100.0 * hits / tries:.1f} %)" if tries > 0 else ""
    memory = f"{statistics.nbytes / 1e6:,.1f} MB of {statistics.budget_bytes / 1e6:,.0f} MB"
    counted = (
        f"step {statistics.step:,} · {hits:,} hits of {tries:,} tries{share} · {statistics.entries:,} entries, {memory}"
    )
    timed = [f"{100.0 * passes.full_share:.1f} % of the elements ran in full"]
    for name, milliseconds in passes.milliseconds.items():
        timed.append(f"{name} {milliseconds:.1f} ms")
    return f"{counted}\n{' · '.join(timed)}"


def _heading(view: CacheView, quantity: Quantity, layer: NDArray[np.float64] | None) -> str:  # [2]
    which = "all timesteps" if layer is None else f"timesteps {layer[0]:g} to {layer[1]:g}"
    sizes = ", ".join(f"{grid.azimuth_degrees:g}° x {grid.elevation_degrees:g}°" for grid in view.config.grids)
    return f"Hash3D: {quantity}, {which}; cells {sizes}; $\\eta$ = {view.config.eta:g}"


def _evenly(count: int) -> list[int]:
    """Which layers have a map of their own."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_LAYERS)).tolist()})


def _axes(made: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    across, up = made.get_size_inches().tolist()
    return made.add_axes((left / across, bottom / up, width / across, height / up))


def _colour_bar(made: Figure, bottom: float, quantity: Quantity, span: tuple[float, float]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    mappable = ScalarMappable(Normalize(*span), ListedColormap(SEQUENTIAL.tolist()))
    bar = made.colorbar(mappable, cax=_axes(made, MAP[0] + MAP[1] + 0.12, bottom + 0.25, 0.13, MAP[2] - 0.5))
    bar.set_label(MEANINGS[quantity], fontsize=7.5)
    bar.ax.tick_params(labelsize=7)


def _marks(axes: Axes, made: Figure, view: CacheView, found: Patches, height: float) -> None:
    """Rims of the patches that hit last, where the last call looked from, and in a line what they are."""
    recent = found.recent_hits(RECENT)
    handles = []
    if len(recent) > 0:
        rim_tiles(axes, found.bounds[recent], MARK)
        label = f"the {len(recent)} cells that hit last" if len(recent) > 1 else "the cell that hit last"
        handles += axes.plot([], [], "s", mfc="none", mec=MARK, label=label)
    if len(view.last) > 0:
        points = mollweide(wrapped(np.array([looked.key[:2] for looked in view.last])))
        label = "camera of the last call" if len(points) == 1 else "cameras of the last call"
        style = {"marker": "^", "s": 46, "c": MARK, "edgecolors": "white", "linewidths": 0.9, "label": label}
        handles.append(axes.scatter(*points.T, zorder=8, **style))
    if len(handles) > 0:
        made.legend(handles=handles, loc="center", bbox_to_anchor=(0.5, height), ncols=2, fontsize=7, frameon=False)
