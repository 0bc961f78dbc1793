"""L1 and SSIM of two pictures on the CPU: makes the fused C++ kernel of image_loss.cpp differentiable.

The kernel makes the gradient along with the loss, so that going backward only scales it. The door,
`renderers/image_loss.py`, has checked the arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.backends import kernels
from h3d.renderers.image_loss import ImageLoss

from .arrays import empty

ALIGNMENT = 64
"""Of the kernel's scratch, in bytes."""


def image_loss(rendered: torch.Tensor, target: torch.Tensor, ssim_share: float) -> ImageLoss:  # [H, W, C] twice
    """See the door."""
    loss, likeness = _ImageLoss.apply(rendered, target, ssim_share)  # type: ignore[reportGeneralTypeIssues]
    l1, ssim = likeness.tolist()
    return ImageLoss(loss, l1, ssim)


class _ImageLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rendered: torch.Tensor, target: torch.Tensor, ssim_share: float):
        rendered, target = rendered.detach().contiguous(), target.contiguous()
        gradient = empty(*rendered.shape) if ctx.needs_input_grad[0] else None
        slopes = _aligned(kernels().image_loss_slopes(rendered.numpy())) if gradient is not None else None
        l1, ssim = kernels().image_loss(
            rendered.numpy(),
            target.numpy(),
            ssim_share,
            None if slopes is None else slopes.numpy(),
            None if gradient is None else gradient.numpy(),
        )
        if gradient is not None:
            ctx.save_for_backward(gradient)
        likeness = torch.tensor([l1, ssim], dtype=torch.float64)
        ctx.mark_non_differentiable(likeness)
        return torch.tensor((1.0 - ssim_share) * l1 + ssim_share * (1.0 - ssim)), likeness

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0], None, None


def _aligned(count: int) -> torch.Tensor:
    """Scratch of `count` floats that starts where the kernel's vectors may."""
    spare = ALIGNMENT // 4
    array = empty(count + spare)
    return array[-(array.data_ptr() // 4) % spare :][:count]
