"""Training an Instant-NGP radiance field from posed photos: a generator of steps.

A step draws rays, marches them through the occupied cells, leaves out the samples behind opaque ones, and takes the
gradient of the Huber loss of the blended colours. What differs from Instant-NGP, for a CPU: batches are an eighth of
its size, the learning rate falls from the start without needing to know the end, the occupancy grid is sampled sparsely
(`occupancy`), colours are blended in sRGB (as the papers' PSNR is). R rays, S samples.
Source: Mueller et al. 2022, appendix E; Huber loss of width 0.1 as its code has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch

from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.encodings import Encoding, dense_like, encode, fresh_table, tied
from h3d.models.hash_grid import (
    DENSITY_FEATURES,
    HashGridField,
    Weights,
    cascades_of,
    cone_angle,
    density_of,
    occupancy,
    rgb_of,
)
from h3d.models.knobs import Setting, Turn, knobs_of, turned
from h3d.renderers import backends, harmonics
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.fields import OccupancyGrid, Samples, composite, march
from h3d.renderers.frequency_encoding import FrequencyConfig
from h3d.renderers.hash_encoding import HashGridConfig, per_level_scale
from h3d.renderers.mlp import initial_weights, mlp

from . import Step
from . import occupancy as occupancy_grid
from .camera_refinement import CameraRefinement, corrected, sampled_along
from .checkpoints import Reached, config_in, damaged, load_checkpoint, save_checkpoint
from .live import Live
from .loop import Advance, Trainer, steps
from .photo_rays import PhotoRays, RayBatch, photo_rays, views
from .sampling import bounded, kept, thinned

FORMAT = "h3d hash grid training 1"
RATES = "learning rates"
HUBER_WIDTH = 0.1
MIN_RAYS, MAX_RAYS = 256, 1 << 16
MARCHED_SAMPLES = 8
"""Times the samples of a step that may be marched through, before those behind opaque ones are left out."""

Background = Literal["white", "black", "random"]


@dataclass(frozen=True)
class HashGridTraining:
    """How a field is trained; the defaults are for two CPU cores."""

    seed: int = 0
    downscale: Literal["auto", 1, 2, 4, 8] = "auto"
    """Photos are reduced by this factor; auto = the longest side is at most 640 pixels."""
    background: Annotated[Background, Turn("picture")] = "random"
    """What is behind transparent pixels while training; random teaches where nothing is."""
    encoding: Literal["hash", "dense", "frequency"] = "hash"
    """What is learnt in: hashed grids, dense ones of as many parameters, or a network alone that sees sines."""
    combine: Literal["concat", "sum"] = "concat"
    """Whether the network reads the features of the levels side by side, or their sum."""
    levels: int = 8
    features: Literal[1, 2, 4, 8] = 4
    log2_table_size: int = 17
    """Entries of a level at most, as a power of two: larger is sharper in the end and slower."""
    finest_resolution: int = 1024
    """Corners across the unit cube of the finest level; more than the photos can tell apart is learnt as noise."""
    hidden: int = 64
    """Width of the networks' hidden layers."""
    samples_per_step: int = 1 << 15
    """Samples that a step's gradient goes through; rays are drawn to meet it."""
    learning_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 1e-2
    """Of Adam, at first."""
    decay_steps: Annotated[int, Turn(RATES, 1, 1_000_000)] = 1000
    """Steps after which the learning rate is down to 0.7 of its start; from there it falls with the inverse root."""
    average_decay: float = 0.95
    """Of the running average of the weights, which is what is displayed."""
    network_l2: Annotated[float, Turn(RATES, 1e-9, 1e-2, logarithmic=True)] = 1e-6
    """Pull of the networks' weights towards zero."""
    octaves: int = 10
    """Of the frequency encoding."""
    grid_share: float = 1 / 32
    """Share of the occupancy grid's cells that an update samples blindly."""
    refine_cameras: Annotated[bool, Turn("cameras")] = False
    """Whether the photos' cameras are moved a little too, for poses that are not exact; half as slow again."""
    backend: Literal["auto", "cpu", "cuda"] = "cpu"
    """What trains; auto = a CUDA GPU where there is one. The same seed gives the same bits on the cpu only."""

    def __post_init__(self) -> None:
        if self.combine == "sum" and self.encoding == "frequency":
            raise ValueError("combine: sum; octaves are not features of one kind, use concat with frequency")

    @property
    def density_layers(self) -> int:
        """Matrices of the density network: one hidden layer after features that are learnt, else four."""
        return 5 if self.encoding == "frequency" else 2


