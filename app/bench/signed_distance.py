"""Signed distance fields: how good the armadillo's is after minutes of training, and what a picture of it costs.

The mesh is H3D_DATA/meshes/armadillo.obj; without it the workload is skipped. Seconds are the trainer's own: judging
and drawing do not count. A frame is one call of `render` as the viewer makes it, the whole field in view.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from h3d.app.figures.framing import frame_camera
from h3d.app.workspace.scene import Layer
from h3d.models.signed_distance import SignedDistanceField
from h3d.models.training.mesh_task import SignedDistanceTask
from h3d.renderers.cameras import pixel_directions

from .metrics import Effort, Metric, Skipped, best_of_blocks, milliseconds, timed

QUALITY_TOLERANCE = 1.0
"""Errors fall with the steps that fit into the time: on a machine half as fast they are up to twice as large."""
IOU_TOLERANCE = 0.01
MOMENTS = {"1min": 60.0, "5min": 300.0}
QUICK_MOMENTS = {"20s": 20.0}
SIZE = (320, 180)


def armadillo(effort: Effort) -> Iterator[Metric]:
    """One run, judged on the way, and pictures of what came of it."""
    task = SignedDistanceTask.open(_mesh_file(), {})
    moments = dict(QUICK_MOMENTS if effort.quick else MOMENTS)
    field = None
    for step in task.train():
        due = [name for name, seconds in moments.items() if step.seconds >= seconds]
        if len(due) == 0:
            continue
        field = step.snapshot()
        for name in due:
            del moments[name]
            yield from _quality(task, field, name)
        if len(moments) == 0:
            yield Metric("sdf/train/armadillo/steps_per_second", step.step / step.seconds, "steps/s", "higher", 1.0)
            break
    assert field is not None
    yield milliseconds("sdf/frame/armadillo_320x180_ms", 1e3 * _frame_seconds(field, effort))


def _quality(task: SignedDistanceTask, field: SignedDistanceField, name: str) -> Iterator[Metric]:
    found = task.judge(field).metrics
    error, iou = found["surface_error"], found["iou"]
    yield Metric(f"sdf/train/armadillo/surface_error_{name}", error, "of the box", "lower", QUALITY_TOLERANCE)
    yield Metric(f"sdf/train/armadillo/iou_{name}", iou, "", "higher", IOU_TOLERANCE)


def _frame_seconds(field: SignedDistanceField, effort: Effort) -> float:
    """Of a picture without its field's coarse grid, which all pictures of one field share."""
    width, height = SIZE
    camera = frame_camera([Layer(1, "bench", field)], width=width, height=height, up=field.up)
    directions = pixel_directions(camera, (0, 0, width, height)).astype(np.float32)
    origins = np.broadcast_to(camera.position.astype(np.float32), directions.shape).copy()
    rays = torch.from_numpy(origins), torch.from_numpy(directions)
    return best_of_blocks(lambda: timed(lambda: field.render(*rays)), effort)


def _mesh_file() -> Path:
    folder = os.environ.get("H3D_DATA")
    if not folder:
        raise Skipped("the armadillo is a real mesh; set H3D_DATA to the folder that holds meshes/armadillo.obj")
    path = Path(folder) / "meshes" / "armadillo.obj"
    if not path.is_file():
        raise Skipped(f"{path}: there is no such file; put the Stanford armadillo there")
    return path
