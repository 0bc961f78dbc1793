"""Training a signed distance field from a mesh: a generator of steps.

The loss is the mean of |found - true| / (|true| + 0.01) in the unit cube: near the surface it counts absolutely, far
from it relatively. What differs from Instant-NGP, for a CPU: batches are an eighth of its size, the table is smaller
and its finest level coarser (`SignedDistanceTraining`), the learning rate falls from the start, points are used more
than once (`mesh_points`).
Source: Mueller et al. 2022, section 5.2 and appendix E; MAPE loss with the 0.01 of tiny-cuda-nn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from h3d.models.meshes import Mesh
from h3d.models.signed_distance import SignedDistanceField
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, initial_table, per_level_scale
from h3d.renderers.mlp import initial_weights, mlp

from . import Step
from .checkpoints import Reached, damaged, load_checkpoint, save_checkpoint
from .loop import Advance, Trainer, steps
from .mesh_points import MeshPoints, PointPool

FORMAT = "h3d signed distance training 1"
MARGIN = 0.05
"""Around the mesh, as a share of its longest side: as far as the field knows distances."""
MAPE_FLOOR = 0.01
POOL_SIZE = 1 << 18
RENEWED = 1 / 16
"""Of a batch's size, how many points of the pool a step replaces."""


@dataclass(frozen=True)
class SignedDistanceTraining:
    """How a distance field is trained; the defaults are for two CPU cores."""

    seed: int = 0
    levels: int = 16
    log2_table_size: int = 17
    """Entries of a level at most, as a power of two: larger is slower, and in minutes not better."""
    finest_resolution: int = 320
    """Corners across the unit cube of the finest level; finer ones learn their own noise into the normals."""
    hidden: int = 64
    """Width of the network's hidden layers."""
    points_per_step: int = 1 << 15
    learning_rate: float = 4e-4
    """Of the table."""
    network_learning_rate: float = 1.2e-3
    decay_steps: int = 500
    """Steps after which the learning rates are down to 0.7 of their start; they fall with the inverse root."""
    average_decay: float = 0.98
    """Of the running average of the weights, which is what is displayed."""
    network_l2: float = 1e-6


@dataclass(eq=False)
class TrainingState:
    """All that changes during a run."""

    table: AdamRows
    network: list[AdamRows]
    pool: PointPool
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class UnitMesh:
    """A mesh moved into the unit cube, and where it came from."""

    mesh: Mesh  # in the unit cube
    box: np.ndarray  # [2, 3] about it, with a margin
    asset_from_unit: np.ndarray  # [4, 4] a uniform scale and a translation
    name: str

    @staticmethod
    def of(mesh: Mesh, name: str) -> UnitMesh:
        """The longest side with its margins fills the cube."""
        low, high = mesh.bounds
        margin = MARGIN * float((high - low).max())
        scale = float((high - low).max()) + 2.0 * margin
        asset_from_unit = np.diag([scale, scale, scale, 1.0])
        asset_from_unit[:3, 3] = 0.5 * (low + high) - 0.5 * scale
        moved = mesh.transformed(np.linalg.inv(asset_from_unit))
        edge = margin / scale
        box = np.clip(moved.bounds + np.array([[-edge], [edge]]), 0.0, 1.0)
        return UnitMesh(moved, box, asset_from_unit, name)


