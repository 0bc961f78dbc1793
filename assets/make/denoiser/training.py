"""Trains the embedded denoiser; stops and goes on where it was, with the same numbers.

The loss is the squared error of v, each timestep alike. A running average of the weights is what is tested and shipped.
Writes below a run folder: `checkpoint.safetensors` (weights, their average, Adam's moments), `log.csv`.
Source: Salimans and Ho 2022 (v-prediction); Ho and Salimans 2022 (classifier-free guidance, by dropout).
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from h3d.models.diffusion.embedded import EmbeddedDenoiser, config_from_json
from h3d.models.diffusion.network import EmbeddedNetwork, NetworkConfig
from h3d.models.diffusion.schedule import NoiseSchedule
from h3d.models.formats.atomic import replacing
from h3d.models.formats.tensors import read_safetensors, write_safetensors

from .batches import Batch, draw_batch
from .dataset import PosedViews

FORMAT = "h3d denoiser training"
CHECKPOINT, LOG = "checkpoint.safetensors", "log.csv"
LOG_FIELDS = ("step", "seconds", "loss")
MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT_DECAY = 0.01
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; a run keeps what it began with, but for its length, its threads and its shards."""

    seed: int = 0
    steps: int = 30_000
    """The learning rate falls over the last part of these."""
    batch: int = 32
    learning_rate: float = 1e-3
    warm_up: int = 200
    cool_down: float = 0.25
    """Share of the steps over which the rate falls to a twentieth."""
    average: float = 0.999
    """Share of the old average that a step keeps; less at the beginning."""
    clip: float = 1.0
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    device: str = "cpu"

    def rate_at(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warm_up) if self.warm_up > 0 else 1.0
        falling = (self.steps - step) / max(1.0, self.cool_down * self.steps)
        return self.learning_rate * rising * min(1.0, max(0.05, falling))


@dataclass
class TrainingState:
    """A run as it stands."""

    network: EmbeddedNetwork
    average: dict[str, torch.Tensor]
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    earlier_steps: int = 0
    """Of the denoiser that it began with."""


@dataclass(frozen=True)
class Step:
    """What a step did."""

    step: int
    seconds: float
    loss: float


