"""The task of learning a signed distance field from a mesh, judged on points that are drawn anew, always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.models import meshes
from h3d.models.formats.errors import FormatError
from h3d.models.knobs import known_settings
from h3d.models.meshes import NoInside
from h3d.models.signed_distance import SignedDistanceField
from h3d.renderers.cameras import Camera, look_at
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.shading import clay, key_light, openness

from . import Judgement, Progress, Step
from .mesh_points import MeshPoints
from .signed_distance import SignedDistanceTraining, UnitMesh, train

SURFACE_POINTS, BOX_POINTS = 1 << 16, 1 << 18
QUICK_SHARE = 1 / 16
PICTURE_SIDE = 320
FOV_DEGREES = 30.0
LOWERED = 0.5
"""How far the eye stands below the key light."""
FILL = 0.75
"""Of the distance from which the sphere about the box just fills the picture: meshes do not reach its corners."""


@dataclass(frozen=True, eq=False)
class _Truth:
    """Points and what is true of them, in the mesh's axes."""

    surface: torch.Tensor  # [P, 3] on the surface
    anywhere: torch.Tensor  # [Q, 3] in the field's box
    inside: torch.Tensor  # [Q] bool


@dataclass(frozen=True, eq=False)
class SignedDistanceTask:
    """A `Task`: a mesh to a signed distance field."""

    unit: UnitMesh
    config: SignedDistanceTraining
    model: str = "sdf"
    metrics: tuple[str, ...] = ("iou", "surface_error")

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any]) -> SignedDistanceTask:
        """The task of a mesh file; `settings` are fields of `SignedDistanceTraining`.

        Raises:
            FormatError: the file is no mesh, is damaged, or the mesh has no inside.
        """
        mesh = meshes.read(path).welded()
        unit = UnitMesh.of(mesh, path.name)
        task = SignedDistanceTask(unit, SignedDistanceTraining(**known_settings(SignedDistanceTraining, settings)))
        try:
            task._points.distance.require_inside()
        except NoInside as error:
            rule, _, way_out = str(error).partition("; ")
            raise FormatError(path, "surface", rule, way_out) from error
        return task

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def remarks(self) -> tuple[str, ...]:
        remark = self._points.distance.remark
        return (remark,) if remark else ()

    def train(self, *, resume: Path | None = None) -> Iterator[Step[SignedDistanceField]]:
        """See `Task`."""
        return train(self.unit, self.config, resume=resume)

    def judge(
        self,
        asset: SignedDistanceField,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """How far from 0 the field is on the surface, as a share of the diagonal of the mesh's box, and how well what
        it holds for inside covers what is (intersection over union, in the field's box).

        Either alone can be fooled: a field that is 0 everywhere has no error on the surface, and no inside.
        Quickly: by a sixteenth of the points, and without a picture.
        """
        truth = self._quick_truth if quick else self._truth
        diagonal = self._points.diagonal * float(self.unit.asset_from_unit[0, 0])
        error = float(asset.query(truth.surface).abs().double().mean()) / diagonal
        _poll(cancel)
        found = asset.query(truth.anywhere) < 0.0
        _poll(cancel)
        either = int((found | truth.inside).sum())
        iou = int((found & truth.inside).sum()) / either if either > 0 else 0.0
        if progress is not None:
            progress(f"surface error {error:.5f}, IoU {iou:.4f}")
        subject = f"{len(truth.surface):,} surface points and {len(truth.anywhere):,} in the box"
        picture = None if quick else self._picture(asset, cancel)
        return Judgement({"iou": iou, "surface_error": error}, subject, picture)

    @cached_property
    def _points(self) -> MeshPoints:
        return MeshPoints(self.unit.mesh, self.unit.box)

    @cached_property
    def _truth(self) -> _Truth:
        return self._drawn(1.0)

    @cached_property
    def _quick_truth(self) -> _Truth:
        return self._drawn(QUICK_SHARE)

    def _drawn(self, share: float) -> _Truth:
        generator = torch.Generator().manual_seed(1)
        surface = self._points.on_surface(round(SURFACE_POINTS * share), generator)
        anywhere = self._points.in_box(round(BOX_POINTS * share), generator)
        inside = torch.from_numpy(self._points.distance.inside(anywhere.float().numpy()))
        return _Truth(self._to_asset(surface), self._to_asset(anywhere), inside)

    def _to_asset(self, points: torch.Tensor) -> torch.Tensor:  # [P, 3] float64 in the unit cube
        matrix = torch.from_numpy(self.unit.asset_from_unit)
        return points * matrix[0, 0] + matrix[:3, 3]

    def _picture(self, asset: SignedDistanceField, cancel: CancelFlag | None) -> torch.Tensor:  # [H, 2 W, 3]
        """The mesh to the left and the field to the right, lit alike, on white."""
        origins, directions = _rays(_camera(asset))
        seen = asset.render(torch.from_numpy(origins), torch.from_numpy(directions), cancel=cancel)
        learnt = (seen.rgb + (1.0 - seen.alpha[:, None])).numpy()
        halves = [self._true_colors(origins, directions, np.array(asset.up)), learnt]
        size = (PICTURE_SIDE, PICTURE_SIDE, 3)
        return torch.from_numpy(np.concatenate([half.reshape(size) for half in halves], axis=1))

    def _true_colors(self, origins: np.ndarray, directions: np.ndarray, up: np.ndarray) -> np.ndarray:  # [R, 3]
        scale, place = self.unit.asset_from_unit[0, 0], self.unit.asset_from_unit[:3, 3]
        starts = ((origins - place) / scale).astype(np.float32)
        t, normals = self._points.distance.first_hits(starts, directions)
        rows = np.flatnonzero(np.isfinite(t))
        towards = directions[rows]
        facing = np.where((normals[rows] * towards).sum(axis=1) > 0.0, -1.0, 1.0)[:, None].astype(np.float32)
        found = normals[rows] * facing
        points = starts[rows] + t[rows, None] * towards
        side = float((self.unit.box[1] - self.unit.box[0]).max())
        free = openness(self._points.distance.signed, points, found, side)
        colors = np.ones_like(starts)
        colors[rows] = clay(found, towards, up=up.astype(np.float32), openness=free)
        return colors


def _poll(cancel: CancelFlag | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled


def _camera(asset: SignedDistanceField) -> Camera:
    """A view of all of it from below the key light, where the front of most models is."""
    low, high = asset.bounds
    fov = math.radians(FOV_DEGREES)
    away = FILL * 0.5 * float(np.linalg.norm(high - low)) / math.sin(0.5 * fov)
    up, middle = np.array(asset.up), 0.5 * (low + high)
    towards = key_light(up) - LOWERED * up
    eye = middle + away * towards / np.linalg.norm(towards)
    return look_at(eye, middle, up, fov_y_radians=fov, width=PICTURE_SIDE, height=PICTURE_SIDE)


def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions of all pixels, [R, 3] float32, row by row."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ np.linalg.inv(camera.K).T
    directions = local @ camera.camera_to_world[:3, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.broadcast_to(camera.position, directions.shape).astype(np.float32), directions.astype(np.float32)
