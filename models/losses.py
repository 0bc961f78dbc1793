"""How far two pictures are apart: l1, psnr, ssim. Differentiable, on any device.

Pictures are [..., H, W, C] in [0, 1], C channels; all leading axes are batch. Every result is a scalar tensor, the mean
over batch, channels and pixels. Source of SSIM: Wang, Bovik, Sheikh, Simoncelli 2004, with the 11x11 Gaussian window of
standard deviation 1.5 that Kerbl et al. 2023 train with; it equals scikit-image's `structural_similarity(...,
gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2

Padding = Literal["valid", "same"]


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # [..., H, W, C] twice
    """Mean absolute difference."""
    _check(a, b)
    return (a - b).abs().mean()


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # [..., H, W, C] twice
    """Peak signal to noise ratio in dB for a peak of 1; infinite for equal pictures."""
    _check(a, b)
    return -10.0 * torch.log10((a - b).square().mean())


def ssim(a: torch.Tensor, b: torch.Tensor, padding: Padding = "valid") -> torch.Tensor:  # [..., H, W, C] twice
    """Structural similarity, 1 for equal pictures.

    `padding`: "valid" counts only windows that lie whole inside the picture (the paper's and scikit-image's way, the
    one to report; both sides must be >= 11); "same" counts one window a pixel with zeros outside, as 3DGS does in
    training, which raises the value a little where both borders are black.
    """
    _check(a, b)
    height, width, channels = a.shape[-3:]
    if padding == "valid" and min(height, width) < WINDOW:
        raise ValueError(f"ssim: the pictures are {width}x{height}; both sides must be >= {WINDOW} without padding")
    x = a.reshape(-1, height, width, channels).movedim(-1, 1)
    y = b.reshape(-1, height, width, channels).movedim(-1, 1)
    stacked = torch.cat([x, y, x * x, y * y, x * y])
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blurred(stacked, padding).chunk(5)
    var_x, var_y, cov = mean_xx - mean_x * mean_x, mean_yy - mean_y * mean_y, mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return (luminance * structure).mean()


def _blurred(x: torch.Tensor, padding: Padding) -> torch.Tensor:  # [B, C, H, W]
    """The Gaussian window, one axis after the other."""
    offsets = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = weights / weights.sum()
    margin = WINDOW // 2 if padding == "same" else 0
    # One group a channel: a batch of pictures of one channel each took four times as long on a CPU.
    planes = x.shape[0] * x.shape[1]
    grouped = x.reshape(1, planes, *x.shape[-2:])
    grouped = F.conv2d(grouped, weights.expand(planes, 1, 1, WINDOW).mT, padding=(margin, 0), groups=planes)
    grouped = F.conv2d(grouped, weights.expand(planes, 1, 1, WINDOW), padding=(0, margin), groups=planes)
    return grouped.reshape(*x.shape[:2], *grouped.shape[-2:])


def _check(a: torch.Tensor, b: torch.Tensor) -> None:
    if a.shape != b.shape or a.ndim < 3:
        raise ValueError(f"pictures are {list(a.shape)} and {list(b.shape)}; both must be the same [..., H, W, C]")
