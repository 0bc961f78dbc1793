"""What a path is to the viewer: a scene to show, data to learn from, or a run to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3d.models.gaussians import Gaussians
from h3d.models.training import Progress
from h3d.models.training.tasks import Model, model_for, open_task

from .homes import home_of
from .recorder import Recorder
from .run_folder import RunFolder
from .workspace.optimisation import Optimisation
from .workspace.scene import kind_of
from .workspace.workspace import Workspace


@dataclass(frozen=True)
class Opened:
    """What came of a path: a layer, or a run whose layer appears with its first step."""

    sentence: str  # what there is, for a person
    layer: int | None = None
    run: int | None = None


def open_source(
    path: Path,
    workspace: Workspace,
    optimisation: Optimisation,
    model: Model | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    running: bool = True,
    progress: Progress | None = None,
) -> Opened:
    """Show a scene file, or learn from data; a `model` says what to learn. A run folder goes on, at first paused.

    `settings` are fields of the task's config, where it has them. `progress` is told how far it is where opening takes
    a while.

    Raises:
        ValueError: it is none of these, or damaged (FormatError and DatasetError are ValueErrors).
        OSError: it cannot be read.
    """
    path = path.expanduser()
    folder = RunFolder(path)
    if model is None and path.is_dir() and folder.config.is_file() and folder.metrics.is_file():
        return _open_run(folder, workspace, optimisation, progress)
    if model is not None or model_for(path) is not None:
        task = open_task(path, model, settings, progress=progress)
        key = optimisation.begin(task, home=home_of(task), running=running, data=path)
        if workspace.recent is not None:
            workspace.recent.add(path)
        remarks = "".join(f"; {remark}" for remark in task.remarks)
        return Opened(f"{task.name}: learning {task.model}{remarks}", run=key)
    layer = workspace.open(path)
    asset = layer.asset
    kind = f"{len(asset):,} Gaussians" if isinstance(asset, Gaussians) else kind_of(asset)
    return Opened(f"{layer.name}: {kind}{f'; {asset.remark}' if asset.remark else ''}", layer=layer.key)


def open_prompt(
    prompt: str,
    optimisation: Optimisation,
    model: Model | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    running: bool = True,
) -> Opened:
    """Make 3D of words. Raises: ValueError where they are empty, or the model cannot be made of words."""
    task = open_task(None, model, {**(settings or {}), "prompt": prompt})
    key = optimisation.begin(task, home=home_of(task), running=running)
    return Opened(f"{task.name}: making {task.model} of it", run=key)


def _open_run(folder: RunFolder, workspace: Workspace, optimisation: Optimisation, progress: Progress | None) -> Opened:
    """Go on with a run of `h3d train`; without its data or checkpoint, show what it left."""
    stored = folder.reopen()
    try:
        data = None if stored["data"] is None else Path(stored["data"])
        if not ((data is None or data.exists()) and folder.checkpoint.is_file()):
            layer = workspace.open(folder.splats if folder.splats.is_file() else folder.field)
            return Opened(f"{layer.name}: the run's data or checkpoint is gone, it cannot go on", layer=layer.key)
        task = open_task(data, stored["model"], stored["training"], progress=progress)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder.config}: it does not fit this version ({error!r}); open the field in it") from error
    recorder = Recorder(folder, task)
    key = optimisation.begin(
        task,
        name=folder.path.name,
        home=home_of(task),
        resume=recorder.go_on(),
        running=False,
        recorder=recorder,
        data=data,
    )
    return Opened(f"{folder.path.name}: a run of {task.name}, paused", run=key)
