"""Where to look at what is learnt from: from among the photos' cameras, straight at a picture,
or as a scene file says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from h3d.models.datasets import PosedImage, PosedImages
from h3d.models.path_traced import PathTracedScene
from h3d.models.procedural import view_camera
from h3d.models.signed_distance import SignedDistanceField
from h3d.models.surface_scene import SurfaceScene
from h3d.models.training import Task
from h3d.models.training.cache_task import RadianceCacheTask
from h3d.models.training.distilled import reference_camera
from h3d.models.training.distilled_task import DistilledTask
from h3d.renderers.cameras import Camera

from .workspace.scene import Asset, Home

SNAP_DEGREES = 25.0
MESH_UP = (0.0, 1.0, 0.0)  # as most mesh files have it
MESH_FRONT = (0.5, 0.3, 0.85)  # from the scene to the eye: they mostly look along +z
UP = (0.0, 0.0, 1.0)  # of what is made of pictures and words
VIEW_SIZE = 720
AXES = np.concatenate([np.eye(3), -np.eye(3)])


def home_of(task: Task[Any]) -> Home | None:
    """Where a new tab looks at a task's asset from; None = all of it in view, up is -y."""
    dataset = getattr(task, "dataset", None)
    if isinstance(dataset, PosedImages):
        return _among_photos(dataset)
    if isinstance(task, DistilledTask):
        return _of_a_subject(task)
    if task.model == "sdf":
        return Home(up=MESH_UP, direction=MESH_FRONT)
    if task.model == "image":
        return Home(up=(0.0, -1.0, 0.0), direction=(0.0, 0.0, -1.0))
    if isinstance(task, RadianceCacheTask):
        return _of_scene(task.scene)
    return None


def home_of_asset(asset: Asset) -> Home | None:
    """Where to look at what a file holds from, where the file says so."""
    if isinstance(asset, SignedDistanceField):
        return Home(up=MESH_UP, direction=MESH_FRONT)
    if isinstance(asset, PathTracedScene):
        return _of_scene(asset.scene)
    up = getattr(asset, "up", None)
    return None if up is None else Home(_triple(_levelled(np.array(up))))


def photo_camera(posed: PosedImage, aspect: float) -> Camera:
    """The photo's pose, with a field of view that holds the whole photo in a picture of this width over height."""
    tangents = 0.5 * posed.height / posed.K[1, 1], 0.5 * posed.width / posed.K[0, 0] / aspect
    height = 720
    return Camera(posed.camera_to_world, 2.0 * math.atan(max(tangents)), max(1, round(height * aspect)), height)


def center_of(dataset: PosedImages) -> np.ndarray:  # [3]
    """The point that the photos' optical axes pass nearest to; ahead of the middle camera where they are parallel."""
    positions = np.stack([posed.position for posed in dataset.images])
    forwards = np.stack([posed.forward for posed in dataset.images])
    across = np.eye(3) - forwards[:, :, None] * forwards[:, None, :]  # [N, 3, 3]
    matrix = across.sum(axis=0)
    if np.linalg.cond(matrix) > 1e4:
        spread = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
        return positions.mean(axis=0) + max(spread, 1.0) * forwards.mean(axis=0)
    return np.linalg.solve(matrix, np.einsum("nij,nj->i", across, positions))


def _among_photos(dataset: PosedImages) -> Home:
    first = dataset.images[(dataset.train or dataset.test)[0]]
    pivot = center_of(dataset)
    return Home(_triple(_levelled(dataset.up)), photo_camera(first, first.width / first.height), _triple(pivot))


def _of_a_subject(task: DistilledTask) -> Home:
    """From where the reference picture was taken; of words, from the front."""
    reference = task.subject.reference
    camera = view_camera(0.0, 15.0, 2.0, VIEW_SIZE) if reference is None else reference_camera(reference, VIEW_SIZE)
    return Home(UP, camera, (0.0, 0.0, 0.0))


def _of_scene(scene: SurfaceScene) -> Home:
    return Home(scene.up, scene.camera, scene.target)


def _levelled(up: np.ndarray) -> np.ndarray:  # [3] -> [3]
    """The axis that is nearly up: most data sets are levelled, and people expect orbits about a true axis."""
    nearest = AXES[int(np.argmax(AXES @ up))]
    return nearest if float(nearest @ up) > math.cos(math.radians(SNAP_DEGREES)) else up


def _triple(values: np.ndarray) -> tuple[float, float, float]:  # [3]
    x, y, z = (float(v) for v in values)
    return x, y, z
