"""Training 3D Gaussians from posed photos: a generator of steps.

A step draws one photo, renders it through the differentiable rasteriser, and takes the gradient of L1 + D-SSIM; Adam
moves what was seen; a strategy clones, splits, prunes or relocates rows. What differs from 3DGS, for a CPU: fewer rows
to start with and at most, the learning rate of places falls without knowing the end, SH degrees come sooner.
Source: Kerbl et al. 2023; learning rates as gsplat documents them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch

from h3d.models.datasets import Downscale, PosedImages, auto_downscale
from h3d.models.density import DENSITY, Change, DefaultStrategy, McmcStrategy, Strategy
from h3d.models.gaussians import Gaussians
from h3d.models.initial_gaussians import OPACITY, initial_gaussians, random_points
from h3d.models.knobs import Knob, Setting, Turn, knobs_of, turned
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training
from h3d.renderers.gaussians import RasterOptions
from h3d.renderers.image_loss import image_loss

from . import Step
from .checkpoints import Reached, config_in, damaged, load_checkpoint, save_checkpoint
from .hash_grid import Background
from .live import Live
from .loop import Advance, Trainer, steps
from .pinhole_photos import PinholePhoto, pinhole_photos

FORMAT = "h3d gaussians training 1"
MCMC_OPACITY, MCMC_SCALE = 0.5, 0.1
"""What MCMC starts with: opaque and small, in shares of the usual width."""
RATES, PICTURE = "learning rates", "picture"
"""What knobs are shown together, beside `DENSITY`."""


@dataclass(frozen=True)
class GaussiansTraining:
    """How Gaussians are learnt; the defaults are for two CPU cores."""

    seed: int = 0
    means_rate: Annotated[float, Turn(RATES, 1e-7, 1e-2, logarithmic=True)] = 1.6e-4
    """Learning rate of places, times the scene's extent; down to a hundredth after `decay_steps`."""
    decay_steps: Annotated[int, Turn(RATES, 4, 1_000_000)] = 15_000
    """Steps after which places are learnt a hundredth as fast as at first."""
    scales_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 5e-3
    """Learning rate of the logarithms of sizes."""
    quats_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 1e-3
    """Learning rate of rotations."""
    opacities_rate: Annotated[float, Turn(RATES, 1e-5, 1.0, logarithmic=True)] = 5e-2
    """Learning rate of opacities, before their sigmoid."""
    sh_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 2.5e-3
    """Learning rate of the constant colour; what depends on the direction has a twentieth."""
    strategy: Annotated[Literal["default", "mcmc"], Turn(DENSITY)] = "default"
    """How rows are added and removed: as 3DGS does, or as MCMC does."""
    cap: Annotated[int, Turn(DENSITY, 4, 10_000_000)] = 60_000
    """Rows at most; a lower one stops their growth and takes none away."""
    opacity_pull: Annotated[float, Turn(DENSITY, 1e-5, 1.0, logarithmic=True)] = 0.01
    """Of the mean opacity in the loss, with MCMC."""
    scale_pull: Annotated[float, Turn(DENSITY, 1e-5, 1.0, logarithmic=True)] = 0.01
    """Of the mean size in the loss, with MCMC."""
    default: DefaultStrategy = DefaultStrategy()
    """Of the strategy of that name; `cap` is its limit, and it pauses for as many steps as there are photos."""
    mcmc: McmcStrategy = McmcStrategy()
    """Of the strategy of that name; `cap` is its limit."""
    initial_points: int = 10_000
    """Random ones, where the data set brings none."""
    downscale: Annotated[Downscale, Turn(PICTURE)] = "auto"
    """Photos are reduced by this factor; the run is judged at the size that it began with."""
    background: Annotated[Background, Turn(PICTURE)] = "white"
    """Behind transparent pixels; Gaussians are judged on white, after a start on black on black."""
    ssim_share: Annotated[float, Turn(PICTURE)] = 0.2
    """Of 1 - SSIM in the loss; the rest is the mean absolute difference."""
    sh_degree: Annotated[int, Turn(PICTURE, 0, 3)] = 3
    """Of the harmonics by which colours depend on the direction."""
    sh_interval: Annotated[int, Turn(PICTURE, 4, 100_000)] = 500
    """Steps from one SH degree to the next."""
    antialiased: Annotated[bool, Turn(PICTURE)] = False
    """Learn for the antialiased rasteriser (Mip-Splatting)."""

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
    config: GaussiansTraining  # as it is now
    generator: torch.Generator
    order: torch.Tensor  # [photos left of this round] int64
    step: int = 0
    seconds: float = 0.0


