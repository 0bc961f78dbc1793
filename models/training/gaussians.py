"""Training 3D Gaussians from posed photos: a generator of steps.

A step draws one photo, renders it through the differentiable rasteriser, and takes the gradient of L1 + D-SSIM; Adam
moves what was seen; a strategy clones, splits, prunes or relocates rows. What differs from 3DGS, for a CPU: fewer rows
to start with and at most, the learning rate of places falls without knowing the end, SH degrees come sooner.
Source: Kerbl et al. 2023; learning rates as gsplat documents them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from h3d.models.datasets import Downscale, PosedImages, auto_downscale
from h3d.models.density import DefaultStrategy, McmcStrategy, Strategy
from h3d.models.gaussians import Gaussians
from h3d.models.initial_gaussians import OPACITY, initial_gaussians, random_points
from h3d.models.selection import Rows, Selection
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training
from h3d.renderers.gaussians import RasterOptions
from h3d.renderers.image_loss import image_loss

from . import Step
from .checkpoints import Reached, damaged, load_checkpoint, save_checkpoint
from .edits import Delete, Place, Restore, RowEdit
from .hash_grid import Background
from .live import Live
from .loop import Advance, Trainer, steps
from .pinhole_photos import PinholePhoto, pinhole_photos

FORMAT = "h3d gaussians training 1"
MCMC_OPACITY, MCMC_SCALE = 0.5, 0.1
"""What MCMC starts with: opaque and small, in shares of the usual width."""


@dataclass(frozen=True)
class GaussiansTraining:
    """How Gaussians are learnt; the defaults are for two CPU cores."""

    seed: int = 0
    downscale: Downscale = "auto"
    background: Background = "white"
    """Behind transparent pixels; Gaussians are judged on white, after training on black on black."""
    strategy: Literal["default", "mcmc"] = "default"
    """How rows are added and removed: as 3DGS does, or as MCMC does."""
    cap: int = 60_000
    """Rows at most."""
    initial_points: int = 10_000
    """Random ones, where the data set brings none."""
    sh_degree: int = 3
    sh_interval: int = 500
    """Steps from one SH degree to the next."""
    ssim_share: float = 0.2
    means_rate: float = 1.6e-4
    """Learning rate of places, times the scene's extent; down to a hundredth after `decay_steps`."""
    decay_steps: int = 15_000
    scales_rate: float = 5e-3
    quats_rate: float = 1e-3
    opacities_rate: float = 5e-2
    sh_rate: float = 2.5e-3
    """Of the constant colour; what depends on the direction has a twentieth."""
    antialiased: bool = False
    """Learn for the antialiased rasteriser (Mip-Splatting)."""
    opacity_pull: float = 0.01
    """Of the mean opacity in the loss, with MCMC."""
    scale_pull: float = 0.01
    """Of the mean size in the loss, with MCMC."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree {self.sh_degree}: must be 0 to 3")
        for name in ("cap", "initial_points", "sh_interval", "decay_steps"):
            if getattr(self, name) < 4:
                raise ValueError(f"{name} {getattr(self, name)}: must be 4 or more")


@dataclass(eq=False)
class GaussiansState:
    """All that changes during a run."""

    rows: TrainedGaussians
    generator: torch.Generator
    order: torch.Tensor  # [photos left of this round] int64
    step: int = 0
    seconds: float = 0.0
    frame: Similarity = IDENTITY  # where the world of the photos, in which rows are learnt, lies as they are shown


def train(dataset: PosedImages, config: GaussiansTraining, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same data and config.

    Raises:
        DatasetError: a photo cannot be decoded.
        FormatError: the checkpoint is damaged or of another run.
        RuntimeError: the loss is no longer a number.
    """
    photos = pinhole_photos(dataset, dataset.train, auto_downscale(dataset, config.downscale))
    trainer = GaussiansTrainer(dataset, config, photos)
    state = trainer.start() if resume is None else trainer.load(resume)
    return steps(trainer, state)


