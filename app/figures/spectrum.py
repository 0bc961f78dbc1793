"""The spectrum of Gaussians and the notch that a cut leaves in it, for paper: PDF, PNG or SVG, and the bins as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from h3d.models.formats.atomic import replacing
from h3d.models.sundae.histogram import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (5.2, 3.0)
DPI = 200
KEPT, GONE, SUM = "#1c7ed6", "#ced4da", "#e8590c"


def write_spectrum(path: Path, histogram: Histogram, low: int, high: int, *, title: str, measured: str) -> None:
    """The figure as the suffix says, or the bins as .csv; `measured` names what the axis counts."""
    with replacing(path) as file:
        if path.suffix == ".csv":
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(("from", "to", "rows", "kept"))
            edges, kept = histogram.edges.tolist(), histogram.kept(low, high).tolist()
            writer.writerows(zip(edges, edges[1:], histogram.counts.tolist(), kept, strict=False))
            text.detach()
        else:
            made = spectrum_figure(histogram, low, high, title=title, measured=measured)
            made.savefig(file, format=path.suffix[1:], dpi=DPI)


def spectrum_figure(histogram: Histogram, low: int, high: int, *, title: str, measured: str) -> Figure:
    """Rows by response, those that stay in colour where the lowest `low` and the highest `high` do, and their sum."""
    from matplotlib.figure import Figure

    made = Figure(figsize=SIZE, layout="constrained")
    axes: Axes = made.subplots()
    edges, counts = histogram.edges, histogram.counts
    axes.stairs(counts, edges, fill=True, color=GONE, label="left out")
    axes.stairs(histogram.kept(low, high), edges, fill=True, color=KEPT, label="stay")
    if histogram.logarithmic:
        axes.set_xscale("log")
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    axes.set_xlabel(measured)
    axes.set_ylabel("Gaussians")
    axes.set_title(title, fontsize=9)
    total = max(int(counts.sum()), 1)
    beside = axes.twinx()
    (line,) = beside.plot(edges, 100.0 * histogram.firsts / total, color=SUM, linewidth=1.2, label="up to here, %")
    beside.set_ylim(0.0, 100.0)
    beside.set_ylabel("up to here, %")
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles=[*handles, line], fontsize=7, loc="upper left")
    return made
