"""Training a radiance cache on the paths of its own scene: a generator of steps.

A step traces some thousand paths, half of them from where the scene is looked at and half from anywhere inside, cuts
them after a few vertices, and teaches the cache at every vertex what the path behind it brought; behind the cut speaks
the cache itself, but for a few paths that are traced to their ends, which keep it from believing itself. The loss is
relative to the cache's own answer, so that dark corners count as much as lamps. P paths, V vertices of a path.
Source: Mueller et al. 2021, sections 3.2 to 3.4 (self-training, relative loss, averaged weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from h3d.models.path_traced import PathTracedScene
from h3d.models.radiance_cache import RadianceCache, UnitCube, scattered
from h3d.models.surface_scene import SurfaceScene
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.hash_encoding import HashGridConfig, initial_table, per_level_scale
from h3d.renderers.mlp import initial_weights
from h3d.renderers.path_tracer import SURFACE_INPUTS, SurfacePoints, TrainingPaths, trace_training

from . import Step
from .checkpoints import Reached, damaged, load_checkpoint, save_checkpoint
from .loop import Advance, Trainer, steps

FORMAT = "h3d radiance cache training 1"
BASE_RESOLUTION = 8
DARK = 0.01
"""Added to the square that the loss is relative to, in units of the scene's light."""


@dataclass(frozen=True)
class CacheTraining:
    """How a radiance cache is learnt; the defaults are for two CPU cores."""

    seed: int = 0
    log2_table_size: int = 14
    """Entries of a level at most, as a power of two."""
    levels: int = 8
    finest_resolution: int = 256
    """Corners along a side of the finest level."""
    hidden: int = 32
    """Width of the network's two hidden layers."""
    paths_per_step: int = 2048
    vertices: int = 4
    """Vertices of a path that the cache learns from."""
    whole_share: float = 1 / 16
    """Share of the paths that are traced to their ends."""
    learning_rate: float = 1e-2
    decay_steps: int = 500
    """Steps after which the learning rate is down to 0.7 of its start; from there it falls with the inverse root."""
    average_decay: float = 0.95
    """Of the running average of the weights, which is what is asked for light."""

    def __post_init__(self) -> None:
        if not 3 <= self.log2_table_size <= 24:
            raise ValueError(f"log2_table_size {self.log2_table_size}: must be 3 to 24")
        if not 0.0 < self.whole_share <= 1.0:
            raise ValueError(f"whole_share {self.whole_share}: must be above 0 and at most 1")
        for name in ("levels", "hidden", "paths_per_step", "vertices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be 1 or more")


@dataclass(eq=False)
class CacheState:
    """All that changes during a run."""

    table: AdamRows
    network: list[AdamRows]
    generator: torch.Generator
    scale: float
    step: int = 0
    seconds: float = 0.0