class GaussiansTrainer(Trainer[GaussiansState, Gaussians]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, dataset: PosedImages, config: GaussiansTraining, photos: tuple[PinholePhoto, ...]) -> None:
        self.dataset, self.config, self.photos = dataset, config, photos
        self.extent = scene_extent(dataset)
        self.strategy = strategy_of(config, len(photos))

    def start(self) -> GaussiansState:
        """The rows before the first step: at the data set's points, else at random ones in its cube."""
        generator = torch.Generator().manual_seed(self.config.seed)
        points, colors = self._points(generator)
        mcmc = self.config.strategy == "mcmc"
        opacity = MCMC_OPACITY if mcmc else OPACITY
        rows = initial_gaussians(points, colors, generator, self.config.sh_degree, opacity=opacity)
        if mcmc:
            rows = replace(rows, log_scales=rows.log_scales + math.log(MCMC_SCALE))
        return GaussiansState(TrainedGaussians.of(rows), generator, torch.zeros(0, dtype=torch.int64))

    def _points(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        points, colors = self.dataset.points, self.dataset.point_colors
        if points is None or len(points) < 4:
            corners = self.dataset.space.points_from_ngp(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
            return random_points(np.sort(corners, axis=0), self.config.initial_points, generator), None
        chosen = torch.arange(len(points))
        if len(points) > self.config.cap:
            chosen = torch.randperm(len(points), generator=generator)[: self.config.cap]
        shades = None if colors is None else torch.from_numpy(colors)[chosen].float() / 255.0
        return torch.from_numpy(points)[chosen], shades

    def advance(self, state: GaussiansState) -> Advance:
        """One step in place."""
        photo = self._next_photo(state)
        background = self._background(state.generator)
        leaves = {name: rows.values.requires_grad_() for name, rows in state.rows.groups.items()}
        seen = self._seen(state, leaves, photo, background)
        loss = self._loss(seen.pictures.rgb[0], photo, background) + self._pull(leaves, state.rows.live)
        loss.backward()
        gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        for leaf in leaves.values():
            leaf.requires_grad_(False)
            leaf.grad = None
        state.step += 1
        rates = self.rates(state.step)
        info = self._info(seen, photo, rates["means"])
        if float(loss.detach()) < float("inf"):
            state.rows.step(gradients, rates, step=state.step, visible=info.visible)
            self.strategy.after_step(state.rows, state.step, info, state.generator)
        return Advance(float(loss.detach()), samples=int(info.visible.sum()), rays=photo.size[0] * photo.size[1])

    def _next_photo(self, state: GaussiansState) -> PinholePhoto:
        """Every photo once a round, in another order each."""
        if len(state.order) == 0:
            state.order = torch.randperm(len(self.photos), generator=state.generator)
        index, state.order = int(state.order[0]), state.order[1:]
        return self.photos[index]

    def _background(self, generator: torch.Generator) -> torch.Tensor:  # [3]
        match self.config.background:
            case "random":
                return torch.rand(3, generator=generator)
            case "white":
                return torch.ones(3)
            case "black":
                return torch.zeros(3)

    def _seen(
        self, state: GaussiansState, leaves: dict[str, torch.Tensor], photo: PinholePhoto, background: torch.Tensor
    ) -> TrainingPictures:
        count, degree = len(state.rows), min(state.step // self.config.sh_interval, self.config.sh_degree)
        sh = leaves["sh"].view(count, -1, 3)
        # Rows that were deleted by hand are not there.
        opacities = leaves["logit_opacities"][:, 0].sigmoid() * state.rows.live
        red, green, blue = (float(channel) for channel in background)
        options = RasterOptions(
            background=(red, green, blue),
            antialiased=self.config.antialiased,
            sh_degree=degree,
            depth=False,
            backend="cpu",
        )
        return rasterize_for_training(
            leaves["means"],
            leaves["quats"],
            leaves["log_scales"].exp(),
            opacities,
            sh,
            photo.viewmat[None],
            photo.K[None],
            *photo.size,
            options=options,
        )

    def _loss(self, rendered: torch.Tensor, photo: PinholePhoto, background: torch.Tensor) -> torch.Tensor:
        target = photo.over(background)
        if photo.known is not None:
            # Its rounding must not reach Adam either, which would make whole steps of it.
            known, still = photo.known[..., None], rendered.detach()
            rendered, target = torch.where(known, rendered, still), torch.where(known, target, still)
        return image_loss(rendered, target, ssim_share=self.config.ssim_share).loss

    def _pull(self, leaves: dict[str, torch.Tensor], live: torch.Tensor) -> torch.Tensor | float:
        """MCMC wants rows that are not needed to be faint and small."""
        if self.config.strategy != "mcmc":
            return 0.0
        count = live.sum()
        opacity = (leaves["logit_opacities"].sigmoid() * live[:, None]).sum() / count
        size = (leaves["log_scales"].exp() * live[:, None]).sum() / (3 * count)
        return self.config.opacity_pull * opacity + self.config.scale_pull * size

    def rates(self, step: int) -> dict[str, float]:
        """Learning rates of the groups at a step."""
        config = self.config
        fallen = 0.01 ** min(step / config.decay_steps, 1.0)
        return {
            "means": config.means_rate * self.extent * fallen,
            "quats": config.quats_rate,
            "log_scales": config.scales_rate,
            "logit_opacities": config.opacities_rate,
            "sh": config.sh_rate,
        }

    def _info(self, seen: TrainingPictures, photo: PinholePhoto, means_rate: float) -> StepInfo:
        absgrad = isinstance(self.strategy, DefaultStrategy) and self.strategy.absgrad
        norms = seen.abs_gradient_norms if absgrad else seen.gradient_norms
        side = max(photo.size)
        return StepInfo(
            gradients=norms[0] * (0.5 * side),
            radii=seen.radii[0],
            visible=seen.radii[0] > 0,
            longest_side=side,
            extent=self.extent,
            means_rate=means_rate,
        )

    def snapshot(self, state: GaussiansState) -> Gaussians:
        """The live rows, copied, where they were placed."""
        remark = f"trained on {self.dataset.name}, {state.step} steps"
        rows, frame = state.rows.gaussians(antialiased=self.config.antialiased, remark=remark), state.frame
        if frame == IDENTITY:
            return rows
        return rows.transformed(np.array(frame.wxyz), np.array(frame.position), frame.scale)

    def live(self, state: GaussiansState) -> Live:
        """See `Trainer`."""
        return Live(edit=lambda edit: self.edit(state, edit))

    def edit(self, state: GaussiansState, edit: RowEdit) -> RowEdit:
        """Edits the rows by hand between two steps; returns what takes it back. See `edits`.

        Raises:
            ValueError: no row would be left.
        """
        match edit:
            case Delete(selection):
                shown = self.snapshot(state)
                chosen = selection.mask(shown)
                if len(shown) > 0 and bool(chosen.all()):
                    raise ValueError(f"delete: all {len(shown):,} Gaussians are meant; leave some to learn from")
                return Restore(Rows.of(state.rows.mark_deleted(shown.ids[chosen], True)))
            case Restore(rows):
                back = Rows.of(state.rows.mark_deleted(rows.array, False))
                return Delete(Selection().then("add", back))
            case Place(frame):
                before, state.frame = state.frame, frame
                return Place(before)

    def save(self, path: Path, state: GaussiansState) -> None:
        """Writes all of the state, whole or not at all."""
        tensors = state.rows.tensors("rows")
        tensors |= {"generator": state.generator.get_state(), "order": state.order.to(torch.int64)}
        frame = (*state.frame.wxyz, *state.frame.position, state.frame.scale)
        tensors["frame"] = torch.tensor(frame, dtype=torch.float64)
        save_checkpoint(path, FORMAT, self.config, Reached(state.step, state.seconds), tensors)

    def load(self, path: Path) -> GaussiansState:
        """The state that `save` wrote. Raises: FormatError where it is damaged, or of another run."""
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        try:
            generator = torch.Generator()
            generator.set_state(tensors["generator"])
            rows = TrainedGaussians.from_tensors("rows", tensors)
            frame = IDENTITY
            if "frame" in tensors:  # Runs of before rows could be placed have none.
                w, x, y, z, a, b, c, scale = tensors["frame"].tolist()
                frame = Similarity((w, x, y, z), (a, b, c), scale)
            order = tensors["order"].clone()
            return GaussiansState(rows, generator, order, header["step"], header["seconds"], frame)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error


def strategy_of(config: GaussiansTraining, photos: int) -> Strategy:
    """The strategy that a config names, with its limits."""
    if config.strategy == "mcmc":
        return McmcStrategy(cap_max=config.cap)
    return DefaultStrategy(cap_max=config.cap, pause_after_reset=photos, absgrad=False)


def scene_extent(dataset: PosedImages) -> float:
    """How far cameras stand from their middle, a tenth more: what sizes and learning rates are measured by."""
    positions = np.stack([dataset.images[i].position for i in dataset.train])
    radius = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    return 1.1 * radius if radius > 0 else 1.0