def new_state(network: NetworkConfig, options: TrainingOptions) -> TrainingState:
    """Step 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        made = EmbeddedNetwork(network)
    return _state(made.to(options.device), options)


def begin_with(state: TrainingState, denoiser: EmbeddedDenoiser) -> None:
    """Go on from a denoiser's weights, Adam's moments anew.

    Raises:
        RuntimeError: its network has another plan.
    """
    weights = denoiser.network.state_dict()
    state.network.load_state_dict(weights)
    for name, value in state.average.items():
        value.copy_(weights[name])
    state.earlier_steps = sum(int(denoiser.record.get(name, 0)) for name in ("steps", "earlier_steps"))


def train(state: TrainingState, dataset: PosedViews, options: TrainingOptions) -> Iterator[Step]:
    """Changes the state step by step, to the end of `options.steps`."""
    schedule = NoiseSchedule()
    while state.step < options.steps:
        started = time.perf_counter()
        batch = draw_batch(dataset, options.batch, len(schedule), seed=options.seed, step=state.step)
        loss = _learn(state, _moved(batch, options.device), schedule, options)
        state.step += 1
        state.seconds += time.perf_counter() - started
        yield Step(state.step, state.seconds, loss)


def v_loss(network: nn.Module, batch: Batch, schedule: NoiseSchedule) -> torch.Tensor:
    """Mean squared error of v."""
    noisy = schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
    found = network(noisy, batch.timesteps, batch.reference, batch.pose, batch.tokens)
    return (found.float() - schedule.v_of(batch.latents, batch.noise, batch.timesteps)).pow(2).mean()


def save(state: TrainingState, options: TrainingOptions, folder: Path) -> None:
    """Writes the checkpoint, whole or not at all."""
    header = {
        "format": FORMAT,
        "step": state.step,
        "seconds": state.seconds,
        "earlier_steps": state.earlier_steps,
        "network": asdict(state.network.config),
        "options": asdict(options),
    }
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in state.average.items()}
    for name, value in state.network.named_parameters():
        moments = state.optimizer.state.get(value, {})
        tensors |= {f"{key}.{name}": moments[key] for key in MOMENTS if key in moments}
    with replacing(folder / CHECKPOINT) as file:
        write_safetensors(file, header, {name: value.cpu() for name, value in tensors.items()})


def load(folder: Path, options: TrainingOptions) -> tuple[TrainingState, TrainingOptions]:
    """The run in a folder, and its options: its own, with the length and the device of those given.

    Raises:
        FormatError, OSError: there is no checkpoint, or it is damaged.
    """
    header, tensors = read_safetensors(folder / CHECKPOINT, FORMAT)
    kept = TrainingOptions(**header["options"])
    kept = replace(kept, steps=options.steps, device=options.device)
    network = EmbeddedNetwork(config_from_json(header["network"]))
    network.load_state_dict(_below(tensors, "network."))
    state = _state(network.to(kept.device), kept)
    state.average = {name: value.to(kept.device) for name, value in _below(tensors, "average.").items()}
    state.step, state.seconds = header["step"], header["seconds"]
    state.earlier_steps = header.get("earlier_steps", 0)
    for name, value in network.named_parameters():
        moments = {key: tensors[f"{key}.{name}"].to(kept.device) for key in MOMENTS if f"{key}.{name}" in tensors}
        if len(moments) > 0:
            state.optimizer.state[value] = {"step": torch.tensor(float(state.step)), **moments}
    return state, kept


def averaged_network(folder: Path) -> tuple[EmbeddedNetwork, dict]:
    """The network with its averaged weights, and the checkpoint's header."""
    header, tensors = read_safetensors(folder / CHECKPOINT, FORMAT)
    network = EmbeddedNetwork(config_from_json(header["network"]))
    network.load_state_dict(_below(tensors, "average."))
    return network.eval(), header


def trim_log(folder: Path, step: int) -> None:
    """Drops rows of the log that a run which goes on from `step` will write again."""
    path = folder / LOG
    if not path.exists():
        path.write_text(",".join(LOG_FIELDS) + "\n")
        return
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    with replacing(path) as file:
        lines = [",".join(LOG_FIELDS), *(",".join(row[key] for key in LOG_FIELDS) for row in rows)]
        file.write(("\n".join(lines) + "\n").encode())


def add_to_log(folder: Path, step: int, seconds: float, loss: float) -> None:
    with open(folder / LOG, "a") as file:
        file.write(f"{step},{seconds:.1f},{loss:.6f}\n")
    _log.info("%s", json.dumps({"step": step, "seconds": round(seconds), "loss": round(loss, 5)}))


def _state(network: EmbeddedNetwork, options: TrainingOptions) -> TrainingState:
    optimizer = torch.optim.AdamW(
        network.parameters(), options.learning_rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY
    )
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return TrainingState(network.train(), average, optimizer)


def _learn(state: TrainingState, batch: Batch, schedule: NoiseSchedule, options: TrainingOptions) -> float:
    """One step of Adam and of the average; returns the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = options.rate_at(state.step)
    kind = torch.device(options.device).type
    with torch.autocast(kind, torch.bfloat16, enabled=options.precision == "bfloat16"):
        loss = v_loss(state.network, batch, schedule)
    state.network.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
    state.optimizer.step()
    keep = min(options.average, (1.0 + state.step) / (10.0 + state.step))
    current = state.network.state_dict()
    for name, value in state.average.items():
        value.lerp_(current[name], 1.0 - keep)
    return float(loss.detach())


def _moved(batch: Batch, device: str) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
