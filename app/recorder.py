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
        self.folder.cut_back(progress_of(checkpoint).step if checkpoint.exists() else 0)
        return checkpoint if checkpoint.exists() else None

    def event(self, step: int, name: str, **details: Any) -> None:
        """Note what a person or the program did with the run."""
        self.folder.add_event(step, name, **details)

    def record(self, step: Step[Any], found: Judgement | None = None) -> bool:
        """After every step: a row at intervals and with every judgement, a checkpoint when the last is old enough.

        Returns whether a row was written.
        """
        due = found is not None or step.step % METRICS_INTERVAL == 0
        if due:
            row = {"step": step.step, "seconds": f"{step.seconds:.3f}", "loss": f"{step.loss:.6g}"}
            row |= {"rays": step.rays, "samples": step.samples}
            row |= {} if found is None else {name: f"{value:.6g}" for name, value in found.metrics.items()}
            self.folder.add_metrics(row)
        if time.monotonic() - self._saved > AUTOSAVE_SECONDS:
            self.save(step)
        return due

    def save(self, step: Step[Any]) -> None:
        """Write the checkpoint."""
        step.checkpoint(self.folder.checkpoint)
        self._saved = time.monotonic()

    def leave(self, asset: Any, found: Judgement | None = None) -> None:
        """Leave what was learnt in the folder, and a picture of how it does."""
        if isinstance(asset, Gaussians):
            formats.write(self.folder.splats, asset)
        else:
            asset.save(self.folder.field)
        if found is not None and found.picture is not None:
            self.folder.write_test_picture(found.picture)
