"""The spectrum of a layer as SVG for a panel: how many rows have which response, the sum so far, what a cut keeps."""

from __future__ import annotations

import math

import numpy as np

from h3d.models.sundae.histogram import Histogram

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 300.0, 130.0, 8.0, 8.0, 16.0, 8.0
KEPT, GONE, SUM = "#4dabf7", "#868e96", "#ffd43b"
TICKS = 4


def spectrum_plot(histogram: Histogram, low: int, high: int) -> str:
    """Bars of all rows, the part that stays in colour where the lowest `low` and the highest `high` do."""
    counts, kept = histogram.counts, histogram.kept(low, high)
    total, tallest = max(int(counts.sum()), 1), max(int(counts.max(initial=0)), 1)
    bars, span = len(counts), HEIGHT - TOP - BOTTOM
    width = (WIDTH - LEFT - RIGHT) / bars
    parts = []
    for k in range(bars):
        # By the square root, so that the tails can be seen; the kept part is the same share of the bar's height.
        height = span * math.sqrt(counts[k] / tallest)
        stays = height * (kept[k] / counts[k] if counts[k] > 0 else 0.0)
        parts.append(_bar(LEFT + k * width, height, width, GONE, 0.35))
        parts.append(_bar(LEFT + k * width, stays, width, KEPT, 1.0))
    parts.append(_sum(histogram, total, width, span))
    parts += [_mark(histogram, rank, total, width) for rank in (low, total - high) if 0 < rank < total]
    parts += [_tick(histogram, k, width) for k in np.linspace(0, bars, TICKS + 1).round().astype(int).tolist()]
    style = "width:100%;font-size:9px;font-variant-numeric:tabular-nums"
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" style="{style}" role="img">{"".join(parts)}</svg>'


def _bar(x: float, height: float, width: float, color: str, opacity: float) -> str:
    y = HEIGHT - BOTTOM - height
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.9 * width:.1f}" height="{height:.1f}" fill="{color}" '
        f'fill-opacity="{opacity:g}"/>'
    )


def _sum(histogram: Histogram, total: int, width: float, span: float) -> str:
    """Share of the rows up to each response, as a line from the bottom to the top."""
    points = " ".join(
        f"{LEFT + k * width:.1f},{HEIGHT - BOTTOM - span * rank / total:.1f}"
        for k, rank in enumerate(histogram.firsts.tolist())
    )
    return f'<polyline points="{points}" fill="none" stroke="{SUM}" stroke-width="1" stroke-opacity=".8"/>'


def _mark(histogram: Histogram, rank: int, total: int, width: float) -> str:
    """A line where the notch begins or ends: within a bin, as far as its rows go."""
    k = min(int(np.searchsorted(histogram.firsts, rank, side="right")) - 1, len(histogram.counts) - 1)
    inside = (rank - int(histogram.firsts[k])) / max(int(histogram.counts[k]), 1)
    x = LEFT + (k + inside) * width
    return f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{KEPT}" stroke-dasharray="3 2"/>'


def _tick(histogram: Histogram, k: int, width: float) -> str:
    anchor = "start" if k == 0 else "end" if k == len(histogram.counts) else "middle"
    text = f"{histogram.edges[k]:.2g}"
    x, y = LEFT + k * width, HEIGHT - 4.0
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" fill="currentColor" opacity=".7">{text}</text>'
