"""Writes a run into its folder as it goes: rows of metrics, events, checkpoints now and then, what was learnt.

The command line and the viewer record with the same code, so that either can go on with a run of the other. A disk
that is full does not end the training: what could not be written is owed and tried again, lines with the next line,
the checkpoint after the next interval; `problem` says so meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from h3d.models import formats
from h3d.models.gaussians import Gaussians
from h3d.models.training import Judgement, Step, Task
from h3d.models.training.checkpoints import progress_of

from .run_folder import RunFolder

METRICS_INTERVAL = 50  # steps
AUTOSAVE_SECONDS = 30.0
SAVE_SHARE = 0.05
"""Of the time, what checkpoints may take at most: on a slow disk they are written less often."""


class Recorder:
    """Of one run. Nothing is written before `begin` or `go_on`."""

    def __init__(self, folder: RunFolder, task: Task[Any], *, autosave_seconds: float = AUTOSAVE_SECONDS) -> None:
        self.folder, self.task, self.autosave_seconds = folder, task, autosave_seconds
        self._owed: list[Callable[[], None]] = []  # lines of the logs, in order
        self._problems: dict[str, str] = {}  # by what could not be written
        self._saved, self._save_took = time.monotonic(), 0.0
        self._saved_step = -1

    @property
    def problem(self) -> str:
        """What could not be written lately, and why; empty when nothing is owed."""
        return "; ".join(self._problems.values())

    def begin(self, data: Path | None, **asked: Any) -> None:
        """A new run; `asked` is what config.json holds besides data (None = words), model and training.

        Raises:
            ValueError: the folder holds a run already, or is a file.
        """
        where = None if data is None else str(data.resolve())
        config = {"data": where, "model": self.task.model, **asked, "training": asdict(self.task.config)}
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
        self._line(partial(self.folder.add_event, step, name, **details))

    def did(self, step: Step[Any], name: str, **details: Any) -> None:
        """Note what a person did to what is learnt, after a step.

        A checkpoint of the same step is written again: whoever goes on from it has all that the log says.
        """
        self.event(step.step, name, **details)
        if step.step == self._saved_step:
            self.save(step)

    def record(self, step: Step[Any], found: Judgement | None = None, *, autosave: bool = True) -> bool:
        """After every step: a row at intervals and with every judgement, what the trainer notes as events, a
        checkpoint when the last is old enough.

        Returns whether there was a row to write.
        """
        for name, details in step.noted.items():
            self.event(step.step, name, **details)
        due = found is not None or step.step % METRICS_INTERVAL == 0
        if due:
            row = {"step": step.step, "seconds": f"{step.seconds:.3f}", "loss": f"{step.loss:.6g}"}
            row |= {"rays": step.rays, "samples": step.samples, "count": step.count or ""}
            row |= {} if found is None else {name: f"{value:.6g}" for name, value in found.metrics.items()}
            self._line(partial(self.folder.add_metrics, row))
        if step.problem:
            self.event(step.step, "problem", what=step.problem)
        if autosave and time.monotonic() - self._saved > max(self.autosave_seconds, self._save_took / SAVE_SHARE):
            self.save(step)
        return due

    def save(self, step: Step[Any]) -> None:
        """Write the checkpoint."""
        began = time.monotonic()
        self._attempt("the checkpoint", lambda: self._checkpoint(step))
        # Whether or not it could be: the next is due after another interval.
        self._saved = time.monotonic()
        self._save_took = self._saved - began

    def leave(self, asset: Any, found: Judgement | None = None, *, final: bool = False) -> None:
        """Leave what was learnt in the folder, and a picture of how it does; `final` = as a small file too."""
        self._attempt("what was learnt", lambda: self._leave(asset, found, final))

    def finish(self) -> None:
        """To be called at the end. Raises: OSError when something could not be written."""
        self._attempt("the logs", self._settle)
        if self.problem:
            raise OSError(f"{self.folder.path}: {self.problem}")

    def _checkpoint(self, step: Step[Any]) -> None:
        step.checkpoint(self.folder.checkpoint)
        self._saved_step = step.step

    def _leave(self, asset: Any, found: Judgement | None, final: bool) -> None:
        if isinstance(asset, Gaussians):
            formats.write(self.folder.splats, asset)
            if final:
                formats.write(self.folder.compact_splats, asset)
        else:
            asset.save(self.folder.field)
        if found is not None and found.picture is not None:
            self.folder.write_test_picture(found.picture)

    def _line(self, write: Callable[[], None]) -> None:
        self._owed.append(write)
        self._attempt("the logs", self._settle)

    def _settle(self) -> None:
        while self._owed:
            self._owed[0]()
            self._owed.pop(0)

    def _attempt(self, what: str, write: Callable[[], None]) -> None:
        """Write something; a disk that has no room for it now may have some later."""
        try:
            write()
        except OSError as error:
            # Without the path: temporary files have another name each time, and this is to be said once.
            self._problems[what] = f"{what} could not be written, to be tried again: {error.strerror or error}"
        else:
            self._problems.pop(what, None)
