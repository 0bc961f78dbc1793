"""A solid put together from painted parts: its signed distance, its colour, and a box for tracing it.

Parts are taken in turn: united with what is there, blended into it, or carved out of it. P points; the solid stands in
object space: z up, its front towards +y, its middle at the origin, within a ball of `OBJECT_RADIUS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .primitives import Shape, distance_to, extent_of, smooth_union

OBJECT_RADIUS = 0.75
"""Of the ball about the origin that holds every object; at 2 units' distance it fills 44 of 49.1 degrees."""
FIT_CELLS = 40
POINTS_AT_ONCE = 1 << 14

Pattern = Literal["plain", "stripes", "dots", "checks", "fade"]
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Paint:
    """Colour of a part; patterns live in the part's own space, so that they turn with it. Colours are sRGB."""

    color: Color
    accent: Color = (0.0, 0.0, 0.0)
    pattern: Pattern = "plain"
    period: float = 0.3
    """From stripe to stripe, dot to dot, or twice a check; for a fade, the height it takes."""

    def at(self, p: np.ndarray) -> np.ndarray:  # [P, 3] in the part's space -> [P, 3] sRGB
        share = self._share(p).astype(np.float32)[:, None]
        color, accent = np.array(self.color, np.float32), np.array(self.accent, np.float32)
        return color * (1.0 - share) + accent * share

    def _share(self, p: np.ndarray) -> np.ndarray:  # [P, 3] -> [P], how much of the accent
        if self.pattern == "stripes":
            return np.floor(2.0 * p[:, 2] / self.period + 0.5) % 2
        if self.pattern == "checks":
            return np.floor(2.0 * p / self.period).sum(axis=1) % 2
        if self.pattern == "dots":
            off = p / self.period
            off = off - np.rint(off)
            return np.einsum("pk,pk->p", off, off) < 0.16
        if self.pattern == "fade":
            return np.clip(p[:, 2] / self.period + 0.5, 0.0, 1.0)
        return np.zeros(len(p))


@dataclass(frozen=True)
class Part:
    """A painted primitive in its place."""

    shape: Shape
    size: tuple[float, ...]
    center: tuple[float, float, float]
    paint: Paint
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Degrees about x, then y, then z."""
    mirror: str = ""
    """Axes, of "xyz", across whose plane the part stands on both sides; its centre is on the positive one."""
    blend: float = 0.0
    """Reach of the smooth union with the parts before it."""
    carve: bool = False
    """Taken away from the parts before it; its paint is that of the wall it leaves."""

    def local(self, p: np.ndarray) -> np.ndarray:  # [P, 3] -> [P, 3]
        for axis in self.mirror:
            k = "xyz".index(axis)
            p = p.copy()
            p[:, k] = np.abs(p[:, k])
        p = p - np.array(self.center, np.float32)
        return p @ _rotation(self.turn) if any(self.turn) else p

    def bounds(self) -> np.ndarray:  # [2, 3], of a ball that holds it, mirrored ones too
        reach, center = extent_of(self.shape, self.size), np.array(self.center)
        low, high = center - reach, center + reach
        for axis in self.mirror:
            k = "xyz".index(axis)
            low[k] = min(low[k], -high[k])
        return np.stack([low, high])


@dataclass(frozen=True)
class Solid:
    """Parts, and where object space lies in the space they were drawn in."""

    parts: tuple[Part, ...]
    center: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))  # [3]
    scale: float = 1.0
    """Length of a unit of object space in the drawing."""

    def distance(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P] float32
        """Signed distance, below 0 inside; nowhere more than the true one."""
        found = np.empty(len(points), np.float32)
        for start in range(0, len(points), POINTS_AT_ONCE):
            rows = slice(start, start + POINTS_AT_ONCE)
            found[rows] = self._drawn_distance(self._drawn(points[rows]))[0] / self.scale
        return found

    def albedo(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P, 3] float32
        """sRGB colour of the part that the surface at, or nearest to, each point belongs to."""
        p = self._drawn(points)
        owner = self._drawn_distance(p)[1]
        colors = np.zeros((len(p), 3), np.float32)
        for k, part in enumerate(self.parts):
            rows = np.flatnonzero(owner == k)
            if len(rows) > 0:
                colors[rows] = part.paint.at(part.local(p[rows]))
        return colors

    def fitted(self) -> Solid:
        """The same solid, with its bounding box's middle at the origin and all of it within `OBJECT_RADIUS`."""
        bounds = np.stack([part.bounds() for part in self.parts if not part.carve])
        low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
        axes = [np.linspace(low[k], high[k], FIT_CELLS, dtype=np.float32) for k in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        cell = float(np.linalg.norm(high - low)) / (FIT_CELLS - 1)
        drawn = replace(self, center=np.zeros(3, np.float32), scale=1.0)
        # Every point of the solid has a corner of the grid within half a cell's diagonal of it.
        held = grid[drawn.distance(grid) <= 0.5 * cell]
        center = 0.5 * (held.min(axis=0) + held.max(axis=0))
        reach = float(np.linalg.norm(held - center, axis=1).max()) + 0.5 * cell
        return replace(self, center=center.astype(np.float32), scale=reach / OBJECT_RADIUS)

    def _drawn(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, np.float32) * np.float32(self.scale) + self.center

    def _drawn_distance(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance [P] in the drawing, and the part [P] it is the distance to."""
        total = np.full(len(p), np.inf, np.float32)
        owner = np.zeros(len(p), np.int16)
        for k, part in enumerate(self.parts):
            own = distance_to(part.shape, part.local(p), part.size)
            if part.carve:
                owner[-own > total] = k
                total = np.maximum(total, -own)
            else:
                owner[own < total] = k
                total = smooth_union(total, own, part.blend) if part.blend > 0.0 and k > 0 else np.minimum(total, own)
        return total.astype(np.float32, copy=False), owner


def _rotation(turn: tuple[float, float, float]) -> np.ndarray:  # degrees -> [3, 3], for rows of points: p @ R
    a, b, c = np.radians(turn)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (z @ y @ x).astype(np.float32)
