"""Compensation networks as nobody would train them: they change every picture."""

from __future__ import annotations

import torch

from h3d.models.compensation import CompensationNetwork, CompensationPlan


def random_network(plan: CompensationPlan, seed: int = 0) -> CompensationNetwork:
    """Every weight random, the last ones too, which training begins at nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = CompensationNetwork(plan)
        torch.nn.init.normal_(made.last.weight, std=0.2)
    return made.requires_grad_(False)
