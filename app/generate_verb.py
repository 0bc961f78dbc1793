"""`h3d generate`: a picture or words in, 3D out, through the same trainer as the viewer's.

Beside what every run leaves, its folder then holds the mesh of what was made (mesh.glb), the cache's cells (cache.csv)
and a figure of them (cache.pdf).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from h3d.models.training import Judgement, Progress, Task
from h3d.models.training.tasks import open_task

from .distill_flags import DistillFlags
from .recorder import AUTOSAVE_SECONDS
from .replay import Recording, read_recording
from .run_folder import RunFolder
from .run_to_the_end import Asked, RunToTheEnd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateConfig:
    """Make 3D from a picture of something cut out, or from words."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run."""
    image: Path | None = None
    """Square picture with transparency, the object in its middle."""
    prompt: str | None = None
    """What to make, or what the picture shows."""
    model: Literal["gaussians", "hash_grid"] = "gaussians"
    """What to make of it."""
    steps: int | None = None
    """Steps of the run, over which its schedules go; none = the preset's."""
    seed: int = 0
    """Of everything random: the same seed gives the same run."""
    distill: tyro.conf.OmitArgPrefixes[DistillFlags] = DistillFlags()
    evaluate_minutes: float | None = None
    """Evaluate each time this much training is done, beside the end."""
    autosave_seconds: float = AUTOSAVE_SECONDS
    """A checkpoint is written this often."""
    resume: bool = False
    """Go on with the run in the folder; all but --steps stays as it was."""
    replay: Path | None = None
    """Folder of a run to do again: begun as it was, changed as it was after the same steps."""


def generate(config: GenerateConfig, *, progress: Progress) -> Judgement:
    """Does what `h3d generate` was asked for; returns how good it has become.

    Raises:
        ValueError: a flag, the picture or the run folder is wrong (FormatError and WeightsError are ValueErrors).
        OSError: a file cannot be read or written.
        RuntimeError: the run went astray.
    """
    if config.steps is not None and config.steps < 1:
        raise ValueError(f"--steps {config.steps}: must be 1 or more")
    folder = RunFolder(config.output)
    task, data, recording = _reopened(folder) if config.resume else _opened(config)
    for sentence in task.remarks:
        log.warning("%s: %s", task.name, sentence)
    asked = Asked(
        data,
        config.steps,
        evaluate_minutes=config.evaluate_minutes,
        autosave_seconds=config.autosave_seconds,
        default_steps=task.config.steps,
    )
    session = RunToTheEnd(asked, task, folder, progress, recording)
    session.begin(resume=config.resume)
    found, step = session.run()
    _leave(folder, step.snapshot(), step.live.cache(), progress)
    return found


Opened = tuple[Task[Any], Path | None, Recording | None]
"""A task, what it is made of (None = words), and the run that it does again."""


def _opened(config: GenerateConfig) -> Opened:
    if config.replay is not None:
        if config.image is not None or config.prompt is not None:
            raise ValueError("--replay with --image or --prompt: a replay has those of its run; leave them out")
        recording = read_recording(config.replay)
        return open_task(recording.data, _model_of(recording.model), recording.settings), recording.data, recording
    if config.image is None and config.prompt is None:
        raise ValueError("h3d generate: neither a picture nor words; give --image FILE or --prompt TEXT")
    settings = config.distill.settings(
        field=config.model == "hash_grid", seed=config.seed, steps=config.steps, prompt=config.prompt
    )
    return open_task(config.image, config.model, settings), config.image, None


def _reopened(folder: RunFolder) -> Opened:
    stored = folder.reopen()
    recording = read_recording(Path(stored["replay"])) if "replay" in stored else None
    try:
        data = None if stored["data"] is None else Path(stored["data"])
        return open_task(data, _model_of(stored["model"]), stored["training"]), data, recording
    except (KeyError, TypeError) as error:
        rule = f"{folder.path}: config.json does not fit this version ({error!r})"
        raise ValueError(f"{rule}; start the run anew elsewhere") from error


def _model_of(name: str) -> Literal["gaussians", "hash_grid"]:
    if name not in ("gaussians", "hash_grid"):
        raise ValueError(f"a run of {name} is not one of h3d generate; go on with it by h3d train")
    return "gaussians" if name == "gaussians" else "hash_grid"


def _leave(folder: RunFolder, asset: Any, cache: Any, progress: Progress) -> None:
    """What this verb writes at the end, beside what every run does."""
    from h3d.models import meshes
    from h3d.models.meshing import MeshingOptions, isosurface

    from .figures.cache_sphere import write_csv, write_figure

    if cache is not None:
        write_csv(folder.path / "cache.csv", cache)
        write_figure(folder.path / "cache.pdf", cache)
    try:
        mesh = isosurface(asset, MeshingOptions(resolution=128, largest_component=True))
    except ValueError as error:
        log.warning("no mesh: %s", error)
        return
    meshes.write(folder.path / "mesh.glb", mesh)
    progress(f"mesh.glb: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces")
