"""L1 and SSIM of two pictures on a GPU: torch's convolutions, whose autograd gives the gradient.

The door, `renderers/image_loss.py`, has checked the arguments. The picture is worked on as one of H x W pixels for each
channel; the window goes down the columns, then along the rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from h3d.renderers.image_loss import ImageLoss

REACH, SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2


def image_loss(rendered: torch.Tensor, target: torch.Tensor, ssim_share: float) -> ImageLoss:  # [H, W, C] twice
    """See the door."""
    l1 = (rendered - target).abs().mean()
    x, y = rendered.movedim(-1, 0), target.movedim(-1, 0)
    # SSIM needs the two squares only as their sum.
    mean_x, mean_y, squares, product = _blurred(torch.stack([x, y, x * x + y * y, x * y]))
    means, covariance = mean_x * mean_y, product - mean_x * mean_y
    power = mean_x * mean_x + mean_y * mean_y
    ssim = ((2 * means + C1) * (2 * covariance + C2) / ((power + C1) * (squares - power + C2))).mean()
    return ImageLoss((1.0 - ssim_share) * l1 + ssim_share * (1.0 - ssim), float(l1.detach()), float(ssim.detach()))


def _blurred(planes: torch.Tensor) -> torch.Tensor:  # [M, C, H, W]
    offsets = torch.arange(-REACH, REACH + 1, dtype=planes.dtype, device=planes.device)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = (weights / weights.sum()).reshape(1, 1, 1, -1)
    stacked = planes.reshape(-1, 1, *planes.shape[-2:])
    stacked = F.conv2d(F.conv2d(stacked, weights.mT, padding=(REACH, 0)), weights, padding=(0, REACH))
    return stacked.reshape(planes.shape)
