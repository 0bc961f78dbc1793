"""Looking at a signed distance field: its surface as clay, cut open by the crop box, or a plane of its distances.

Where the crop box cuts into the solid, the cut shows the distances inside, as the slice plane does. R rays, P points;
the unit cube is where the field lives (`signed_distance`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays
from h3d.renderers.shading import clay, distance_colors, openness
from h3d.renderers.sphere_tracing import (
    CUT,
    MISSED,
    POINTS_AT_ONCE,
    SURFACE,
    Clearance,
    TracingOptions,
    box_spans,
    trace_spheres,
)
from h3d.renderers.threads import one_torch_thread

from .field_view import FieldView

if TYPE_CHECKING:
    from .signed_distance import SignedDistanceField

COARSE_CELLS = 32
"""Cells of the coarse grid along each axis."""
STILL = TracingOptions()
QUICK = TracingOptions(arrived=1e-3, max_steps=32)
COLOR_SHARE = 0.2
"""Of the box's longest side: the distance at which the colours of a plane end."""


@dataclass(frozen=True, eq=False)
class CoarseDistances:
    """Distances at the centres of a grid's cells: what is free, and how open to the sky places are."""

    centres: np.ndarray  # [n, n, n] float32
    clearance: Clearance
    box: np.ndarray  # [2, 3] in the unit cube

    @staticmethod
    def of(field: SignedDistanceField, level_mask: int) -> CoarseDistances:
        box = field.box.numpy()
        along = (np.arange(COARSE_CELLS, dtype=np.float32) + np.float32(0.5)) / np.float32(COARSE_CELLS)
        grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
        points = torch.from_numpy((box[0] + (box[1] - box[0]) * grid).astype(np.float32))
        centres = field.unit_distance(points, level_mask=level_mask).numpy().reshape((COARSE_CELLS,) * 3)
        return CoarseDistances(centres, Clearance.of(centres, box), box)

    def at(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P]
        """Between the centres; beyond the outer ones as at them."""
        place = (points - self.box[0]) / (self.box[1] - self.box[0]) * np.float32(COARSE_CELLS) - np.float32(0.5)
        place = np.clip(place, 0.0, COARSE_CELLS - 1.001).astype(np.float32)
        low = place.astype(np.int32)
        share = place - low
        first = (low[:, 0] * COARSE_CELLS + low[:, 1]) * COARSE_CELLS + low[:, 2]
        flat, (x, y, z) = self.centres.reshape(-1), share.T
        found = np.zeros(len(points), np.float32)
        for corner in range(8):
            i, j, k = corner >> 2, corner >> 1 & 1, corner & 1
            weight = (x if i else 1.0 - x) * (y if j else 1.0 - y) * (z if k else 1.0 - z)
            found += weight * flat[first + (i * COARSE_CELLS + j) * COARSE_CELLS + k]
        return found


def look(
    field: SignedDistanceField,
    origins: torch.Tensor,  # [R, 3] in the asset's axes
    directions: torch.Tensor,  # [R, 3] unit
    view: FieldView,
    cancel: CancelFlag | None,
) -> RenderedRays:
    """What the rays see; depth in the asset's units. Raises `Cancelled`."""
    with one_torch_thread():
        looker = _Looker(field, origins, directions, view, cancel)
        return looker.surface() if view.slice_axis is None else looker.plane("xyz".index(view.slice_axis))