def train(dataset: PosedImages, config: GaussiansTraining, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same data and config.

    Raises:
        DatasetError: a photo cannot be decoded.
        FormatError: the checkpoint is damaged or of another run.
        RuntimeError: the loss is no longer a number.
    """
    trainer = GaussiansTrainer(dataset, config, ())
    state = trainer.start() if resume is None else trainer.load(resume)
    trainer.read_photos(state.config)
    return steps(trainer, state)


class GaussiansTrainer(Trainer[GaussiansState, Gaussians]):
    """What stays the same through a run, how it began, and how a state advances."""

    def __init__(self, dataset: PosedImages, config: GaussiansTraining, photos: tuple[PinholePhoto, ...]) -> None:
        self.dataset, self.config, self.photos = dataset, config, photos
        self.extent = scene_extent(dataset)

    def read_photos(self, config: GaussiansTraining) -> None:
        """Learn from photos of that size. Raises: DatasetError, or ValueError where they would not fit the memory."""
        self.photos = pinhole_photos(self.dataset, self.dataset.train, auto_downscale(self.dataset, config.downscale))

    def start(self) -> GaussiansState:
        """The rows before the first step: at the data set's points, else at random ones in its cube."""
        generator = torch.Generator().manual_seed(self.config.seed)
        points, colors = self._points(generator)
        mcmc = self.config.strategy == "mcmc"
        opacity = MCMC_OPACITY if mcmc else OPACITY
        rows = initial_gaussians(points, colors, generator, self.config.sh_degree, opacity=opacity)
        if mcmc:
            rows = replace(rows, log_scales=rows.log_scales + math.log(MCMC_SCALE))
        return GaussiansState(TrainedGaussians.of(rows), self.config, generator, torch.zeros(0, dtype=torch.int64))

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

    def live(self, state: GaussiansState) -> Live:
        """Most of the config may change at any step."""
        return Live(partial(_knobs, state), partial(self.change, state), partial(self.facts, state))

    def change(self, state: GaussiansState, name: str, value: Setting) -> None:
        """Turn one of the knobs; see `Live`."""
        config = turned(state.config, name, value)
        if name == "downscale":
            self.read_photos(config)
        state.rows.widen("sh", 3 * (config.sh_degree + 1) ** 2)
        state.config = config

    def facts(self, state: GaussiansState) -> dict[str, str]:
        """What is learnt from, and how far colours depend on the direction by now."""
        width, height = self.photos[0].size
        return {"photos": f"{len(self.photos)} of {width} x {height} pixels", "SH degree": str(_sh_degree(state))}

    def advance(self, state: GaussiansState) -> Advance:
        """One step in place."""
        photo = self._next_photo(state)
        background = _background(state.config.background, state.generator)
        leaves = {name: rows.values.requires_grad_() for name, rows in state.rows.groups.items()}
        seen = self._seen(state, leaves, photo, background)
        loss = _loss(state.config, seen.pictures.rgb[0], photo, background) + _pull(state.config, leaves)
        loss.backward()
        gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        for leaf in leaves.values():
            leaf.requires_grad_(False)
            leaf.grad = None
        state.step += 1
        strategy, rates = strategy_of(state.config, len(self.photos)), self.rates(state.config, state.step)
        info = self._info(strategy, seen, photo, rates["means"])
        done = Change()
        if float(loss.detach()) < float("inf"):
            state.rows.step(gradients, rates, step=state.step, visible=info.visible)
            done = strategy.after_step(state.rows, state.step, info, state.generator)
        return Advance(
            float(loss.detach()),
            samples=int(info.visible.sum()),
            rays=photo.size[0] * photo.size[1],
            count=int(state.rows.live.sum()),
            noted={DENSITY: done.noted} if done else {},
        )

    def _next_photo(self, state: GaussiansState) -> PinholePhoto:
        """Every photo once a round, in another order each."""
        if len(state.order) == 0:
            state.order = torch.randperm(len(self.photos), generator=state.generator)
        index, state.order = int(state.order[0]), state.order[1:]
        return self.photos[index]

    def _seen(
        self, state: GaussiansState, leaves: dict[str, torch.Tensor], photo: PinholePhoto, background: torch.Tensor
    ) -> TrainingPictures:
        sh = leaves["sh"].view(len(state.rows), -1, 3)
        # Rows that were deleted by hand are not there.
        opacities = leaves["logit_opacities"][:, 0].sigmoid() * state.rows.live
        red, green, blue = (float(channel) for channel in background)
        options = RasterOptions(
            background=(red, green, blue),
            antialiased=state.config.antialiased,
            sh_degree=_sh_degree(state),
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

    def rates(self, config: GaussiansTraining, step: int) -> dict[str, float]:
        """Learning rates of the groups at a step."""
        fallen = 0.01 ** min(step / config.decay_steps, 1.0)
        return {
            "means": config.means_rate * self.extent * fallen,
            "quats": config.quats_rate,
            "log_scales": config.scales_rate,
            "logit_opacities": config.opacities_rate,
            "sh": config.sh_rate,
        }

    def _info(self, strategy: Strategy, seen: TrainingPictures, photo: PinholePhoto, means_rate: float) -> StepInfo:
        absgrad = isinstance(strategy, DefaultStrategy) and strategy.absgrad
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
        """The live rows, copied; of harmonics only those that are learnt."""
        remark = f"trained on {self.dataset.name}, {state.step} steps"
        rows = state.rows.gaussians(antialiased=state.config.antialiased, remark=remark)
        return replace(rows, sh=rows.sh[:, : (state.config.sh_degree + 1) ** 2].contiguous())

    def save(self, path: Path, state: GaussiansState) -> None:
        """Writes all of the state, whole or not at all."""
        tensors = state.rows.tensors("rows")
        tensors |= {"generator": state.generator.get_state(), "order": state.order.to(torch.int64)}
        at = Reached(state.step, state.seconds)
        save_checkpoint(path, FORMAT, self.config, at, tensors, now=asdict(state.config))

    def load(self, path: Path) -> GaussiansState:
        """The state that `save` wrote. Raises: FormatError where it is damaged, or of another run."""
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        # Checkpoints from before knobs could be turned do not say how they stand.
        now = config_in(path, header, "now", GaussiansTraining) if "now" in header else self.config
        try:
            generator = torch.Generator()
            generator.set_state(tensors["generator"])
            rows = TrainedGaussians.from_tensors("rows", tensors)
            return GaussiansState(rows, now, generator, tensors["order"].clone(), header["step"], header["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error


def strategy_of(config: GaussiansTraining, photos: int) -> Strategy:
    """The strategy that a config names, with its limits."""
    if config.strategy == "mcmc":
        return replace(config.mcmc, cap_max=config.cap)
    return replace(config.default, cap_max=config.cap, pause_after_reset=photos)


def _knobs(state: GaussiansState) -> dict[str, Knob]:
    """All but those of the strategy that is not in use."""
    mcmc = state.config.strategy == "mcmc"
    idle = ("default.",) if mcmc else ("mcmc.", "opacity_pull", "scale_pull")
    return {name: knob for name, knob in knobs_of(state.config).items() if not name.startswith(idle)}


def _sh_degree(state: GaussiansState) -> int:
    return min(state.step // state.config.sh_interval, state.config.sh_degree)


def _background(background: Background, generator: torch.Generator) -> torch.Tensor:  # [3]
    match background:
        case "random":
            return torch.rand(3, generator=generator)
        case "white":
            return torch.ones(3)
        case "black":
            return torch.zeros(3)


def _loss(
    config: GaussiansTraining, rendered: torch.Tensor, photo: PinholePhoto, background: torch.Tensor
) -> torch.Tensor:
    target = photo.over(background)
    if photo.known is not None:
        # Its rounding must not reach Adam either, which would make whole steps of it.
        known, still = photo.known[..., None], rendered.detach()
        rendered, target = torch.where(known, rendered, still), torch.where(known, target, still)
    return image_loss(rendered, target, ssim_share=config.ssim_share).loss


def _pull(config: GaussiansTraining, leaves: dict[str, torch.Tensor]) -> torch.Tensor | float:
    """MCMC wants rows that are not needed to be faint and small."""
    if config.strategy != "mcmc":
        return 0.0
    opacity, size = leaves["logit_opacities"].sigmoid().mean(), leaves["log_scales"].exp().mean()
    return config.opacity_pull * opacity + config.scale_pull * size


def scene_extent(dataset: PosedImages) -> float:
    """How far cameras stand from their middle, a tenth more: what sizes and learning rates are measured by."""
    positions = np.stack([dataset.images[i].position for i in dataset.train])
    radius = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    return 1.1 * radius if radius > 0 else 1.0