@dataclass(eq=False)
class TrainingState:
    """All that changes during a run."""

    table: AdamRows
    networks: list[AdamRows]  # density, then colour
    thickness: torch.Tensor  # [cascades, 128^3]
    generator: torch.Generator
    config: HashGridTraining  # as it is now
    cameras: CameraRefinement | None = None  # None = they are where the data set has them
    refined: int = 0  # steps that gave cameras a gradient
    step: int = 0
    seconds: float = 0.0
    rays: int = MIN_RAYS
    grid: OccupancyGrid = field(init=False)

    def __post_init__(self) -> None:
        self.grid = occupancy(self.thickness)

    @property
    def refining(self) -> bool:
        """Whether cameras are moved; they stay where they have got to when that ends."""
        return self.config.refine_cameras

    def to(self, device: torch.device) -> TrainingState:
        """All arrays on `device`; what is random goes on being drawn on the CPU, the same for all devices."""
        return replace(
            self,
            table=self.table.to(device),
            networks=[network.to(device) for network in self.networks],
            thickness=self.thickness.to(device),
            cameras=None if self.cameras is None else self.cameras.to(device),
        )


def encoding_of(config: HashGridTraining, aabb_scale: float) -> Encoding:
    """Levels from 16 to `finest_resolution` corners across the unit cube; larger scenes get as fine ones.

    Dense grids of as many parameters end at coarser ones.
    """
    if config.encoding == "frequency":
        return FrequencyConfig(levels=config.octaves)
    scale = per_level_scale(16, config.finest_resolution * aabb_scale, config.levels)
    hashed = HashGridConfig(
        levels=config.levels,
        features=config.features,
        log2_table_size=config.log2_table_size,
        per_level_scale=scale,
    )
    return dense_like(hashed) if config.encoding == "dense" else hashed