class _Looker:
    """One call of `look`: rays in the unit cube, and what comes back of them."""

    def __init__(
        self,
        field: SignedDistanceField,
        origins: torch.Tensor,  # [R, 3]
        directions: torch.Tensor,  # [R, 3]
        view: FieldView,
        cancel: CancelFlag | None,
    ) -> None:
        self.field, self.view, self.cancel = field, view, cancel
        self.origins = field.unit_from_asset(origins).numpy()
        self.directions = directions.float().numpy()
        self.level_mask = view.level_mask & ((1 << field.encoding.levels) - 1)
        box = field.box.double().numpy()
        shares = np.array([view.crop_low, view.crop_high])
        self.crop = box[0] + (box[1] - box[0]) * shares
        self.up = np.array(field.up, np.float32)
        self.reach = COLOR_SHARE * float((box[1] - box[0]).max())

    def surface(self) -> RenderedRays:
        """The surface, and the distances where it is cut open."""
        coarse = self.field.coarse(self.level_mask)
        spans, axis = box_spans(self.origins, self.directions, self.crop)
        traced = trace_spheres(
            self.distance,
            self.origins,
            self.directions,
            spans,
            clearance=coarse.clearance,
            options=QUICK if self.view.quick else STILL,
            cancel=self.cancel,
        )
        normals, rgb = np.zeros_like(self.directions), np.zeros_like(self.directions)
        rows, cut = np.flatnonzero(traced.met == SURFACE), np.flatnonzero(traced.met == CUT)
        points = self._points(rows, traced.t)
        outwards = self._outwards(points)
        # Of a surface that is seen from inside the other side is lit.
        facing = np.where((outwards * self.directions[rows]).sum(axis=1) > 0.0, -1.0, 1.0).astype(np.float32)
        normals[rows] = outwards * facing[:, None]
        side = float((self.field.box[1] - self.field.box[0]).max())
        free = openness(coarse.at, points, normals[rows], side)
        free = np.where(facing > 0.0, free, 1.0).astype(np.float32)
        rgb[rows] = clay(normals[rows], self.directions[rows], up=self.up, openness=free)
        rgb[cut] = distance_colors(self.distance(self._points(cut, traced.t)), self.reach)
        normals[cut, axis[cut]] = -np.sign(self.directions[cut, axis[cut]])
        return self._seen(rgb, traced.met != MISSED, traced.t, traced.counts, normals)

    def plane(self, axis: int) -> RenderedRays:
        """The distances on a plane across an axis, as far as the crop box reaches."""
        low, high = self.field.box.double().numpy()[:, axis]
        height = low + self.view.slice_at * (high - low)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = ((height - self.origins[:, axis]) / self.directions[:, axis]).astype(np.float32)
        hit = np.isfinite(t) & (t > 0.0)
        t = np.where(hit, t, np.float32(0.0))
        points = self.origins + t[:, None] * self.directions
        others = [other for other in range(3) if other != axis]
        hit &= ((points >= self.crop[0]) & (points <= self.crop[1]))[:, others].all(axis=1)
        rows = np.flatnonzero(hit)
        rgb, normals = np.zeros_like(points), np.zeros_like(points)
        rgb[rows] = distance_colors(self.distance(points[rows]), self.reach)
        normals[rows, axis] = -np.sign(self.directions[rows, axis])
        return self._seen(rgb, hit, t, hit.astype(np.int32), normals)

    def distance(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P]
        """See `Distance` of the tracing."""
        parts = torch.from_numpy(np.ascontiguousarray(points, np.float32)).split(POINTS_AT_ONCE)
        return np.concatenate([self.field.unit_distance(part, level_mask=self.level_mask).numpy() for part in parts])

    def _points(self, rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.origins[rows] + t[rows, None] * self.directions[rows]

    def _outwards(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P, 3] unit
        parts = torch.from_numpy(points).split(POINTS_AT_ONCE)
        slopes = torch.cat([self.field.unit_gradient(part, level_mask=self.level_mask) for part in parts])
        return torch.nn.functional.normalize(slopes, dim=1).numpy()

    def _seen(
        self,
        rgb: np.ndarray,  # [R, 3]
        met: np.ndarray,  # [R] bool
        t: np.ndarray,  # [R] in the unit cube
        counts: np.ndarray,  # [R] int32
        normals: np.ndarray,  # [R, 3]
    ) -> RenderedRays:
        depth = np.where(met, t * np.float32(self.field.unit_length), np.float32(0.0))
        return RenderedRays(
            torch.from_numpy(rgb),
            torch.from_numpy(met.astype(np.float32)),
            torch.from_numpy(depth),
            torch.from_numpy(counts),
            normals=torch.from_numpy(normals) if self.view.normals else None,
        )