def train(
    mesh: UnitMesh, config: SignedDistanceTraining, *, resume: Path | None = None
) -> Iterator[Step[SignedDistanceField]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same mesh and config.

    Raises:
        FormatError: the checkpoint is damaged, or it is of another configuration.
        RuntimeError: the loss is no longer a number.
    """
    trainer = DistanceTrainer(mesh, config)
    state = trainer.start() if resume is None else load_state(resume, config)
    return steps(trainer, state)


class DistanceTrainer(Trainer[TrainingState, SignedDistanceField]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, mesh: UnitMesh, config: SignedDistanceTraining) -> None:
        self.mesh, self.config = mesh, config
        self.encoding = HashGridConfig(
            levels=config.levels,
            log2_table_size=config.log2_table_size,
            per_level_scale=per_level_scale(16, config.finest_resolution, config.levels),
        )
        self.source = MeshPoints(mesh.mesh, mesh.box)
        self.renewed = max(1, round(RENEWED * config.points_per_step))
        while POOL_SIZE % self.renewed != 0:
            self.renewed += 1

    def start(self) -> TrainingState:
        """The state before the first step."""
        generator = torch.Generator().manual_seed(self.config.seed)
        hidden = self.config.hidden
        table = AdamRows.of(initial_table(self.encoding, generator))
        weights = initial_weights((self.encoding.width, hidden, hidden, 1), generator)
        network = [AdamRows.of(matrix) for matrix in weights]
        return TrainingState(table, network, PointPool.filled(self.source, POOL_SIZE, generator), generator)

    def advance(self, state: TrainingState) -> Advance:
        """One step in place."""
        state.pool.renew(self.source, self.renewed, state.generator)
        points, distances = state.pool.draw(self.config.points_per_step, state.generator)
        loss = self._descend(state, points, distances)
        state.step += 1
        return Advance(loss, self.config.points_per_step)

    def save(self, path: Path, state: TrainingState) -> None:
        """Writes all of the state, whole or not at all."""
        save_state(path, self.config, state)

    def snapshot(self, state: TrainingState) -> SignedDistanceField:
        """The field as it is displayed: averaged weights, copied."""
        decay = self.config.average_decay
        return SignedDistanceField(
            encoding=self.encoding,
            table=state.table.averaged(state.step, decay),
            weights=tuple(rows.averaged(state.step, decay) for rows in state.network),
            box=torch.from_numpy(self.mesh.box).float(),
            asset_from_unit=torch.from_numpy(self.mesh.asset_from_unit),
            remark=f"trained on {self.mesh.name}, {state.step} steps",
        )

    def _descend(self, state: TrainingState, points: torch.Tensor, distances: torch.Tensor) -> float:
        """The loss, and a step of the optimisers down its gradient."""
        table = state.table.values.requires_grad_()
        weights = tuple(rows.values.requires_grad_() for rows in state.network)
        found = mlp(hash_encode(points, table, self.encoding), weights)[:, 0]
        loss = mape(found, distances)
        gradients = torch.autograd.grad(loss, [table, *weights])
        for tensor in (table, *weights):
            tensor.requires_grad_(False)
        self._optimise(state, gradients)
        return float(loss.detach())

    def _optimise(self, state: TrainingState, gradients: tuple[torch.Tensor, ...]) -> None:
        config, step = self.config, state.step + 1
        share = 1.0 / (1.0 + state.step / config.decay_steps) ** 0.5
        options = AdamOptions(config.learning_rate * share, decay=config.average_decay, skip_zero_rows=True)
        adam_step(state.table, gradients[0], step=step, options=options)
        rate = config.network_learning_rate * share
        options = replace(options, learning_rate=rate, l2=config.network_l2, skip_zero_rows=False)
        for rows, gradient in zip(state.network, gradients[1:], strict=True):
            adam_step(rows, gradient, step=step, options=options)


def mape(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:  # [P], [P]
    """Mean absolute error as a share of the truth, which counts as `MAPE_FLOOR` at least."""
    return ((found - true).abs() / (true.abs() + MAPE_FLOOR)).mean()


def save_state(path: Path, config: SignedDistanceTraining, state: TrainingState) -> None:
    """Writes all of the state, whole or not at all."""
    tensors = state.table.tensors("table") | {"generator": state.generator.get_state()}
    tensors |= {"pool.points": state.pool.points, "pool.distances": state.pool.distances}
    for index, rows in enumerate(state.network):
        tensors |= rows.tensors(f"network.{index}")
    at, oldest = Reached(state.step, state.seconds), state.pool.oldest
    save_checkpoint(path, FORMAT, config, at, tensors, networks=len(state.network), oldest=oldest)


def load_state(path: Path, config: SignedDistanceTraining) -> TrainingState:
    """The state that `save_state` wrote; `config` must be the one that it was written with.

    Raises:
        FormatError: it is damaged, or of another configuration.
    """
    header, tensors = load_checkpoint(path, FORMAT, config)
    try:
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        return TrainingState(
            AdamRows.from_tensors("table", tensors),
            [AdamRows.from_tensors(f"network.{index}", tensors) for index in range(header["networks"])],
            PointPool(tensors["pool.points"].clone(), tensors["pool.distances"].clone(), int(header["oldest"])),
            generator,
            step=header["step"],
            seconds=header["seconds"],
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise damaged(path, error) from error
