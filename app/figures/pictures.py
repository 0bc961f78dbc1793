"""What is looked at, and the pictures that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from h3d.app.workspace.scene import Layer

from .display import Display

Rect = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture; x1 and y1 are one past the last."""
Backend = Literal["auto", "cpu", "cuda"]
Legend = tuple[str, float, float]
"""What a colour bar says: its label, and the values at its two ends."""


@dataclass(frozen=True)
class View:
    """What is looked at, and how."""

    layers: tuple[Layer, ...]
    display: Display = Display()


@dataclass(frozen=True)
class Picture:
    """A finished picture over the display's background."""

    pixels: np.ndarray  # [h, w, 3] uint8
    alpha: np.ndarray | None = None  # [h, w] float32
    depth: np.ndarray | None = None  # [h, w] float32, expected depth along the view axis, 0 where nothing is
    stats: dict[str, float] | None = None  # the rasteriser's own: visible, intersections, milliseconds by stage
    legend: Legend | None = None


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture over nothing: colours are premultiplied by alpha."""

    rgb: np.ndarray  # [h, w, 3] float32
    alpha: np.ndarray  # [h, w] float32
    depth: np.ndarray | None = None  # [h, w] float32
