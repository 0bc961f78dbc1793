"""Score distillation: what a denoiser would change in a rendered picture, as a gradient to its latents.

z are the latents [B, C, h, w] of rendered pictures, x_t = a_t z + s_t eps their noisy ones, eps_hat the guided
prediction of the noise; the gradient is w(t) (eps_hat - eps), and no gradient goes through the denoiser.
Source: Poole et al. 2022, "DreamFusion", equation 3; weightings as threestudio has them, with a_t^2 for its "alphas";
`target` is the pull towards the picture that the prediction leaves, x_0 = (x_t - s_t eps_hat) / a_t.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from typing_extensions import assert_never

from .diffusion.denoiser import Denoiser
from .diffusion.schedule import NoiseSchedule

Weighting = Literal["sds", "uniform", "fantasia3d", "target"]
Description = TypeVar("Description")


def weight(schedule: NoiseSchedule, timesteps: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """w(t) [B, 1, 1, 1] of timesteps [B]."""
    signal, sigma = schedule.signal(timesteps), schedule.sigma(timesteps)
    match weighting:
        case "sds":
            return sigma**2
        case "uniform":
            return torch.ones_like(sigma)
        case "fantasia3d":
            return signal * sigma**2
        case "target":
            return sigma / signal
        case _:
            assert_never(weighting)


@torch.no_grad()
def distillation_gradient(
    denoiser: Denoiser[Description],
    description: Description,
    latents: torch.Tensor,  # [B, C, h, w]
    timesteps: torch.Tensor,  # [B] int64
    noise: torch.Tensor,  # [B, C, h, w]
    poses: torch.Tensor,  # [B, 3] azimuth and elevation in degrees, radius
    *,
    guidance_scale: float,
    weighting: Weighting = "sds",
) -> torch.Tensor:  # [B, C, h, w]
    """w(t) (eps_hat - eps), 0 where that is no number."""
    noisy = denoiser.schedule.add_noise(latents, noise, timesteps)
    predicted = denoiser.predict_noise(noisy, timesteps, description, poses, guidance_scale)
    gradient = weight(denoiser.schedule, timesteps, weighting) * (predicted - noise)
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def distillation_loss(latents: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A scalar whose gradient to the latents is `gradient` / B: half the squared distance from z to z - g."""
    wanted = (latents - gradient).detach()
    return 0.5 * (latents - wanted).square().sum() / len(latents)