def train(
    scene: SurfaceScene, config: CacheTraining, *, resume: Path | None = None, name: str = ""
) -> Iterator[Step[PathTracedScene]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same scene and config.

    Raises:
        FormatError: the checkpoint is damaged or of another run.
        ValueError: the scene has no light.
        RuntimeError: the loss is no longer a number.
    """
    trainer = CacheTrainer(scene, config, name)
    state = trainer.start() if resume is None else trainer.load(resume)
    return steps(trainer, state)


class CacheTrainer(Trainer[CacheState, PathTracedScene]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, scene: SurfaceScene, config: CacheTraining, name: str = "") -> None:
        self.scene, self.config, self.name = scene, config, name
        self.cube = UnitCube.around(scene.bounds)
        self.encoding = HashGridConfig(
            dims=3,
            levels=config.levels,
            log2_table_size=config.log2_table_size,
            base_resolution=BASE_RESOLUTION,
            per_level_scale=per_level_scale(BASE_RESOLUTION, config.finest_resolution, config.levels),
        )

    def start(self) -> CacheState:
        """The state before the first step. Raises: ValueError where the scene has no light."""
        generator = torch.Generator().manual_seed(self.config.seed)
        hidden = self.config.hidden
        table = AdamRows.of(initial_table(self.encoding, generator))
        widths = (self.encoding.width + SURFACE_INPUTS, hidden, hidden, 3)
        network = [AdamRows.of(matrix) for matrix in initial_weights(widths, generator)]
        return CacheState(table, network, generator, self._light_of_the_scene(generator))

    def _light_of_the_scene(self, generator: torch.Generator) -> float:
        """The mean light that surfaces scatter, as far as one batch of whole paths tells."""
        paths = self._paths(generator, number=0, whole=self.config.paths_per_step)
        first = paths.gathered[:, 0][paths.counts > 0]
        scale = float(first.mean()) if len(first) > 0 else 0.0
        if not scale > 0.0:
            raise ValueError(f"{self.name or 'the scene'}: no light was met; give a material an emission")
        return scale

    def _paths(self, generator: torch.Generator, number: int, whole: int) -> TrainingPaths:
        origins, directions = self._rays(generator)
        return trace_training(
            self.scene.surfaces,
            origins,
            directions,
            vertices=self.config.vertices,
            whole=whole,
            sample=number,
            seed=self.config.seed,
        )

    def _rays(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:  # [P, 3], [P, 3]
        """Every other one through the scene's camera, the others from anywhere into any direction."""
        count = self.config.paths_per_step
        directions = torch.randn(count, 3, generator=generator)
        low, high = (torch.from_numpy(corner).float() for corner in self.scene.bounds)
        origins = low + (high - low) * torch.rand(count, 3, generator=generator)
        camera = self.scene.camera
        at = torch.rand(len(directions[::2]), 2, generator=generator) - 0.5
        half = torch.tensor([camera.width / camera.focal, camera.height / camera.focal])
        local = torch.cat([at * half, torch.ones(len(at), 1)], dim=1)
        pose = torch.from_numpy(camera.camera_to_world).float()
        directions[::2], origins[::2] = local @ pose[:3, :3].T, pose[:3, 3]
        return origins, torch.nn.functional.normalize(directions, dim=1)

    def advance(self, state: CacheState) -> Advance:
        """One step in place, from every vertex of the paths."""
        whole = max(1, round(self.config.whole_share * self.config.paths_per_step))
        paths = self._paths(state.generator, state.step + 1, whole)
        points, wanted = self._lessons(state, paths)
        table = state.table.values.requires_grad_()
        network = [rows.values.requires_grad_() for rows in state.network]
        found = scattered(points, table, network, self.encoding, self.cube)
        brightness = found.detach().mean(dim=1, keepdim=True)
        loss = ((found - wanted).square() / (brightness.square() + DARK)).mean()
        gradients = torch.autograd.grad(loss, [table, *network])
        for tensor in (table, *network):
            tensor.requires_grad_(False)
        state.step += 1
        self._optimise(state, gradients)
        return Advance(float(loss.detach()), len(wanted), self.config.paths_per_step)

    def _lessons(self, state: CacheState, paths: TrainingPaths) -> tuple[SurfacePoints, torch.Tensor]:
        """The vertices, and the light [N, 3] that each scatters as far as its path tells, in units of the scale."""
        config, count = self.config, self.config.paths_per_step
        rows = torch.arange(count) * (config.vertices + 1)
        light = torch.zeros(count, 3)
        asked = torch.nonzero(paths.open).squeeze(1)
        with torch.no_grad():
            beyond = paths.points[rows[asked] + paths.counts[asked]]
            network = [matrix.values for matrix in state.network]
            light[asked] = scattered(beyond, state.table.values, network, self.encoding, self.cube).clamp(min=0.0)
        wanted = torch.empty(count, config.vertices, 3)
        for vertex in reversed(range(config.vertices)):
            inside = (vertex < paths.counts)[:, None]
            arrived = paths.gathered[:, vertex] / state.scale + paths.carried[:, vertex] * light
            light = torch.where(inside, arrived, light)
            wanted[:, vertex] = light
        kept = torch.nonzero((torch.arange(config.vertices) < paths.counts[:, None]).flatten()).squeeze(1)
        path, vertex = kept // config.vertices, kept % config.vertices
        return paths.points[rows[path] + vertex], wanted.view(-1, 3)[kept]

    def _optimise(self, state: CacheState, gradients: tuple[torch.Tensor, ...]) -> None:
        config = self.config
        rate = config.learning_rate / (1.0 + (state.step - 1) / config.decay_steps) ** 0.5
        options = AdamOptions(learning_rate=rate, decay=config.average_decay)
        adam_step(state.table, gradients[0], step=state.step, options=replace(options, skip_zero_rows=True))
        for rows, gradient in zip(state.network, gradients[1:], strict=True):
            adam_step(rows, gradient, step=state.step, options=options)

    def snapshot(self, state: CacheState) -> PathTracedScene:
        """The scene with the cache as it is asked: averaged weights, copied."""
        decay = self.config.average_decay
        cache = RadianceCache(
            self.encoding,
            state.table.averaged(state.step, decay),
            tuple(rows.averaged(state.step, decay) for rows in state.network),
            self.cube,
            state.scale,
            state.step,
        )
        return PathTracedScene(self.scene, cache, remark=f"trained on {self.name}, {state.step} steps")

    def save(self, path: Path, state: CacheState) -> None:
        """Writes all of the state, whole or not at all."""
        tensors = state.table.tensors("table") | {"generator": state.generator.get_state()}
        for index, rows in enumerate(state.network):
            tensors |= rows.tensors(f"network.{index}")
        save_checkpoint(path, FORMAT, self.config, Reached(state.step, state.seconds), tensors, scale=state.scale)

    def load(self, path: Path) -> CacheState:
        """The state that `save` wrote. Raises: FormatError where it is damaged, or of another run."""
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        try:
            generator = torch.Generator()
            generator.set_state(tensors["generator"])
            network = [AdamRows.from_tensors(f"network.{index}", tensors) for index in range(3)]
            table, scale = AdamRows.from_tensors("table", tensors), float(header["scale"])
            return CacheState(table, network, generator, scale, header["step"], header["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error
