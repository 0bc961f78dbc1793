"""How much noise there is at a timestep, and the ways to say what a network predicts of it.

x_t = a_t x_0 + s_t eps with a_t^2 + s_t^2 = 1. A network may predict eps, or v = a_t eps - s_t x_0; each follows from
the other given x_t, linearly, so that guidance is the same in both. B images.
Source: Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM); Salimans and Ho 2022, appendix D (v-prediction); the constants
are Stable Diffusion's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Of T timesteps, the last with the most noise."""

    alphas_cumprod: torch.Tensor = field(default_factory=lambda: scaled_linear(TIMESTEPS, BETA_START, BETA_END))
    """[T] float32, a_t squared, falling."""

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def signal(self, timesteps: torch.Tensor) -> torch.Tensor:  # [B] -> [B, 1, 1, 1]
        """a_t, the share of the image."""
        return self.alphas_cumprod.to(timesteps.device)[timesteps].sqrt()[:, None, None, None]

    def sigma(self, timesteps: torch.Tensor) -> torch.Tensor:  # [B] -> [B, 1, 1, 1]
        """s_t, the share of the noise."""
        return (1.0 - self.alphas_cumprod.to(timesteps.device)[timesteps]).sqrt()[:, None, None, None]

    def add_noise(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:  # [B, C, h, w] twice, [B] -> [B, C, h, w]
        return self.signal(timesteps) * latents + self.sigma(timesteps) * noise

    def v_of(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:  # [B, C, h, w] twice, [B] -> [B, C, h, w]
        return self.signal(timesteps) * noise - self.sigma(timesteps) * latents

    def noise_from_v(
        self, v: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:  # [B, C, h, w] twice, [B] -> [B, C, h, w]
        return self.signal(timesteps) * v + self.sigma(timesteps) * noisy

    def latents_from_noise(
        self, noise: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:  # [B, C, h, w] twice, [B] -> [B, C, h, w]
        """The image that a prediction of the noise leaves."""
        return (noisy - self.sigma(timesteps) * noise) / self.signal(timesteps)


def scaled_linear(timesteps: int, beta_start: float, beta_end: float) -> torch.Tensor:  # -> [T] float32
    """alphas_cumprod of betas whose square roots rise evenly."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).to(torch.float32)