def train(
    dataset: PosedImages, config: HashGridTraining, *, resume: Path | None = None
) -> Iterator[Step[HashGridField]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same data and config.

    Raises:
        DatasetError: a photo cannot be decoded.
        FormatError: the checkpoint is damaged, or it is of another configuration.
        RuntimeError: the loss is no longer a number.
    """
    photos = photo_rays(dataset, dataset.train, auto_downscale(dataset, config.downscale))
    trainer = FieldTrainer(dataset, config, photos)
    state = trainer.start() if resume is None else load_state(resume, config).to(trainer.device)
    return steps(trainer, state)


class FieldTrainer(Trainer[TrainingState, HashGridField]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, dataset: PosedImages, config: HashGridTraining, photos: PhotoRays) -> None:
        self.dataset, self.config = dataset, config
        side = float(dataset.aabb_scale)
        self.encoding = encoding_of(config, side)
        aabb = torch.tensor([[0.5 - side / 2] * 3, [0.5 + side / 2] * 3])
        self.cone_angle = cone_angle(side)
        self.device = backends.field_device(config.backend)
        self.photos, self.aabb = photos.to(self.device), aabb.to(self.device)

    def start(self) -> TrainingState:
        """The state before the first step."""
        generator = torch.Generator().manual_seed(self.config.seed)
        hidden = self.config.hidden
        width = self.encoding.width if self.config.combine == "concat" else self.config.features
        table = AdamRows.of(fresh_table(self.encoding, generator))
        inner = [hidden] * (self.config.density_layers - 1)
        density = initial_weights((width, *inner, DENSITY_FEATURES), generator)
        rgb = initial_weights((DENSITY_FEATURES + 16, hidden, hidden, 3), generator)
        networks = [AdamRows.of(weights) for weights in (*density, *rgb)]
        cascades = cascades_of(float(self.dataset.aabb_scale))
        thickness = occupancy_grid.initial(cascades, views(self.dataset, self.dataset.train))
        state = TrainingState(table, networks, thickness, generator, self.config).to(self.device)
        self._begin_refining(state)
        return state

    def live(self, state: TrainingState) -> Live:
        """Rates and background may change at any step; cameras are refined, or not, from any step on."""
        return Live(lambda: knobs_of(state.config), partial(self.change, state), partial(self.facts, state))

    def save(self, path: Path, state: TrainingState) -> None:
        """Writes all of the state, whole or not at all."""
        save_state(path, self.config, state)

    def change(self, state: TrainingState, name: str, value: Setting) -> None:
        """Turn one of the knobs; see `Live`."""
        state.config = turned(state.config, name, value)
        self._begin_refining(state)

    def _begin_refining(self, state: TrainingState) -> None:
        if state.refining and state.cameras is None:
            state.cameras = CameraRefinement.of(len(self.photos.sizes)).to(self.device)

    def facts(self, state: TrainingState) -> dict[str, str]:
        """How far cameras have moved."""
        if state.cameras is None:
            return {}
        degrees, share = state.cameras.moved
        return {"cameras moved": f"{degrees:.3f} degrees, {100.0 * share:.3f} % of the scene (mean)"}

    def advance(self, state: TrainingState) -> Advance:
        """One step in place."""
        self._update_occupancy(state)
        batch = self.photos.draw(state.rays, state.generator)
        samples = self._samples(state, *_as_cameras_are(state, batch))
        rays = samples.ray_counts.shape[0]
        batch = batch.first(rays)
        target, background = _blended(batch, state.config.background, state.generator)
        loss = self._descend(state, samples, batch, target, background)
        count = samples.positions.shape[0]
        wanted = rays * self.config.samples_per_step / max(count, 1)
        state.rays = int(min(max(wanted, MIN_RAYS), MAX_RAYS, 2 * rays))
        state.step += 1
        return Advance(loss, count, rays)

    def snapshot(self, state: TrainingState) -> HashGridField:
        """The field as it is displayed: averaged weights, copied, on the CPU."""
        decay, up, depth = self.config.average_decay, self.dataset.up, self.config.density_layers
        weights = [network.averaged(state.step, decay).cpu() for network in state.networks]
        return HashGridField(
            encoding=self.encoding,
            table=state.table.averaged(state.step, decay).cpu(),
            density_weights=self._first_network(tuple(weights[:depth])),
            rgb_weights=tuple(weights[depth:]),
            thickness=state.thickness.clone().cpu(),
            aabb=self.aabb.cpu(),
            ngp_from_world=torch.from_numpy(self.dataset.space.matrix),
            up=(float(up[0]), float(up[1]), float(up[2])),
            remark=f"trained on {self.dataset.name}, {state.step} steps",
        )

    def _features(self, state: TrainingState, positions: torch.Tensor, table: torch.Tensor, weights: Weights):
        warped = (positions - self.aabb[0]) / (self.aabb[1] - self.aabb[0])
        return mlp(encode(warped, table, self.encoding), self._first_network(weights))

    def _first_network(self, weights: Weights) -> Weights:
        """The density network as it reads the levels side by side."""
        return weights if self.config.combine == "concat" else (tied(weights[0], self.encoding), *weights[1:])

    def _update_occupancy(self, state: TrainingState) -> None:
        cascades = occupancy_grid.due(state.step, len(state.thickness))
        if len(cascades) == 0:
            return
        weights = tuple(network.values for network in state.networks[: self.config.density_layers])

        def density(positions: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return density_of(self._features(state, positions, state.table.values, weights))

        share = self.config.grid_share
        occupancy_grid.update(state.thickness, cascades, density, state.generator, step=state.step, share=share)
        state.grid = occupancy(state.thickness)

    def _samples(self, state: TrainingState, origins: torch.Tensor, directions: torch.Tensor) -> Samples:  # [R, 3]
        """Where the rays are sampled: in occupied cells, as far as light of a ray gets through."""
        jitter = torch.rand(origins.shape[0], generator=state.generator).to(self.device)
        samples = march(origins, directions, state.grid, aabb=self.aabb, cone_angle=self.cone_angle, jitter=jitter)
        samples = bounded(thinned(samples, state.generator), MARCHED_SAMPLES * self.config.samples_per_step)
        weights = tuple(network.values for network in state.networks[: self.config.density_layers])
        with torch.no_grad():
            density = density_of(self._features(state, samples.positions, state.table.values, weights))
            colors = torch.zeros(density.shape[0], 3, device=self.device)
            counts = composite(density, colors, samples, background=(0.0, 0.0, 0.0)).counts
        assert counts is not None
        return kept(samples, counts)

    def _descend(
        self,
        state: TrainingState,
        samples: Samples,
        batch: RayBatch,
        target: torch.Tensor,  # [R, 3]
        background: torch.Tensor,  # [R, 3]
    ) -> float:
        """The loss, and a step of the optimisers down its gradient."""
        table = state.table.values.requires_grad_()
        weights = tuple(network.values.requires_grad_() for network in state.networks)
        depth = self.config.density_layers
        parameters = [table, *weights]
        positions, directions = samples.positions, _as_cameras_are(state, batch)[1]
        if state.refining and state.cameras is not None:
            corrections = state.cameras.corrections.clone().requires_grad_()
            parameters.append(corrections)
            origins, directions = corrected(batch.origins, batch.directions, corrections[batch.photo])
            positions = sampled_along(origins, directions, samples)
        features = self._features(state, positions, table, weights[:depth])
        # The harmonics of a direction are those of its ray: worked out once a ray, not once a sample.
        bases = harmonics.basis(directions, 3).repeat_interleave(samples.ray_counts, dim=0)
        rgb = rgb_of(features, bases, weights[depth:])
        rendered = composite(density_of(features), rgb, samples, background=background)
        loss = torch.nn.functional.huber_loss(rendered.rgb, target, delta=HUBER_WIDTH)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for tensor in parameters:
            tensor.requires_grad_(False)
        self._optimise(state, gradients)
        return float(loss.detach())

    def _optimise(self, state: TrainingState, gradients: tuple[torch.Tensor, ...]) -> None:
        config = state.config
        rate = config.learning_rate / (1.0 + state.step / config.decay_steps) ** 0.5
        options = AdamOptions(learning_rate=rate, decay=config.average_decay)
        step = state.step + 1
        adam_step(state.table, gradients[0], step=step, options=replace(options, skip_zero_rows=True))
        networks = len(state.networks)
        for network, gradient in zip(state.networks, gradients[1 : 1 + networks], strict=True):
            adam_step(network, gradient, step=step, options=replace(options, l2=config.network_l2))
        if state.refining and state.cameras is not None:
            state.refined += 1
            state.cameras.gather(gradients[-1], step=state.refined, field_rate=rate)


def _as_cameras_are(state: TrainingState, batch: RayBatch) -> tuple[torch.Tensor, torch.Tensor]:  # [R, 3], [R, 3]
    """Origins and directions with what is known by now of how cameras stand."""
    if state.cameras is None:
        return batch.origins, batch.directions
    return corrected(batch.origins, batch.directions, state.cameras.corrections[batch.photo])


def _blended(
    batch: RayBatch, background: Background, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:  # [R, 3], [R, 3]
    """The colours to reach, and what is behind the field."""
    match background:
        case "random":
            behind = torch.rand(batch.rgb.shape, generator=generator).to(batch.rgb.device)
        case "white":
            behind = torch.ones_like(batch.rgb)
        case "black":
            behind = torch.zeros_like(batch.rgb)
    alpha = batch.alpha[:, None]
    return batch.rgb * alpha + behind * (1.0 - alpha), behind


def save_state(path: Path, config: HashGridTraining, state: TrainingState) -> None:
    """Writes all of the state, whole or not at all."""
    tensors = state.table.tensors("table") | {"thickness": state.thickness}
    tensors["generator"] = state.generator.get_state()
    for index, network in enumerate(state.networks):
        tensors |= network.tensors(f"network.{index}")
    if state.cameras is not None:
        tensors |= state.cameras.tensors()
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    at = Reached(state.step, state.seconds)
    more = {"networks": len(state.networks), "rays": state.rays, "refined": state.refined, "now": asdict(state.config)}
    save_checkpoint(path, FORMAT, config, at, tensors, **more)


def load_state(path: Path, config: HashGridTraining) -> TrainingState:
    """The state that `save_state` wrote; `config` must be the one that it was written with.

    Raises:
        FormatError: it is damaged, or of another configuration.
    """
    header, tensors = load_checkpoint(path, FORMAT, config)
    try:
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        # Checkpoints from before knobs could be turned do not say how they stand, or say it of the cameras alone.
        now = replace(config, refine_cameras=bool(header.get("refining", config.refine_cameras)))
        if "now" in header:
            now = config_in(path, header, "now", HashGridTraining)
        refined = int(header.get("refined", header["step"] if config.refine_cameras else 0))
        return TrainingState(
            AdamRows.from_tensors("table", tensors),
            [AdamRows.from_tensors(f"network.{index}", tensors) for index in range(header["networks"])],
            tensors["thickness"],
            generator,
            now,
            CameraRefinement.from_tensors(tensors) if now.refine_cameras or refined > 0 else None,
            refined=refined,
            step=header["step"],
            seconds=header["seconds"],
            rays=header["rays"],
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise damaged(path, error) from error
