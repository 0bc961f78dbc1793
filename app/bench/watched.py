"""How training and looking share the machine: what an open page costs a run, and how soon a move of the camera is seen.

A page that stands still is measured in turns with no page at all, within one run: a machine that others share, and a
run whose steps get dearer as it goes, weigh on both. Photos are lego's, 400 x 400 pixels, from H3D_DATA.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3d.app.guard import start_guarded_server
from h3d.app.session import Settings
from h3d.app.sources import open_source
from h3d.app.viewer import Viewer
from h3d.app.viser_client.client import ViserClient
from h3d.app.viser_client.view import View
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.workspace import Workspace
from h3d.models.training.tasks import Model

from . import scenes
from .metrics import Effort, Metric, Skipped, milliseconds, quantile

REST_SECONDS = 0.7  # between two moves, so that each meets a viewer that shows the training
FIRST_STEPS = 400  # of a run before it is watched: the first pictures of a field are fog
BLOCK_SECONDS = 3.0  # at least, of each turn with and without a page
PANELS_SECONDS = 60.0


def fields(effort: Effort) -> Iterator[Metric]:
    """Of a hash grid."""
    yield from _watched("viewer/training", "hash_grid", effort)


def gaussians(effort: Effort) -> Iterator[Metric]:
    """Of Gaussians."""
    yield from _watched("viewer/gaussian_training", "gaussians", effort)


def _watched(prefix: str, model: Model, effort: Effort) -> Iterator[Metric]:
    """The share of its speed that a run keeps, pictures of it a second, and a move to its picture."""
    with _training(scenes.photos("lego"), model) as run:
        blocks, seconds = max(effort.blocks, 3), max(effort.seconds, BLOCK_SECONDS)
        alone, kept, pictures = [run.speed(None, seconds)[0]], [], []
        for _ in range(blocks):
            with run.tab() as tab:
                speed, shown = run.speed(tab, seconds)
            alone.append(run.speed(None, seconds)[0])
            kept.append(speed / (0.5 * (alone[-2] + alone[-1])))
            pictures.append(shown)
        yield Metric(f"{prefix}/steps_per_second_alone", statistics.median(alone), "1/s", "higher", 1.0)
        yield Metric(f"{prefix}/kept_speed", statistics.median(kept), "of 1", "higher", 0.25)
        yield Metric(f"{prefix}/pictures_per_second", statistics.median(pictures), "1/s", "higher", 1.0)
        with run.tab() as tab:
            run.speed(tab, REST_SECONDS)
            moves = [_move(tab, index) for index in range(max(effort.moves, 20))]
        yield milliseconds(f"{prefix}/move_to_picture_ms", 1e3 * statistics.median(moves))
        yield milliseconds(f"{prefix}/move_to_picture_p95_ms", 1e3 * quantile(moves, 0.95))


@dataclass(frozen=True)
class _Training:
    """One run under way, and the address of its page."""

    optimisation: Optimisation
    url: str

    @contextmanager
    def tab(self) -> Iterator[ViserClient]:
        """A page that is complete and stands still."""
        with ViserClient(self.url, View(width=640, height=360)) as tab:
            tab.wait_until(lambda page: page.pointer_modifiers, "the panels were not made", PANELS_SECONDS)
            self.speed(tab, REST_SECONDS)
            yield tab

    def speed(self, tab: ViserClient | None, seconds: float) -> tuple[float, float]:
        """Steps and pictures a second of the wall's clock."""
        first, began, pictures = self.step(), time.monotonic(), 0
        while (left := began + seconds - time.monotonic()) > 0:
            if tab is None:
                time.sleep(left)
                continue
            try:
                tab.next_background(timeout=left)
                pictures += 1
            except TimeoutError:
                continue
        passed = time.monotonic() - began
        return (self.step() - first) / passed, pictures / passed

    def step(self) -> int:
        """How far it is. Raises: Skipped where it has ended."""
        (status,) = self.optimisation.statuses()
        if status.state != "running":
            raise Skipped(f"the run has {status.state}: {status.problem}")
        return status.step


@contextmanager
def _training(folder: Path, model: Model) -> Iterator[_Training]:
    """A viewer whose run has made its first steps."""
    workspace = Workspace()
    optimisation = Optimisation(workspace)
    guarded = start_guarded_server(port=0)
    viewer = Viewer(guarded.viser, workspace, optimisation, AllowedFolders.given([folder]), Settings())
    try:
        open_source(folder, workspace, optimisation, model)
        run = _Training(optimisation, guarded.url)
        while run.step() < FIRST_STEPS:
            time.sleep(0.1)
        yield run
    finally:
        viewer.close()
        optimisation.close()
        guarded.stop()


def _move(tab: ViserClient, index: int) -> float:
    """Seconds from a move of the camera to the next picture."""
    time.sleep(REST_SECONDS)
    tab.forget_pictures()
    angle = 0.1 * index
    began = time.perf_counter()
    tab.move_camera(position=np.array([3.5 * np.cos(angle), 3.5 * np.sin(angle), 1.5]))
    tab.next_background(timeout=30.0)
    return time.perf_counter() - began
