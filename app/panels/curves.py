"""Curves of several runs in one plot, each with places of its own, as SVG for a panel.

viser's uPlot has one x for all series and no way to leave a point out, so that a run that has not come as far as
another would be drawn on to where it never was.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 300.0, 170.0, 44.0, 18.0, 20.0
TICKS = 4


@dataclass(frozen=True)
class Curve:
    """Points in the order in which they are joined."""

    x: np.ndarray  # [P]
    y: np.ndarray  # [P]
    color: str


def plot(title: str, curves: Sequence[Curve], *, logarithmic: bool = False) -> str:
    """The curves in one frame as SVG, its axes as wide as all of them; y by its logarithm where that is wanted."""
    known = [_finite(curve, logarithmic) for curve in curves]
    known = [curve for curve in known if len(curve.x) > 0]
    parts = [f'<text x="{LEFT}" y="12" fill="currentColor">{html.escape(title)}</text>']
    if len(known) > 0:
        x_low, x_high = _range([curve.x for curve in known])
        y_low, y_high = _range([curve.y for curve in known])

        def across(x: float) -> float:
            return LEFT + (WIDTH - LEFT - 4.0) * (x - x_low) / (x_high - x_low)

        def down(y: float) -> float:
            return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (y - y_low) / (y_high - y_low)

        for x in _ticks(x_low, x_high):
            parts.append(_line(across(x), TOP, across(x), HEIGHT - BOTTOM))
            parts.append(_text(across(x), HEIGHT - 5.0, f"{x:,.6g}", "middle"))
        for y in _ticks(y_low, y_high):
            parts.append(_line(LEFT, down(y), WIDTH - 4.0, down(y)))
            parts.append(_text(LEFT - 4.0, down(y) + 3.0, f"{10.0**y:.2g}" if logarithmic else f"{y:.4g}", "end"))
        parts += [
            _drawn(curve, [(across(x), down(y)) for x, y in zip(curve.x, curve.y, strict=True)]) for curve in known
        ]
    style = "width:100%;font-size:9px;font-variant-numeric:tabular-nums"
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" style="{style}">{"".join(parts)}</svg>'


def _finite(curve: Curve, logarithmic: bool) -> Curve:
    good = np.isfinite(curve.y) & ((curve.y > 0.0) | (not logarithmic))
    y = np.log10(curve.y[good]) if logarithmic else curve.y[good]
    return Curve(curve.x[good], y, curve.color)


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = (float(bound(np.concatenate(values))) for bound in (np.min, np.max))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers from low to high."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _drawn(curve: Curve, points: list[tuple[float, float]]) -> str:
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5" fill="{curve.color}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="1.5"/>'


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="currentColor" stroke-opacity=".15"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" opacity=".7">{text}</text>'
