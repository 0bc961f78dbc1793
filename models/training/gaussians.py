"""Training 3D Gaussians from posed photos: a generator of steps.

A step draws one photo, renders it through the differentiable rasteriser, and takes the gradient of L1 + D-SSIM; Adam
moves what was seen; a strategy clones, splits, prunes or relocates rows. A step with a gradient that is no number is
left out (`soundness`); cameras and exposures of photos can be learnt along (`photo_fit`). What differs from 3DGS, for
a CPU: fewer rows to start with and at most, the learning rate of places falls without knowing the end, SH degrees come
sooner.
Source: Kerbl et al. 2023; learning rates as gsplat documents them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.density import DENSITY, Change, DefaultStrategy, Strategy
from h3d.models.gaussians import Gaussians
from h3d.models.initial_gaussians import OPACITY, initial_gaussians, random_points
from h3d.models.knobs import Knob, Setting, knobs_of, turned
from h3d.models.trained_gaussians import FEATURES, StepInfo, TrainedGaussians
from h3d.renderers import backends
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training
from h3d.renderers.gaussians import RasterOptions, Rect
from h3d.renderers.image_loss import image_loss
from h3d.renderers.threads import torch_threads

from . import Step
from .checkpoints import Reached, config_in, damaged, load_checkpoint, save_checkpoint
from .gaussians_config import GaussiansTraining, strategy_of
from .gaussians_state import Beginning, GaussiansState
from .hash_grid import Background
from .live import Live
from .loop import Advance, Trainer, steps
from .photo_fit import CAMERAS, EXPOSURE, PhotoFit, PhotoView
from .pinhole_photos import PinholePhoto, pinhole_photos
from .soundness import INTERVAL, drop_bad_rows, wild_gradients

FORMAT = "h3d gaussians training 1"
MCMC_OPACITY, MCMC_SCALE = 0.5, 0.1
"""What MCMC starts with: opaque and small, in shares of the usual width."""


def train(
    dataset: PosedImages,
    config: GaussiansTraining,
    *,
    resume: Path | None = None,
    beginning: Beginning | None = None,
) -> Iterator[Step[Gaussians]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same data and config.

    `beginning`: where it starts, None = at the data set's points.

    Raises:
        DatasetError: a photo cannot be decoded.
        FormatError: the checkpoint is damaged or of another run.
        RuntimeError: the loss is no longer a number.
    """
    trainer = GaussiansTrainer(dataset, config, (), beginning)
    state = trainer.start() if resume is None else trainer.load(resume)
    trainer.read_photos(state.config)
    return steps(trainer, state)


