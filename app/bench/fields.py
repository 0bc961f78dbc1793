"""Hash-grid fields: how well photos are learnt over time, and what a picture costs.

The photos are real ones from H3D_DATA; the times are those of training alone, judging left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from h3d.app.homes import photo_camera
from h3d.models.field_view import FieldView
from h3d.models.hash_grid import HashGridField
from h3d.models.training.photos import PhotosTask
from h3d.renderers.cameras import pixel_directions
from h3d.renderers.fields import RenderedRays

from . import scenes
from .metrics import TIME_TOLERANCE, Effort, Metric, best_of_blocks, milliseconds, timed

PSNR_TOLERANCE = 0.03
CURVES = {"lego": (1, 2, 5, 10, 20), "fox": (1, 2, 5, 10)}  # minutes
QUICK_MINUTES = 0.33
FRAME_SECONDS, QUICK_FRAME_SECONDS = 60.0, 15.0
WIDTH, HEIGHT = 320, 180
NEAR = 0.6  # of the photo's field of view: the object fills the picture


def curves(effort: Effort) -> Iterator[Metric]:
    """PSNR over the test photos after minutes of training."""
    for name, minutes in CURVES.items():
        task = PhotosTask.open(scenes.photos(name), {})
        marks = [QUICK_MINUTES] if effort.quick else list(minutes)
        for step in task.train():
            if step.seconds < 60.0 * marks[0]:
                continue
            psnr = task.judge(step.snapshot()).metrics["psnr"]
            yield Metric(f"fields/train/{name}/psnr_at_{marks[0]:g}min", psnr, "dB", "higher", PSNR_TOLERANCE)
            marks.pop(0)
            if len(marks) == 0:
                break


def frame(effort: Effort) -> Iterator[Metric]:
    """Pictures of a trained field from a test camera and nearer by: all of it, as a moving camera makes it, normals."""
    task = PhotosTask.open(scenes.photos("lego"), {})
    field = _trained(task, QUICK_FRAME_SECONDS if effort.quick else FRAME_SECONDS)
    posed = task.dataset.images[task.dataset.test[3]]
    camera = photo_camera(posed, WIDTH / HEIGHT).resized(WIDTH, HEIGHT)
    near = replace(camera, fov_y_radians=NEAR * camera.fov_y_radians)
    pictures = {
        "lego_320x180": (camera, FieldView()),
        "lego_near_320x180": (near, FieldView()),
        "lego_near_320x180_quick": (near, FieldView(quick=True)),
        "lego_near_320x180_normals": (near, FieldView(normals=True)),
    }
    for name, (seen_by, view) in pictures.items():
        directions = torch.from_numpy(pixel_directions(seen_by, (0, 0, WIDTH, HEIGHT)).astype(np.float32))
        origins = torch.from_numpy(seen_by.position.astype(np.float32)).expand_as(directions).contiguous()

        def draw(o=origins, d=directions, v=view) -> RenderedRays:
            return field.render(o, d, view=v)

        seconds = best_of_blocks(lambda: timed(draw), effort)
        yield milliseconds(f"fields/frame/{name}_ms", 1e3 * seconds)
        samples = int(draw().counts.sum())
        yield Metric(f"fields/frame/{name}_ns_per_sample", 1e9 * seconds / samples, "ns", "lower", TIME_TOLERANCE)


def _trained(task: PhotosTask, seconds: float) -> HashGridField:
    for step in task.train():
        if step.seconds >= seconds:
            return step.snapshot()
    raise AssertionError("a trainer's steps have no end of their own")
