"""Hash-grid fields: how well photos are learnt over time, what a picture costs, and what looking on costs training.

The photos are real ones from H3D_DATA; the times are those of training alone, judging left out.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from h3d.app.guard import start_guarded_server
from h3d.app.homes import photo_camera
from h3d.app.session import Settings
from h3d.app.sources import open_source
from h3d.app.viewer import Viewer
from h3d.app.viser_client.client import ViserClient
from h3d.app.viser_client.view import View
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.workspace import Workspace
from h3d.models.field_view import FieldView
from h3d.models.hash_grid import HashGridField
from h3d.models.training.photos import PhotosTask
from h3d.renderers.cameras import pixel_directions
from h3d.renderers.fields import RenderedRays

from .metrics import TIME_TOLERANCE, Effort, Metric, Skipped, best_of_blocks, milliseconds, quantile, timed

PSNR_TOLERANCE = 0.03
CURVES = {"lego": (1, 2, 5, 10, 20), "fox": (1, 2, 5, 10)}  # minutes
QUICK_MINUTES = 0.33
FRAME_SECONDS, QUICK_FRAME_SECONDS = 60.0, 15.0
WIDTH, HEIGHT = 320, 180
NEAR = 0.6  # of the photo's field of view: the object fills the picture
REST_SECONDS = 0.7  # between two moves, so that each meets a viewer that shows the training
FIRST_STEPS = 400  # of a run before it is watched: the first pictures are fog


def curves(effort: Effort) -> Iterator[Metric]:
    """PSNR over the test photos after minutes of training."""
    for name, minutes in CURVES.items():
        task = PhotosTask.open(_data(name), {})
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
    task = PhotosTask.open(_data("lego"), {})
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


def watched(effort: Effort) -> Iterator[Metric]:
    """A run that is looked at: the share of its speed that it keeps, pictures of it a second, a move to its picture."""
    folder = _data("lego")
    workspace = Workspace()
    optimisation = Optimisation(workspace)
    guarded = start_guarded_server(port=0)
    viewer = Viewer(guarded.viser, workspace, optimisation, AllowedFolders.given([folder]), Settings())
    try:
        open_source(folder, workspace, optimisation)
        _wait_for_steps(optimisation, FIRST_STEPS)
        alone, _ = _speed(optimisation, None, effort.seconds)
        with ViserClient(guarded.url, View(width=640, height=360)) as tab:
            tab.wait_until(lambda page: page.pointer_modifiers, "the panels were not made", 60.0)
            _speed(optimisation, tab, 2.0)
            kept, pictures = _speed(optimisation, tab, effort.seconds)
            yield Metric("viewer/training/kept_speed", kept / alone, "of 1", "higher", 0.4)
            yield Metric("viewer/training/pictures_per_second", pictures, "1/s", "higher", 1.0)
            moves = [_move(tab, index) for index in range(max(effort.moves // 3, 10))]
        yield milliseconds("viewer/training/move_to_picture_ms", 1e3 * statistics.median(moves))
        yield milliseconds("viewer/training/move_to_picture_p95_ms", 1e3 * quantile(moves, 0.95))
    finally:
        viewer.close()
        optimisation.close()
        guarded.stop()


def _data(name: str) -> Path:
    root = os.environ.get("H3D_DATA")
    folder = Path(root or "") / name
    if root is None or not folder.is_dir():
        raise Skipped(f"no photos of {name}; name a folder that has them in H3D_DATA")
    return folder


def _trained(task: PhotosTask, seconds: float) -> HashGridField:
    for step in task.train():
        if step.seconds >= seconds:
            return step.snapshot()
    raise AssertionError("a trainer's steps have no end of their own")


def _step(optimisation: Optimisation) -> int:
    (status,) = optimisation.statuses()
    return status.step


def _wait_for_steps(optimisation: Optimisation, steps: int) -> None:
    while _step(optimisation) < steps:
        (status,) = optimisation.statuses()
        if status.state != "running":
            raise Skipped(f"the run has {status.state}: {status.problem}")
        time.sleep(0.1)


def _speed(optimisation: Optimisation, tab: ViserClient | None, seconds: float) -> tuple[float, float]:
    """Steps and pictures a second."""
    first, began, pictures = _step(optimisation), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        if tab is None:
            time.sleep(0.05)
            continue
        try:
            tab.next_background(timeout=0.5)
            pictures += 1
        except TimeoutError:
            continue
    passed = time.monotonic() - began
    return (_step(optimisation) - first) / passed, pictures / passed


def _move(tab: ViserClient, index: int) -> float:
    """Seconds from a move of the camera to the next picture."""
    time.sleep(REST_SECONDS)
    tab.forget_pictures()
    angle = 0.1 * index
    began = time.perf_counter()
    tab.move_camera(position=np.array([3.5 * np.cos(angle), 3.5 * np.sin(angle), 1.5]))
    tab.next_background(timeout=30.0)
    return time.perf_counter() - began