class GaussiansTrainer(Trainer[GaussiansState, Gaussians]):
    """What stays the same through a run, how it began, and how a state advances."""

    def __init__(
        self,
        dataset: PosedImages,
        config: GaussiansTraining,
        photos: tuple[PinholePhoto, ...],
        beginning: Beginning | None = None,
    ) -> None:
        self.dataset, self.config, self.photos, self.beginning = dataset, config, photos, beginning
        self.extent = scene_extent(dataset)
        self.device = backends.gaussians_device(config.backend)

    def read_photos(self, config: GaussiansTraining) -> None:
        """Learn from photos of that size. Raises: DatasetError, or ValueError where they would not fit the memory."""
        photos = pinhole_photos(self.dataset, self.dataset.train, auto_downscale(self.dataset, config.downscale))
        self.photos = tuple(photo.to(self.device) for photo in photos)

    def start(self) -> GaussiansState:
        """The rows before the first step: given ones, else at the data set's points, or at random ones in its cube."""
        generator = torch.Generator().manual_seed(self.config.seed)
        if self.beginning is not None:
            state = self.beginning.state(self.config, generator, self._fit(self.config), self.device)
            state.compensate()
            return state
        points, colors = self._points(generator)
        mcmc = self.config.strategy == "mcmc"
        opacity = MCMC_OPACITY if mcmc else OPACITY
        rows = initial_gaussians(points, colors, generator, self.config.sh_degree, opacity=opacity)
        if mcmc:
            rows = replace(rows, log_scales=rows.log_scales + math.log(MCMC_SCALE))
        order = torch.zeros(0, dtype=torch.int64)
        learnt = TrainedGaussians.of(rows).to(self.device)
        state = GaussiansState(learnt, self.config, generator, order, self._fit(self.config))
        state.compensate()
        return state

    def _fit(self, config: GaussiansTraining, tensors: Mapping[str, torch.Tensor] | None = None) -> PhotoFit:
        """Before the first step, or as `tensors` of a checkpoint have it."""
        positions = np.stack([self.dataset.images[index].position for index in self.dataset.train])
        fit = PhotoFit.of(torch.from_numpy(positions).float(), self.extent)
        fit.restore(tensors or {})
        for name in (CAMERAS, EXPOSURE):
            fit.turn(name, getattr(config, name))
        return fit

    def _points(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        points, colors = self.dataset.points, self.dataset.point_colors
        if points is None or len(points) < 4:
            corners = self.dataset.space.points_from_ngp(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
            count = min(self.config.initial_points, self.config.cap)
            return random_points(np.sort(corners, axis=0), count, generator), None
        chosen = torch.arange(len(points))
        if len(points) > self.config.cap:
            chosen = torch.randperm(len(points), generator=generator)[: self.config.cap]
        shades = None if colors is None else torch.from_numpy(colors)[chosen].float() / 255.0
        return torch.from_numpy(points)[chosen], shades

    def live(self, state: GaussiansState) -> Live:
        """Most of the config may change at any step, and rows may be edited."""
        return Live(partial(_knobs, state), partial(self.change, state), partial(self.facts, state), state.edit)

    def change(self, state: GaussiansState, name: str, value: Setting) -> None:
        """Turn one of the knobs; see `Live`."""
        config = turned(state.config, name, value)
        if name == "downscale":
            self.read_photos(config)
        if name in (CAMERAS, EXPOSURE):
            state.fit.turn(name, bool(value))
        state.rows.widen("sh", 3 * (config.sh_degree + 1) ** 2)
        state.config = config
        state.compensate()

    def facts(self, state: GaussiansState) -> dict[str, str]:
        """What is learnt from, and how far colours depend on the direction by now."""
        width, height = self.photos[0].size
        photos = f"{len(self.photos)} of {width} x {height} pixels"
        return {"photos": photos, "SH degree": str(state.sh_degree)} | state.fit.facts

    def advance(self, state: GaussiansState) -> Advance:
        """One step in place."""
        index = self._next_photo(state)
        photo = self.photos[index]
        view = state.fit.view(index, photo.viewmat)
        background = _background(state.config.background, state.generator).to(self.device)
        leaves = {name: rows.values.requires_grad_() for name, rows in state.rows.groups.items()}
        part, learnt = state.part(photo.size), state.compensation
        seen = self._seen(state, leaves, view.viewmat, photo, background, part)
        with nullcontext() if learnt is None else torch_threads():
            pictures = seen.pictures if learnt is None else learnt.corrected(seen.pictures, background)
            rendered = view.exposed(pictures.rgb[0], pictures.alpha[0], background)
            loss = self._loss(state.config, rendered, photo.part(part), background)
            loss = loss + _pull(state.config, leaves, state.rows.live)
            loss.backward()
        gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        for leaf in leaves.values():
            leaf.requires_grad_(False)
            leaf.grad = None
        state.step += 1
        drawn, change = int((seen.radii[0] > 0).sum()), Change()
        own = {} if learnt is None else learnt.gradients
        problem = self._problem(state, index, float(loss.detach()), gradients | view.gradients | own)
        if problem == "":
            share = rendered.shape[0] * rendered.shape[1] / (photo.size[0] * photo.size[1])
            change, problem = self._descend(state, index, gradients, view, seen, share)
        return Advance(
            float(loss.detach()),
            samples=drawn,
            rays=rendered.shape[0] * rendered.shape[1],
            count=int(state.rows.live.sum()),
            noted={DENSITY: change.noted} if change else {},
            problem=problem,
        )

    def _problem(self, state: GaussiansState, index: int, loss: float, gradients: dict[str, torch.Tensor]) -> str:
        """Why a step must be left out; rows that may be the cause are dropped."""
        wild = wild_gradients(gradients) or ("" if abs(loss) < float("inf") else f"the loss is {loss}")
        if wild == "":
            return ""
        photo = self.dataset.images[self.dataset.train[index]].path.name
        dropped = drop_bad_rows(state.rows)
        return f"{wild} at step {state.step} (photo {photo}), left out" + (f"; {dropped}" if dropped else "")

    def _descend(
        self,
        state: GaussiansState,
        index: int,
        gradients: dict[str, torch.Tensor],
        view: PhotoView,
        seen: TrainingPictures,
        share: float,
    ) -> tuple[Change, str]:
        """The step of rows, photo and strategy; returns what that did, and which rows had to be dropped after it.

        `share`: how much of the photo was looked at; the loss is a mean over that.
        """
        step, config = state.step, state.config
        strategy, rates = strategy_of(config, len(self.photos)), self.rates(config, step)
        info = self._info(strategy, seen, self.photos[index], rates["means"], share)
        state.rows.step(gradients, rates, step=step, visible=info.visible)
        if state.compensation is not None:
            state.compensation.step(config.compensation.compensate_rate)
        state.fit.step(index, view.gradients, step=step, decayed=min(step / config.decay_steps, 1.0))
        change = strategy.after_step(state.rows, step, info, state.generator)
        change = replace(change, thinned=config.pruning.after_step(state.rows, step))
        dropped = drop_bad_rows(state.rows) if step % INTERVAL == 0 else ""
        return change, f"{dropped} after step {step}" if dropped else ""

    def _next_photo(self, state: GaussiansState) -> int:
        """Every photo once a round, in another order each."""
        if len(state.order) == 0:
            state.order = torch.randperm(len(self.photos), generator=state.generator)
        index, state.order = int(state.order[0]), state.order[1:]
        return index

    def _seen(
        self,
        state: GaussiansState,
        leaves: dict[str, torch.Tensor],
        viewmat: torch.Tensor,
        photo: PinholePhoto,
        background: torch.Tensor,
        part: Rect | None,
    ) -> TrainingPictures:
        sh = leaves["sh"].view(len(state.rows), -1, 3)
        # Rows that were deleted by hand are not there.
        opacities = leaves["logit_opacities"][:, 0].sigmoid() * state.rows.live
        red, green, blue = background.cpu().tolist()
        options = RasterOptions(
            background=(red, green, blue),
            antialiased=state.config.antialiased,
            sh_degree=state.sh_degree,
            depth=False,
            rect=part,
        )
        return rasterize_for_training(
            leaves["means"],
            leaves["quats"],
            leaves["log_scales"].exp(),
            opacities,
            sh,
            viewmat[None],
            photo.K[None],
            *photo.size,
            features=leaves.get(FEATURES),
            options=options,
        )

    def _loss(
        self, config: GaussiansTraining, rendered: torch.Tensor, photo: PinholePhoto, background: torch.Tensor
    ) -> torch.Tensor:
        target = photo.over(background)
        if photo.known is not None:
            # Its rounding must not reach Adam either, which would make whole steps of it.
            known, still = photo.known[..., None], rendered.detach()
            rendered, target = torch.where(known, rendered, still), torch.where(known, target, still)
        return image_loss(rendered, target, ssim_share=config.ssim_share).loss

    def rates(self, config: GaussiansTraining, step: int) -> dict[str, float]:
        """Learning rates of the groups at a step."""
        fallen = 0.01 ** min(step / config.decay_steps, 1.0)
        plan = config.compensation.plan
        blended = plan is not None and plan.blended > 0
        return ({FEATURES: config.compensation.compensate_features_rate} if blended else {}) | {
            "means": config.means_rate * self.extent * fallen,
            "quats": config.quats_rate,
            "log_scales": config.scales_rate,
            "logit_opacities": config.opacities_rate,
            "sh": config.sh_rate,
        }

    def _info(
        self, strategy: Strategy, seen: TrainingPictures, photo: PinholePhoto, means_rate: float, share: float
    ) -> StepInfo:
        absgrad = isinstance(strategy, DefaultStrategy) and strategy.absgrad
        norms = seen.abs_gradient_norms if absgrad else seen.gradient_norms
        side = max(photo.size)
        return StepInfo(
            gradients=norms[0] * (0.5 * side * share),
            radii=seen.radii[0],
            visible=seen.radii[0] > 0,
            longest_side=side,
            extent=self.extent,
            means_rate=means_rate,
        )

    def snapshot(self, state: GaussiansState) -> Gaussians:
        """See `GaussiansState.gaussians`."""
        return state.gaussians(f"trained on {self.dataset.name}, {state.step} steps")

    def save(self, path: Path, state: GaussiansState) -> None:
        """Writes all of the state, whole or not at all."""
        at = Reached(state.step, state.seconds)
        save_checkpoint(path, FORMAT, self.config, at, state.tensors(), now=asdict(state.config))

    def load(self, path: Path) -> GaussiansState:
        """The state that `save` wrote. Raises: FormatError where it is damaged, or of another run."""
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        # Checkpoints from before knobs could be turned do not say how they stand.
        now = config_in(path, header, "now", GaussiansTraining) if "now" in header else self.config
        try:
            at = Reached(header["step"], header["seconds"])
            return GaussiansState.from_tensors(tensors, now, self._fit(now, tensors), at, self.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error


def _knobs(state: GaussiansState) -> dict[str, Knob]:
    """All but those of the strategy that is not in use."""
    mcmc = state.config.strategy == "mcmc"
    idle = ("default.",) if mcmc else ("mcmc.", "opacity_pull", "scale_pull")
    return {name: knob for name, knob in knobs_of(state.config).items() if not name.startswith(idle)}


def _background(background: Background, generator: torch.Generator) -> torch.Tensor:  # [3]
    match background:
        case "random":
            return torch.rand(3, generator=generator)
        case "white":
            return torch.ones(3)
        case "black":
            return torch.zeros(3)


def _pull(config: GaussiansTraining, leaves: dict[str, torch.Tensor], live: torch.Tensor) -> torch.Tensor | float:
    """MCMC wants rows that are not needed to be faint and small."""
    if config.strategy != "mcmc":
        return 0.0
    count = live.sum()
    opacity = (leaves["logit_opacities"].sigmoid() * live[:, None]).sum() / count
    size = (leaves["log_scales"].exp() * live[:, None]).sum() / (3 * count)
    return config.opacity_pull * opacity + config.scale_pull * size


def scene_extent(dataset: PosedImages) -> float:
    """How far cameras stand from their middle, a tenth more: what sizes and learning rates are measured by."""
    positions = np.stack([dataset.images[i].position for i in dataset.train])
    radius = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    return 1.1 * radius if radius > 0 else 1.0
