"""Sphere tracing: where rays meet the surface of a signed distance that may only be asked for.

A ray goes on by the distance at its place, which nothing is nearer than, until next to nothing is left of it. Most of
the way is through empty space: there a coarse grid of what is certainly free (`Clearance`) is asked instead, which
costs a hundredth. Rays that are done make room: only those under way are asked for. R rays, P points; all of it in one
space, of any unit.
Source: Hart 1996, "Sphere tracing"; the step is shortened, for distances that are learnt and a little wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .cancel import CancelFlag, Cancelled

Distance = Callable[[np.ndarray], np.ndarray]
"""Points [P, 3] float32 to signed distances [P] float32, below 0 inside."""

MISSED, SURFACE, CUT = 0, 1, 2
"""What became of a ray: nothing met, the surface, or solid where the ray's stretch begins."""
POINTS_AT_ONCE = 1 << 16
FREE_STEPS = 64
"""Steps through free cells between two questions to the field, at most."""

PATIENCE = 8
"""Steps after which a ray is content with twice the distance."""


@dataclass(frozen=True)
class TracingOptions:
    """How exactly to look."""

    arrived: float = 2e-4
    """A ray this near to the surface has met it; one that grazes along it is content with more, step by step."""
    step_scale: float = 0.95
    """Share of the distance that a step goes."""
    max_steps: int = 64
    """Questions to the field that a ray may cost; one that is still under way grazes, and is taken to have arrived."""


@dataclass(frozen=True, eq=False)
class Clearance:
    """A grid over a box: how far from every point of a cell the surface certainly is."""

    free: np.ndarray  # [nx, ny, nz] float32, below 0 inside; 0 where the surface may be near
    box: np.ndarray  # [2, 3]

    @staticmethod
    def of(centres: np.ndarray, box: np.ndarray, *, trust: float = 0.9) -> Clearance:  # [nx, ny, nz]
        """From the distances at the centres of the cells, of which a share of `trust` is believed."""
        half = 0.5 * float(np.linalg.norm((box[1] - box[0]) / centres.shape))
        free = np.maximum(trust * np.abs(centres) - half, 0.0)
        return Clearance((np.sign(centres) * free).astype(np.float32), box)

    def at(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P]
        """Free space about points; those outside the box get their nearest cell's."""
        sides = np.array(self.free.shape)
        scale = (sides / (self.box[1] - self.box[0])).astype(np.float32)
        cells = ((points - self.box[0].astype(np.float32)) * scale).astype(np.int32)
        np.clip(cells, 0, sides - 1, out=cells)
        return self.free[cells[:, 0], cells[:, 1], cells[:, 2]]


@dataclass(frozen=True)
class Traced:
    """What became of R rays."""

    t: np.ndarray  # [R] float32, distance along the ray to what it met; where it was when it met nothing
    met: np.ndarray  # [R] int8: MISSED, SURFACE or CUT
    counts: np.ndarray  # [R] int32, questions to the field


def trace_spheres(
    distance: Distance,
    origins: np.ndarray,  # [R, 3] float32
    directions: np.ndarray,  # [R, 3] float32, unit
    spans: np.ndarray,  # [R, 2] float32: where along the ray to look; no stretch where the second is not larger
    *,
    clearance: Clearance,
    options: TracingOptions = TracingOptions(),
    cancel: CancelFlag | None = None,
) -> Traced:
    """The first surface on each ray. A ray whose stretch begins inside, but not at the eye, is CUT there.

    Raises:
        Cancelled: `cancel` was set before it was done.
    """
    t, met, counts = spans[:, 0].copy(), np.zeros(len(spans), np.int8), np.zeros(len(spans), np.int32)
    rows = np.flatnonzero(spans[:, 1] > spans[:, 0])
    side = np.ones(len(spans), np.float32)
    side[rows] = _side(distance, origins[rows] + t[rows, None] * directions[rows], clearance, cancel)
    cut = (side < 0.0) & (spans[:, 0] > 0.0)
    met[cut] = CUT
    rows = rows[~cut[rows]]
    for step in range(options.max_steps):
        rows = _through_free_space(rows, t, origins, directions, spans, clearance)
        if len(rows) == 0:
            break
        # An eye inside looks at the surface from behind; a step that went too far is taken back.
        ahead = side[rows] * _asked(distance, origins[rows] + t[rows, None] * directions[rows], cancel)
        counts[rows] += 1
        arrived = np.abs(ahead) < options.arrived * (1.0 + step / PATIENCE)
        met[rows[arrived]] = SURFACE
        t[rows] += np.where(arrived, ahead, options.step_scale * ahead)
        rows = rows[~arrived & (t[rows] < spans[rows, 1])]
    met[rows] = SURFACE
    return Traced(t, met, counts)


def _side(
    distance: Distance, points: np.ndarray, clearance: Clearance, cancel: CancelFlag | None
) -> np.ndarray:  # [P, 3] -> [P], 1 outside and -1 inside
    """On which side of the surface points are; the field is asked where the grid does not know."""
    side = np.sign(clearance.at(points))
    unknown = np.flatnonzero(side == 0.0)
    side[unknown] = np.where(_asked(distance, points[unknown], cancel) < 0.0, -1.0, 1.0)
    return side


def _through_free_space(
    rows: np.ndarray,  # [r] rays under way
    t: np.ndarray,  # [R], moved on
    origins: np.ndarray,
    directions: np.ndarray,
    spans: np.ndarray,
    clearance: Clearance,
) -> np.ndarray:
    """Moves rays on as far as cells are free; returns those that have to ask, in order."""
    smallest = 0.25 * float(np.linalg.norm((clearance.box[1] - clearance.box[0]) / clearance.free.shape))
    waiting, moving = [], rows
    for _ in range(FREE_STEPS):
        free = np.abs(clearance.at(origins[moving] + t[moving, None] * directions[moving]))
        goes = free > smallest
        waiting.append(moving[~goes])
        moving = moving[goes]
        if len(moving) == 0:
            break
        t[moving] += free[goes]
        moving = moving[t[moving] < spans[moving, 1]]
    return np.sort(np.concatenate([*waiting, moving]))


def _asked(distance: Distance, points: np.ndarray, cancel: CancelFlag | None) -> np.ndarray:  # [P, 3] -> [P]
    found = np.empty(len(points), np.float32)
    for start in range(0, len(points), POINTS_AT_ONCE):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        part = slice(start, start + POINTS_AT_ONCE)
        found[part] = distance(points[part])
    return found


def box_spans(
    origins: np.ndarray,  # [R, 3]
    directions: np.ndarray,  # [R, 3]
    box: np.ndarray,  # [2, 3]
) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray enters and leaves a box, [R, 2] float32 (equal where it passes), and the axis of entry, [R]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = (box[:, None] - origins) / directions  # [2, R, 3]
    # A ray along a wall, 0 / 0, is between the walls.
    near = np.nan_to_num(walls.min(axis=0), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    far = np.nan_to_num(walls.max(axis=0), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    enter, leave = np.maximum(near.max(axis=1), 0.0), far.min(axis=1)
    return np.stack([enter, np.maximum(enter, leave)], axis=1).astype(np.float32), near.argmax(axis=1)
