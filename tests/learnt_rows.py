"""Gaussians in the middle of learning, for tests: every row's moments and values tell which row it was."""

from __future__ import annotations

import torch

from h3d.models.gaussians import Gaussians, from_rows
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_gaussians(count: int, *, scale: float = 0.01, opacity: float = 0.5, sh_degree: int = 1) -> Gaussians:
    draw = generator(count)
    return from_rows(
        means=torch.rand(count, 3, generator=draw),
        quats=torch.randn(count, 4, generator=draw),
        log_scales=torch.full((count, 3), scale).log(),
        logit_opacities=torch.full((count,), opacity).logit(),
        sh=torch.randn(count, (sh_degree + 1) ** 2, 3, generator=draw),
    )


def learnt(gaussians: Gaussians) -> TrainedGaussians:
    """Its moments hold the id of their row."""
    state = TrainedGaussians.of(gaussians)
    for group in state.groups.values():
        for array in (group.first, group.second, group.counts[:, None]):
            array.add_(state.ids[:, None])
    return state


def step_info(
    state: TrainedGaussians,
    *,
    gradients: torch.Tensor | None = None,
    radii: torch.Tensor | None = None,
    visible: torch.Tensor | None = None,
    means_rate: float = 0.0,
) -> StepInfo:
    zeros = torch.zeros(len(state))
    return StepInfo(
        gradients=zeros if gradients is None else gradients,
        radii=zeros if radii is None else radii,
        visible=torch.ones(len(state), dtype=torch.bool) if visible is None else visible,
        longest_side=400,
        extent=1.0,
        means_rate=means_rate,
    )


def assert_moments_are_of_their_rows(state: TrainedGaussians, known: int) -> None:
    """Rows with an id below `known` have the moments they had; the others have none yet."""
    expected = torch.where(state.ids < known, state.ids, 0)
    for group in state.groups.values():
        assert group.counts.tolist() == expected.tolist()
        for moment in (group.first, group.second):
            assert torch.equal(moment, expected[:, None].float().expand_as(moment))
