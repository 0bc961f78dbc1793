"""What `h3d prune --fine-tune` does after its cut: learns on from photos, and says what that brought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from h3d.models import formats
from h3d.models.compensation import Size
from h3d.models.gaussians import Gaussians
from h3d.models.training import Judgement, Progress
from h3d.models.training.compensating import CompensationTraining
from h3d.models.training.fine_tuning import fine_tuning
from h3d.models.training.gaussians_task import GaussiansTask

from .run_folder import RunFolder
from .stop_asked import stop_asked


@dataclass(frozen=True)
class FineTuning:
    """From which photos, for how long."""

    data: Path
    steps: int
    seed: int = 0
    compensate: Size | None = None  # of the network that is learnt along afterwards, for as many steps


def fine_tuned(
    scene: Path, output: Path, whole: Gaussians, pruned: Gaussians, wish: FineTuning, progress: Progress
) -> str:
    """Trains `pruned`, writes it, and returns what was done and how good it was and is; Ctrl-C ends the training.

    `scene` is where `whole` was read from: of a run, the settings of its photos hold.

    Raises:
        ValueError: the data set or the run is wrong, or what was learnt cannot be written in that format.
        OSError: a file cannot be read or written.
        RuntimeError: the training went astray.
    """
    settings = settings_of(scene)
    task = fine_tuning(wish.data, pruned, seed=wish.seed, settings=settings)
    lines = [_judged(task, "whole", whole, progress), _judged(task, "pruned", pruned, progress)]
    asset, steps = _learnt(task, wish.steps, progress)
    # Written first: who stops the judging loses its numbers alone.
    formats.write(output, replace(asset, remark=pruned.remark))
    done = f"fine-tuned for {_of(steps, wish.steps)} steps"
    lines.append(_judged(task, "fine-tuned", asset, progress))
    if wish.compensate is not None and steps == wish.steps:
        network = CompensationTraining(wish.compensate)
        task = fine_tuning(wish.data, asset, seed=wish.seed, settings=settings, compensation=network)
        asset, steps = _learnt(task, wish.steps, progress)
        formats.write(output, replace(asset, remark=pruned.remark))
        done += f", and with a {wish.compensate} network for {_of(steps, wish.steps)}"
        lines.append(_judged(task, "fine-tuned on, raw", asset.uncompensated, progress))
        lines.append(_judged(task, "compensated", asset, progress))
    return "\n".join([f"{done} on {len(task.dataset.train)} photos of {task.name}", *lines])


def _learnt(task: GaussiansTask, steps: int, progress: Progress) -> tuple[Gaussians, int]:
    """What was learnt, and in how many steps."""
    with stop_asked() as stopped:
        for done, step in enumerate(task.train(), 1):
            progress(f"step {done:,} of {steps:,}, loss {step.loss:.5g}")
            if done == steps or stopped():
                return step.snapshot(), done
    raise AssertionError("a trainer's steps have no end of their own")


def _of(done: int, wanted: int) -> str:
    return f"{done:,}" if done == wanted else f"{done:,} of {wanted:,}"


def _judged(task: GaussiansTask, what: str, asset: Gaussians, progress: Progress) -> str:
    found: Judgement = task.judge(asset, progress=lambda text: progress(f"{what}: {text}"))
    return f"{what}: {len(asset):,} Gaussians, {found.sentence}"


def settings_of(scene: Path) -> dict[str, object]:
    """Of the run of Gaussians that a folder is; none of any other scene."""
    if not RunFolder(scene).config.is_file():
        return {}
    stored = RunFolder(scene).reopen()
    training = stored.get("training")
    return training if stored.get("model") == "gaussians" and isinstance(training, dict) else {}
