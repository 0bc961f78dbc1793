"""A denoiser of the embedded one's kind with random weights, small enough for a step in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch

from h3d.models.diffusion.embedded import write_embedded
from h3d.models.diffusion.network import EmbeddedNetwork, NetworkConfig

TINY = NetworkConfig(size=16, channels=(8, 16), attention=(False, True), layers=(1, 1), heads=2, text_width=16)


def write_tiny_denoiser(path: Path) -> str:
    """Writes the file and returns its name as `--prior` takes it."""
    torch.manual_seed(0)
    network = EmbeddedNetwork(TINY)
    for parameter in network.parameters():
        # Layers that begin at 0 or 1 would hide what is wired to them.
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    write_embedded(network, {}, path)
    return str(path)
