"""`h3d train`: a data set in, a run folder out, through the same trainer as the viewer's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.hash_grid import HashGridField
from h3d.models.training import Step
from h3d.models.training import hash_grid as hash_grid_training
from h3d.models.training.evaluation import BLACK, WHITE, Judged, Verdict, evaluate, verdict
from h3d.models.training.hash_grid import Background, HashGridTraining

from .run_folder import RunFolder

METRICS_INTERVAL = 50
AUTOSAVE_SECONDS = 30.0
DEFAULT_STEPS = 5000
OF_THE_RUN = ("model", "seed", "downscale", "background", "log2_table_size")
"""Flags that a run keeps when it goes on."""

Progress = Callable[[str], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Train a scene from posed photos."""

    data: tyro.conf.Positional[Path]
    """Folder or transforms.json of a data set: instant-ngp, Blender, nerfstudio or COLMAP."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run."""
    model: Literal["hash_grid"] = "hash_grid"
    """What is trained: an Instant-NGP field."""
    steps: int | None = None
    """Stop after this many steps; none = 5000, or as many as --minutes allows."""
    minutes: float | None = None
    """Stop after this much training; evaluating and saving do not count."""
    seed: int = 0
    """Of everything random: the same seed gives the same run."""
    downscale: Literal["auto", "1", "2", "4", "8"] = "auto"
    """Photos are reduced by this factor; auto = the longest side is at most 640 pixels."""
    background: Background = "random"
    """Behind transparent pixels while training; the field is judged on white, after training on black on black."""
    log2_table_size: int = HashGridTraining.log2_table_size
    """Entries of a level of the hash table, as a power of two: more is sharper in the end, and slower."""
    evaluate_minutes: float | None = None
    """Evaluate each time this much training is done, beside the end."""
    resume: bool = False
    """Go on with the run in the folder; what was set for its start (data aside) stays as it was."""


def train(config: TrainConfig, *, progress: Progress | None = None) -> Verdict:
    """Does what `h3d train` was asked for; returns how the field does on the test split.

    Raises:
        ValueError: a flag, the data set or the run folder is wrong (DatasetError and FormatError are ValueErrors).
        OSError: a file cannot be read or written.
        RuntimeError: the training went astray.
    """
    _check(config)
    run = RunFolder(config.output)
    training = None
    if config.resume:
        config, training = _as_the_run_began(config, run.reopen())
    dataset = datasets.read(config.data)
    for sentence in dataset.skipped:
        log.warning("%s: %s", dataset.name, sentence)
    session = _Session(config, dataset, run, progress or _silent, training)
    session.begin()
    return session.run_to_the_end()


