"""A run once more beside the first, with other settings or from where it is: only its data is shared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from h3d.app.homes import home_of
from h3d.models.training import Step, Task
from h3d.models.training.edits import EVENT, RowEdit, edit_to_json
from h3d.models.training.settings import again, changes_text, differing, values_of

from .optimisation import Optimisation
from .run import Change, Run


def begin_beside(optimisation: Optimisation, key: int, changes: Mapping[str, Any], *, running: bool = True) -> int:
    """Start the task of a run again with some settings at other values. Returns the key of the new run.

    Its name says what is different. Data is held once for both, where both want the same of it.

    Raises:
        KeyError: there is no such run, or no such setting.
        ValueError: a value that the config cannot have, or data that cannot be read any more; one sentence.
    """
    first = optimisation.task(key)
    task = again(first, changes)
    made = {name: new for name, (_, new) in differing(values_of(first.config), values_of(task.config)).items()}
    name = f"{first.name} ({changes_text(made) or 'again'})"
    return optimisation.begin(task, name=name, home=home_of(task), running=running, data=optimisation.data(key))


def go_on_beside(optimisation: Optimisation, key: int, name: str, edit: RowEdit) -> int:
    """Let a second run go on from where one is, its rows edited after their first step. Returns the key of the new run.

    Raises:
        KeyError: there is no such run.
        ValueError: no step has been made yet.
        OSError: there is no room for a checkpoint.
    """
    # Given up to the iterator, which reads the checkpoint when its first step is asked for.
    folder = tempfile.TemporaryDirectory(prefix="h3d-beside-")
    path = Path(folder.name) / "checkpoint.safetensors"

    def keep(run: Run) -> list[Change]:
        if run.step is None:
            raise ValueError(f"{run.name}: no step has been made yet; wait for the first")
        run.step.checkpoint(path)
        return [*run.log, (run.step.step + 1, EVENT, edit_to_json(edit))]

    try:
        log = optimisation.between_steps(key, keep)
    except BaseException:
        folder.cleanup()
        raise
    task = optimisation.task(key)
    steps = _edited(task, path, folder, edit)
    data = optimisation.data(key)
    return optimisation.begin(task, name=name, home=home_of(task), data=data, steps=steps, log=log)


def _edited(
    task: Task[Any], path: Path, folder: tempfile.TemporaryDirectory[str], edit: RowEdit
) -> Iterator[Step[Any]]:
    steps = task.train(resume=path)
    try:
        first = next(steps)
    finally:
        folder.cleanup()
    first.live.edit(edit)
    yield first
    yield from steps
