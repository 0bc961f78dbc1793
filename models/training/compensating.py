"""Learning a compensation network along with the Gaussians whose pictures it corrects.

A step on a large photo looks at a part of it, which is what the network's work grows with. Where the processor
multiplies bfloat16 the network is learnt in it, its weights and their moments being float32.
Source: Yang et al. 2024, section 3.3 (Gaussians and network together, after the pruning); the published code's rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from h3d.models.compensation import (
    GRID,
    Compensation,
    CompensationNetwork,
    CompensationPlan,
    Form,
    quick_dtype,
    seen_by_network,
    through,
)
from h3d.models.gaussians import Gaussians
from h3d.models.knobs import Turn
from h3d.models.trained_gaussians import FEATURES, TrainedGaussians
from h3d.renderers.gaussians import Rect, Rendered

COMPENSATION = "compensation"
FIRST_FEATURES = 0.1
"""Standard deviation of what rows begin with: enough that the network can tell them apart."""
CLIP = 1.0
"""Of the network's gradient, its length."""


@dataclass(frozen=True)
class CompensationTraining:
    """Whether and how a network is learnt that gives pictures back what a pruning took."""

    compensate: Annotated[Literal["off", "tiny", "small", "medium", "large"], Turn(COMPENSATION)] = "off"
    """Size of the network; another begins anew."""
    compensate_form: Form = "features"
    """What the network sees and does: learnt features of Gaussians, adding to the picture; or gain, as SUNDAE's code:
    the picture alone, multiplying it."""
    compensate_features: int = 8
    """Features of each Gaussian, with form features."""
    compensate_rate: Annotated[float, Turn(COMPENSATION, 1e-6, 1e-1, logarithmic=True)] = 1e-3
    """Learning rate of the network."""
    compensate_features_rate: Annotated[float, Turn(COMPENSATION, 1e-6, 1.0, logarithmic=True)] = 1e-2
    """Learning rate of the features."""
    compensate_crop: Annotated[int, Turn(COMPENSATION, 32, 8192)] = 256
    """Pixels along each side of the part of a photo that a step looks at, while a network is learnt."""

    @property
    def plan(self) -> CompensationPlan | None:
        """Which network; None = none."""
        if self.compensate == "off":
            return None
        return CompensationPlan(self.compensate, self.compensate_form, self.compensate_features)


@dataclass(eq=False)
class LearntCompensation:
    """A network and Adam's moments. Changed in place."""

    network: CompensationNetwork
    optimizer: torch.optim.Adam

    @staticmethod
    def of(network: CompensationNetwork) -> LearntCompensation:
        """Before the first step, wherever the network is."""
        return LearntCompensation(network, torch.optim.Adam(network.parameters(), lr=1e-3))

    @staticmethod
    def begun(plan: CompensationPlan, rows: TrainedGaussians, generator: torch.Generator) -> LearntCompensation:
        """Before the first step: a network of its own chance, and features for all rows."""
        device, count = rows.ids.device, len(rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            network = CompensationNetwork(plan)
        values = FIRST_FEATURES * torch.randn(count, plan.blended, generator=generator)
        rows.carry(FEATURES, values.to(device) if plan.blended > 0 else None)
        return LearntCompensation.of(network.to(device))

    @staticmethod
    def going_on(gaussians: Gaussians, rows: TrainedGaussians) -> LearntCompensation | None:
        """With the network and the features that Gaussians have; None where they have none."""
        if gaussians.compensation is None:
            return None
        rows.carry(FEATURES, None if gaussians.features is None else gaussians.features.to(rows.ids.device))
        return LearntCompensation.of(_copied(gaussians.compensation.network).to(rows.ids.device))

    def corrected(self, pictures: Rendered, background: torch.Tensor) -> Rendered:  # [3]
        """The first picture, compensated, over the background that it was drawn over, in the graph of torch."""
        self.optimizer.zero_grad(set_to_none=True)
        seen = seen_by_network(pictures.rgb - (1.0 - pictures.alpha)[..., None] * background, pictures)
        with torch.autocast(seen.device.type, torch.bfloat16, enabled=quick_dtype() == torch.bfloat16):
            rgba = through(self.network, seen)[None]
        alpha = rgba[..., 3]
        return Rendered(rgba[..., :3] + (1.0 - alpha)[..., None] * background, alpha, None)

    @property
    def gradients(self) -> dict[str, torch.Tensor]:
        """After `backward`, of the network."""
        named = self.network.named_parameters()
        return {f"{COMPENSATION}.{name}": value.grad for name, value in named if value.grad is not None}

    def step(self, rate: float) -> None:
        """Moves the network down its gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()

    def reached(self) -> Compensation:
        """A copy as it is now, on the CPU."""
        return Compensation(_copied(self.network).requires_grad_(False))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        found = {f"{COMPENSATION}.network.{name}": value for name, value in self.network.state_dict().items()}
        for name, value in self.network.named_parameters():
            for key, moment in self.optimizer.state.get(value, {}).items():
                found[f"{COMPENSATION}.{key}.{name}"] = moment.reshape(moment.shape or (1,))
        return {name: value.detach().cpu() for name, value in found.items()}

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, torch.Tensor], plan: CompensationPlan, device: torch.device
    ) -> LearntCompensation:
        """Raises: KeyError or RuntimeError for an array that is missing or of another shape."""
        network = CompensationNetwork(plan)
        network.load_state_dict(
            {name: tensors[f"{COMPENSATION}.network.{name}"] for name in network.state_dict()},
        )
        learnt = LearntCompensation.of(network.to(device))
        for name, value in network.named_parameters():
            if f"{COMPENSATION}.step.{name}" in tensors:
                moments = {k: tensors[f"{COMPENSATION}.{k}.{name}"].to(device) for k in ("exp_avg", "exp_avg_sq")}
                step = tensors[f"{COMPENSATION}.step.{name}"].reshape(())
                learnt.optimizer.state[value] = {"step": step.clone(), **moments}
        return learnt


def part_of(size: tuple[int, int], side: int, generator: torch.Generator) -> Rect | None:
    """A square of about `side` pixels at a random place in a picture of a size; None where it would be all of it."""
    side = max(side - side % GRID, GRID)
    width, height = min(side, size[0]), min(side, size[1])
    if (width, height) == size:
        return None
    x, y = (
        int(torch.randint(whole - part + 1, (1,), generator=generator))
        for whole, part in zip(size, (width, height), strict=True)
    )
    return x, y, x + width, y + height


def _copied(network: CompensationNetwork) -> CompensationNetwork:
    """On the CPU."""
    copy = deepcopy(network).cpu().requires_grad_(True)
    copy.zero_grad(set_to_none=True)
    return copy
