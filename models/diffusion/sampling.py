"""Pictures drawn from a denoiser: DDIM, without noise of its own.

Source: Song et al. 2021, "Denoising diffusion implicit models", equation 12 with sigma = 0.
"""

from __future__ import annotations

from typing import TypeVar

import torch

from .denoiser import Denoiser

Description = TypeVar("Description")


@torch.no_grad()
def sample(
    denoiser: Denoiser[Description],
    description: Description,
    poses: torch.Tensor,  # [B, 3] azimuth and elevation in degrees, radius
    *,
    steps: int = 25,
    guidance_scale: float | None = None,
    seed: int = 0,
) -> torch.Tensor:  # [B, C, h, w]
    """Latents of what cameras see of a subject; the same seed gives the same."""
    if not 1 <= steps <= len(denoiser.schedule):
        raise ValueError(f"sample: steps is {steps}; it must be from 1 to {len(denoiser.schedule)}")
    scale = denoiser.guidance_scale if guidance_scale is None else guidance_scale
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(poses), *denoiser.latent_shape, generator=generator).to(poses.device)
    # From the last timestep down, evenly; what follows the lowest is the picture itself.
    times = torch.linspace(len(denoiser.schedule) - 1, 0, steps + 1).round().to(torch.int64)[:-1].tolist()
    for now, after in zip(times, [*times[1:], None], strict=True):
        at = torch.full((len(poses),), now, device=poses.device)
        noise = denoiser.predict_noise(latents, at, description, poses, scale)
        picture = denoiser.schedule.latents_from_noise(noise, latents, at)
        latents = picture if after is None else denoiser.schedule.add_noise(picture, noise, torch.full_like(at, after))
    return latents
