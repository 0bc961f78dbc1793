"""What of a training step of Gaussians is not drawing: the loss with its gradient, Adam, and a refinement of the rows.

400x400 pixels and 50,000 rows of SH degree 3, made here: the times do not depend on what the pictures show. The loss is
timed in turns with what it takes the place of, `models/losses.py` in torch with autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from h3d.models import losses
from h3d.models.density import DefaultStrategy, McmcStrategy
from h3d.models.initial_gaussians import initial_gaussians
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians
from h3d.models.training.soundness import wild_gradients
from h3d.renderers.image_loss import image_loss

from .metrics import Effort, Metric, best_of_blocks, in_turns, milliseconds, ratio, timed

SIDE, COUNT = 400, 50_000
SSIM_SHARE = 0.2
RATES = {"means": 1.6e-4, "quats": 1e-3, "log_scales": 5e-3, "logit_opacities": 5e-2, "sh": 2.5e-3}


def loss(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of L1 and SSIM with their gradient, and how many times as fast as in torch."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(SIDE, SIDE, 3, generator=generator)
    noisy = target + 0.1 * torch.randn(SIDE, SIDE, 3, generator=generator)
    rendered = noisy.clamp(0.0, 1.0).requires_grad_()

    def fused() -> None:
        torch.autograd.grad(image_loss(rendered, target, ssim_share=SSIM_SHARE).loss, rendered)

    def in_torch() -> None:
        unlike = 1.0 - losses.ssim(rendered, target, padding="same")
        torch.autograd.grad((1.0 - SSIM_SHARE) * losses.l1(rendered, target) + SSIM_SHARE * unlike, rendered)

    ours, theirs = in_turns(fused, in_torch, effort)
    yield milliseconds(f"gaussians/train/loss_{SIDE}_ms", 1e3 * ours)
    yield ratio("gaussians/train/loss_speedup_over_torch", theirs / ours)


def rows(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of Adam over all groups, of the look for gradients that are no numbers, of a refinement by 3DGS, and
    of the noise of MCMC."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(COUNT, 3, generator=generator)
    state = TrainedGaussians.of(initial_gaussians(points, None, generator, 3))
    gradients = {name: torch.randn(group.values.shape, generator=generator) for name, group in state.groups.items()}
    adam = best_of_blocks(lambda: timed(lambda: state.step(gradients, RATES, step=1)), effort)
    yield milliseconds("gaussians/train/adam_50k_ms", 1e3 * adam)
    check = best_of_blocks(lambda: timed(lambda: wild_gradients(gradients)), effort)
    yield milliseconds("gaussians/train/adam_check_50k_ms", 1e3 * check)
    # A tenth of the rows grow.
    pull = 2e-4 + 1e-4 * (torch.rand(COUNT, generator=generator) - 0.9)
    info = StepInfo(pull, torch.ones(COUNT), torch.ones(COUNT, dtype=torch.bool), SIDE, extent=1.0, means_rate=1.6e-4)
    tensors = state.tensors("rows")

    def refinement() -> float:
        fresh = TrainedGaussians.from_tensors("rows", tensors)
        return timed(lambda: DefaultStrategy().after_step(fresh, 600, info, generator))

    yield milliseconds("gaussians/train/refine_50k_ms", 1e3 * best_of_blocks(refinement, effort))
    still, noise = replace(info, means_rate=0.0), McmcStrategy()
    seconds = best_of_blocks(lambda: timed(lambda: noise.after_step(state, 1, still, generator)), effort)
    yield milliseconds("gaussians/train/mcmc_noise_50k_ms", 1e3 * seconds)