class _Session:
    """One call of `train`: steps, and what is written of them."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: PosedImages,
        run: RunFolder,
        progress: Progress,
        training: HashGridTraining | None,
    ) -> None:
        self.config, self.dataset, self.run, self.progress = config, dataset, run, progress
        wanted: Any = config.downscale if config.downscale == "auto" else int(config.downscale)
        self.downscale = datasets.auto_downscale(dataset, wanted)
        self.training = training or HashGridTraining(
            seed=config.seed,
            downscale=self.downscale,  # type: ignore[reportArgumentType]
            background=config.background,
            log2_table_size=config.log2_table_size,
        )
        self.steps = config.steps if config.steps is not None or config.minutes is not None else DEFAULT_STEPS
        self.next_evaluation = 60.0 * (config.evaluate_minutes or float("inf"))
        self.saved = time.monotonic()
        self.resume: Path | None = None

    def begin(self) -> None:
        """Prepares the folder."""
        if self.config.resume and self.run.checkpoint.exists():
            at = hash_grid_training.progress_of(self.run.checkpoint)
            if self._reached(at.step, at.seconds):
                raise ValueError(
                    f"{self.run.path}: the run is at step {at.step:,}, {at.seconds / 60:.1f} minutes already; "
                    f"ask for more --steps or --minutes"
                )
            self.resume = self.run.checkpoint
            self.run.cut_back(at.step)
            return
        if not self.config.resume:
            asked = {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self.config).items()}
            asked["data"] = str(self.config.data.resolve())
            self.run.begin({**asked, "training": asdict(self.training)})
        self.run.cut_back(0)

    def run_to_the_end(self) -> Verdict:
        event = "start" if self.resume is None else "resume"
        for step in hash_grid_training.train(self.dataset, self.training, resume=self.resume):
            if event:
                self.run.add_event(step.step - 1, event, steps=self.steps, minutes=self.config.minutes)
                event = ""
            ended = self._reached(step.step, step.seconds)
            found = None
            if ended or step.seconds >= self.next_evaluation:
                found = self._evaluate(step, step.snapshot())
            if found is not None or step.step % METRICS_INTERVAL == 0:
                self._report(step, found)
            if ended or time.monotonic() - self.saved > AUTOSAVE_SECONDS:
                step.checkpoint(self.run.checkpoint)
                self.saved = time.monotonic()
            if ended and found is not None:
                self.run.add_event(step.step, "end", seconds=step.seconds, psnr=found.psnr)
                return found
        raise AssertionError("a trainer's steps have no end of their own")

    def _reached(self, step: int, seconds: float) -> bool:
        minutes = self.config.minutes
        return (self.steps is not None and step >= self.steps) or (minutes is not None and seconds >= 60.0 * minutes)

    def _evaluate(self, step: Step[HashGridField], field: HashGridField) -> Verdict:
        """PSNR and SSIM over the test split; the field and a picture of it are left in the folder."""
        field.save(self.run.field)
        every = 60.0 * (self.config.evaluate_minutes or float("inf"))
        while self.next_evaluation <= step.seconds:
            self.next_evaluation += every
        background = BLACK if self.config.background == "black" else WHITE
        judged: list[Judged] = []
        indices = self.dataset.test or self.dataset.train
        for one in evaluate(field, self.dataset, indices, downscale=self.downscale, background=background):
            if not judged:
                self.run.write_test_picture(one.photo, one.rendered)
            # The pictures are not kept: a split may hold hundreds.
            judged.append(replace(one, photo=one.photo[:0], rendered=one.rendered[:0]))
            self.progress(f"photo {len(judged)} of {len(indices)}: {one.psnr:.2f} dB")
        return verdict(judged)

    def _report(self, step: Step[HashGridField], found: Verdict | None) -> None:
        row = {"step": step.step, "seconds": f"{step.seconds:.3f}", "loss": f"{step.loss:.6g}"}
        row |= {"psnr": None, "ssim": None, "rays": step.rays, "samples": step.samples}
        sentence = f"step {step.step:,}, {step.seconds:.0f} s, loss {step.loss:.5f}"
        if found is not None:
            row["psnr"] = f"{found.psnr:.4f}"
            row["ssim"] = None if found.ssim is None else f"{found.ssim:.5f}"
            sentence += f", PSNR {found.psnr:.2f} dB over {found.photos} photos"
        self.run.add_metrics(row)
        self.progress(sentence)


def _check(config: TrainConfig) -> None:
    if config.steps is not None and config.steps < 1:
        raise ValueError(f"--steps {config.steps}: must be 1 or more")
    for name in ("minutes", "evaluate_minutes"):
        value = getattr(config, name)
        if value is not None and not 0.0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be above 0")
    if not 8 <= config.log2_table_size <= 24:
        raise ValueError(f"--log2-table-size {config.log2_table_size}: must be 8 to 24")


def _as_the_run_began(config: TrainConfig, stored: dict[str, Any]) -> tuple[TrainConfig, HashGridTraining]:
    """Flags and training as config.json has them: defaults may have changed since."""
    try:
        return replace(config, **{name: stored[name] for name in OF_THE_RUN}), HashGridTraining(**stored["training"])
    except (KeyError, TypeError) as error:
        rule = f"{config.output}: config.json does not fit this version ({error})"
        raise ValueError(f"{rule}; start the run anew elsewhere") from error


def _silent(sentence: str) -> None:
    """For callers that show no progress."""
