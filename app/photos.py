"""The photos that runs learn from, for one tab: as fields to compare with, and how well a run shows each."""

from __future__ import annotations

from dataclasses import replace

from h3d.models.gaussians import Gaussians
from h3d.models.hash_grid import HashGridField
from h3d.models.photo_field import PhotoField
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.photos import PhotosTask
from h3d.renderers import CancelFlag

from .workspace.comparing import PhotoShown
from .workspace.optimisation import Optimisation
from .workspace.workspace import Workspace

PhotoTask = PhotosTask | GaussiansTask
"""Those that learn from photos."""


class Photos:
    """Photos by run and index; the last one is kept, since a picture asks for it again and again."""

    def __init__(self, workspace: Workspace, optimisation: Optimisation) -> None:
        self._workspace, self._optimisation = workspace, optimisation
        self._last: tuple[PhotoShown, PhotoField] | None = None

    def task(self, run: int) -> PhotoTask | None:
        """The task of a run that learns from photos."""
        try:
            task = self._optimisation.task(run)
        except KeyError:
            return None
        return task if isinstance(task, PhotoTask) else None

    def field(self, shown: PhotoShown) -> PhotoField | None:
        """The photo as a field, at the size that the run sees; None when the run is gone."""
        if self._last is not None and self._last[0] == shown:
            return self._last[1]
        task = self.task(shown.run)
        if task is None or not 0 <= shown.index < len(task.dataset):
            return None
        opacity = shown.overlay if shown.overlay > 0.0 else 1.0
        found = PhotoField(task.dataset.images[shown.index], task.downscale, opacity, task.dataset.path)
        self._last = (replace(shown), found)
        return found

    def judged(self, shown: PhotoShown, cancel: CancelFlag) -> str:
        """PSNR and SSIM of the run's layer against the photo, through its own lens, as a sentence."""
        task = self.task(shown.run)
        layer = next((x for x in self._workspace.layers if x.run == shown.run), None)
        if isinstance(task, PhotosTask) and layer is not None and isinstance(layer.asset, HashGridField):
            one = task.judge_photo(layer.asset, shown.index, cancel=cancel)
        elif isinstance(task, GaussiansTask) and layer is not None and isinstance(layer.asset, Gaussians):
            one = task.judge_photo(layer.asset, shown.index, cancel=cancel)
        else:
            return "There is nothing to compare the photo with yet."
        split = "test" if shown.index in task.dataset.test else "training"
        height, width = one.photo.shape[:2]
        ssim = "" if one.ssim is None else f", SSIM {one.ssim:.4f}"
        name = task.dataset.images[shown.index].path.name
        return f"{name} ({split}): PSNR {one.psnr:.2f} dB{ssim} over all its {width} x {height} pixels, {task.lens}."
