"""`h3d train`: data in, a run folder out, through the same trainers as the viewer's."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from h3d.models.density import ContinuousPruning
from h3d.models.training import Judgement, Progress, Task
from h3d.models.training.compensating import CompensationTraining
from h3d.models.training.hash_grid import Background
from h3d.models.training.tasks import Model, models_text, open_task

from .recorder import AUTOSAVE_SECONDS
from .replay import Recording, read_recording
from .run_folder import RunFolder
from .run_to_the_end import Asked, RunToTheEnd

SETTINGS = (
    "seed",
    "downscale",
    "background",
    "log2_table_size",
    "refine_cameras",
    "exposure",
    "backend",
    "strategy",
    "cap",
    "pruning",
    "compensation",
)
"""Flags that are fields of a task's config, where it has them."""

log = logging.getLogger(__name__)


def _silent(sentence: str) -> None:
    """For callers that show no progress."""


SILENTLY = nullcontext(_silent)


@dataclass(frozen=True)
class TrainConfig:
    """Train a scene from its data."""

    data: tyro.conf.Positional[Path]
    """Folder or transforms.json of a data set (instant-ngp, Blender, nerfstudio or COLMAP), a mesh, a picture, or
    a scene to path-trace."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run."""
    model: Annotated[Model | None, tyro.conf.arg(help=f"{models_text()}; none = what the data is for.")] = None
    steps: int | None = None
    """Stop after this many steps; none = 5000, or as many as --minutes allows."""
    minutes: float | None = None
    """Stop after this much training; evaluating and saving do not count."""
    seed: int | None = None
    """Of everything random, 0 if not given: the same seed gives the same run."""
    downscale: Literal["auto", "1", "2", "4", "8"] = "auto"
    """Photos are reduced by this factor; auto = the longest side is at most 640 pixels."""
    background: Background | None = None
    """Behind transparent pixels while training; the field is judged on white, after training on black on black."""
    log2_table_size: int | None = None
    """Entries of a level of the hash table, as a power of two: more is sharper in the end, and slower."""
    refine_cameras: bool | None = None
    """Move the cameras of the photos as well, for poses that are not exact; slower."""
    exposure: bool | None = None
    """Learn an affine map of colours for each photo, for exposures that differ (Gaussians)."""
    backend: Literal["auto", "cpu", "cuda"] | None = None
    """Where a radiance field or Gaussians are trained, the CPU if not given; cuda needs torch with CUDA, and Triton
    for fields."""
    strategy: Literal["default", "mcmc"] | None = None
    """How Gaussians are added and removed: as 3DGS does (default), or as MCMC does."""
    cap: int | None = None
    """Gaussians at most."""
    pruning: ContinuousPruning = ContinuousPruning()
    """Of Gaussians, while they are learnt."""
    compensation: CompensationTraining = CompensationTraining()
    """Of pictures of Gaussians."""
    evaluate_minutes: float | None = None
    """Evaluate each time this much training is done, beside the end."""
    autosave_seconds: float = AUTOSAVE_SECONDS
    """A checkpoint is written this often: what a killed run loses at most. Less often on a disk so slow that it would
    take more than a twentieth of the time."""
    resume: bool = False
    """Go on with the run in the folder; what was set for its start (data aside) stays as it was."""
    replay: Path | None = None
    """Folder of a run to do again: begun as it was, changed as it was after the same steps, up to the step where it
    is or --steps. On the same data, backend and number of threads the same comes out, bit for bit."""


def train(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    opening: AbstractContextManager[Progress] = SILENTLY,
) -> Judgement:
    """Does what `h3d train` was asked for; returns how good it has become.

    `progress` is told of the training, `opening` of how far its data is read, and ends with that.

    Raises:
        ValueError: a flag, the data or the run folder is wrong (DatasetError and FormatError are ValueErrors).
        OSError: a file cannot be read or written.
        RuntimeError: the training went astray.
    """
    _check(config)
    run, recording = RunFolder(config.output), None
    if config.replay is not None:
        recording = read_recording(config.replay)
        _check_alike(config, recording)
    with opening as told:
        if config.resume:
            stored = run.reopen()
            if "replay" in stored:  # Then going on is replaying the rest.
                recording = read_recording(Path(stored["replay"]))
            task = _as_a_run_began(config, run, stored.get("model"), stored.get("training"), told)
        elif recording is not None:
            task = _as_a_run_began(config, recording.folder, recording.model, recording.settings, told)
        else:
            wanted = {name: getattr(config, name) for name in SETTINGS}
            wanted["downscale"] = config.downscale if config.downscale == "auto" else int(config.downscale)
            task = open_task(config.data, config.model, wanted, progress=told)
            if config.backend == "cuda" and not hasattr(task.config, "backend"):
                raise ValueError(f"--backend cuda: {task.model} is learnt on the CPU alone; leave the flag out")
    for sentence in task.remarks:
        log.warning("%s: %s", task.name, sentence)
    asked = Asked(config.data, config.steps, config.minutes, config.evaluate_minutes, config.autosave_seconds)
    session = RunToTheEnd(asked, task, run, progress or _silent, recording)
    session.begin(resume=config.resume)
    return session.run()[0]


def _check(config: TrainConfig) -> None:
    if config.steps is not None and config.steps < 1:
        raise ValueError(f"--steps {config.steps}: must be 1 or more")
    for name in ("minutes", "evaluate_minutes"):
        value = getattr(config, name)
        if value is not None and not 0.0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be above 0")
    if not config.autosave_seconds >= 0.0:
        raise ValueError(f"--autosave-seconds {config.autosave_seconds}: must be 0 or more")
    if config.log2_table_size is not None and not 8 <= config.log2_table_size <= 24:
        raise ValueError(f"--log2-table-size {config.log2_table_size}: must be 8 to 24")

    if config.replay is not None and config.resume:
        raise ValueError("--replay with --resume: a replay that was cut short goes on with --resume alone")


def _check_alike(config: TrainConfig, recording: Recording) -> None:
    """A replay begins as the run began: what would make it another one is refused."""
    if config.model not in (None, recording.model):
        rule = f"--model {config.model}: {recording.folder.path} learnt {recording.model}"
        raise ValueError(f"{rule}; leave the flag out")
    given = [name for name in SETTINGS if getattr(config, name) != getattr(TrainConfig, name)]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{flags}: a replay has them as {recording.folder.path} had; leave them out")


def _as_a_run_began(config: TrainConfig, run: RunFolder, model: Any, settings: Any, told: Progress) -> Task[Any]:
    """The task as a config.json has it: defaults may have changed since."""
    try:
        return open_task(config.data, model, {**settings}, progress=told)
    except TypeError as error:
        rule = f"{run.path}: config.json does not fit this version ({error})"
        raise ValueError(f"{rule}; start the run anew elsewhere") from error
