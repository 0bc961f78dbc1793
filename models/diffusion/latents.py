"""Stable Diffusion's latents: what its autoencoder makes of a picture, and back. B pictures.

Source: Rombach et al. 2022; the published loops sample the autoencoder's Gaussian, here its mean is taken: the spread
is a thousandth of the noise that is added, and the same picture always has the same latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def encode_latents(vae: Any, rgb: torch.Tensor, size: int, *, scaled: bool = True) -> torch.Tensor:
    """[B, 3, H, W] sRGB -> [B, C, h, w], at `size` pixels a side; unscaled for Zero123's condition."""
    picture = resized(rgb, size).to(vae.dtype)
    latents = vae.encode(2.0 * picture - 1.0).latent_dist.mode()
    return latents * vae.config.scaling_factor if scaled else latents


@torch.no_grad()
def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:  # [B, C, h, w] -> [B, 3, H, W] sRGB
    decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample
    return (0.5 * decoded + 0.5).clamp(0.0, 1.0).to(latents.dtype)


def pixels_per_latent(vae: Any) -> int:
    return 2 ** (len(vae.config.block_out_channels) - 1)


def resized(rgb: torch.Tensor, size: int) -> torch.Tensor:  # [B, C, H, W] -> [B, C, size, size]
    if rgb.shape[-2:] == (size, size):
        return rgb
    return functional.interpolate(rgb, (size, size), mode="bilinear", antialias=True, align_corners=False)
