"""The door to the loss that Gaussians are trained with: L1 and structural dissimilarity, with their gradient.

H x W pixels of C channels. SSIM has the 11x11 Gaussian window of standard deviation 1.5, one a pixel, with zeros
outside the picture. Source: Kerbl et al. 2023, eq. 7, with 1 - SSIM for D-SSIM as their code has it; Wang et al. 2004.
"""

from __future__ import annotations

from importlib import import_module
from typing import Literal, NamedTuple

import torch

from . import backends
from .shapes import check


class ImageLoss(NamedTuple):
    """How far a picture is from its target."""

    loss: torch.Tensor  # scalar, (1 - share) * l1 + share * (1 - ssim); differentiable in the rendered picture
    l1: float  # mean absolute difference
    ssim: float  # mean structural similarity


def image_loss(
    rendered: torch.Tensor,  # [H, W, C] float32 in [0, 1]
    target: torch.Tensor,  # [H, W, C] float32 in [0, 1]
    *,
    ssim_share: float = 0.2,
    backend: Literal["auto", "cpu", "cuda"] = "auto",
) -> ImageLoss:
    """The loss of a picture, worked out where it lies; differentiable once in `rendered`, not in `target`.

    On the CPU the gradient is made along with the loss, and the same arguments give the same bits at every number of
    threads.

    Raises:
        ValueError: an argument has a wrong shape, type or device, or the share lies outside [0, 1].
        RuntimeError: the backend does not work on this machine; the sentence says why.
    """
    sizes: dict[str, int] = {}
    for name, picture in (("rendered", rendered), ("target", target)):
        check(picture, "[H, W, C]", name, sizes)
        if picture.dtype != torch.float32:
            raise ValueError(f"{name}: it is {picture.dtype}; must be torch.float32")
    if rendered.numel() == 0:
        raise ValueError(f"rendered: its shape is {list(rendered.shape)}; it must have a pixel")
    if target.device != rendered.device:
        raise ValueError(f"target: it is on {target.device}, rendered is on {rendered.device}; must be on one device")
    if target.requires_grad:
        raise ValueError("target: it requires a gradient, which only rendered gets; exchange them, or detach it")
    if not 0.0 <= ssim_share <= 1.0:
        raise ValueError(f"ssim_share: {ssim_share}; must be in [0, 1]")
    twin = import_module(f"h3d.renderers.{backends.for_device(backend, rendered.device)}.image_loss")
    return twin.image_loss(rendered, target, ssim_share)
