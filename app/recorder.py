"""Writes a run into its folder as it goes: rows of metrics, events, checkpoints now and then, what was learnt.

The command line and the viewer record with the same code, so that either can go on with a run of the other.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from h3d.models import formats
from h3d.models.gaussians import Gaussians
from h3d.models.training import Judgement, Step, Task
from h3d.models.training.checkpoints import progress_of

from .run_folder import RunFolder

METRICS_INTERVAL = 50  # steps
AUTOSAVE_SECONDS = 30.0


class Recorder:
    """Of one run. Nothing is written before `begin` or `go_on`."""

    def __init__(self, folder: RunFolder, task: Task[Any]) -> None:
        self.folder, self.task = folder, task
        self._saved = time.monotonic()
        self._saved_step = -1

    def begin(self, data: Path, **asked: Any) -> None:
        """A new run; `asked` is what config.json holds besides data, model and training.

        Raises:
            ValueError: the folder holds a run already, or is a file.
        """
        config = {"data": str(data.resolve()), "model": self.task.model, **asked, "training": asdict(self.task.config)}
        self.folder.begin(config, self.task.metrics)

    def go_on(self) -> Path | None:
        """Cut the logs back to the checkpoint and return it; None where the run was ended before its first."""
        checkpoint = self.folder.checkpoint
        if not checkpoint.exists():
            self.folder.cut_back(0)
            return None
        self._saved_step = progress_of(checkpoint).step
        self.folder.cut_back(self._saved_step)
        return checkpoint

    def event(self, step: int, name: str, **details: Any) -> None:
        """Note what happened to the run."""
        self.folder.add_event(step, name, **details)

    def did(self, step: Step[Any], name: str, **details: Any) -> None:
        """Note what a person did to what is learnt, after a step.

        A checkpoint of the same step is written again: whoever goes on from it has all that the log says.
        """
        self.event(step.step, name, **details)
        if step.step == self._saved_step:
            self.save(step)

    def record(self, step: Step[Any], found: Judgement | None = None) -> bool:
        """After every step: a row at intervals and with every judgement, what the trainer notes as events, a
        checkpoint when the last is old enough.

        Returns whether a row was written.
        """
        for name, details in step.noted.items():
            self.event(step.step, name, **details)
        due = found is not None or step.step % METRICS_INTERVAL == 0
        if due:
            row = {"step": step.step, "seconds": f"{step.seconds:.3f}", "loss": f"{step.loss:.6g}"}
            row |= {"rays": step.rays, "samples": step.samples, "count": step.count or ""}
            row |= {} if found is None else {name: f"{value:.6g}" for name, value in found.metrics.items()}
            self.folder.add_metrics(row)
        if time.monotonic() - self._saved > AUTOSAVE_SECONDS:
            self.save(step)
        return due

    def save(self, step: Step[Any]) -> None:
        """Write the checkpoint."""
        step.checkpoint(self.folder.checkpoint)
        self._saved, self._saved_step = time.monotonic(), step.step

    def leave(self, asset: Any, found: Judgement | None = None) -> None:
        """Leave what was learnt in the folder, and a picture of how it does."""
        if isinstance(asset, Gaussians):
            formats.write(self.folder.splats, asset)
        else:
            asset.save(self.folder.field)
        if found is not None and found.picture is not None:
            self.folder.write_test_picture(found.picture)
