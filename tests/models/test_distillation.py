"""Proves the gradient of score distillation: its formula and weightings, and that it pulls a picture to the prediction.

The denoiser is a stand-in that predicts the noise of a known picture exactly, so that what must come out is known.
"""

from __future__ import annotations

import pytest
import torch

from h3d.models.diffusion.schedule import NoiseSchedule
from h3d.models.distillation import Weighting, distillation_gradient, distillation_loss, weight

SCHEDULE = NoiseSchedule()
POSES = torch.tensor([[10.0, 20.0, 2.0], [200.0, 0.0, 2.0]])


class KnowsOnePicture:
    """Says that what is noisy is always this picture, from every camera."""

    schedule = SCHEDULE

    def __init__(self, picture: torch.Tensor) -> None:
        self.picture = picture

    def predict_noise(self, noisy, timesteps, description, poses, guidance_scale):  # noqa: ANN001, ANN201
        del description, poses, guidance_scale
        return (noisy - SCHEDULE.signal(timesteps) * self.picture) / SCHEDULE.sigma(timesteps)


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture, latents, noise and timesteps."""
    generator = torch.Generator().manual_seed(0)
    picture, latents, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    return picture, latents, noise, torch.tensor([100, 900])


def gradient_of(drawn, weighting: Weighting) -> torch.Tensor:  # noqa: ANN001
    picture, latents, noise, timesteps = drawn
    denoiser = KnowsOnePicture(picture)
    return distillation_gradient(
        denoiser,  # pyright: ignore[reportArgumentType]
        None,
        latents,
        timesteps,
        noise,
        POSES,
        guidance_scale=1.0,
        weighting=weighting,
    )


def test_the_target_weighting_is_the_difference_from_the_predicted_picture(drawn):
    picture, latents, *_ = drawn
    assert torch.allclose(gradient_of(drawn, "target"), latents - picture, atol=2e-3)


@pytest.mark.parametrize("weighting", ["sds", "uniform", "fantasia3d"])
def test_other_weightings_are_that_difference_times_their_factor(drawn, weighting: Weighting):
    picture, latents, _, timesteps = drawn
    squared = SCHEDULE.alphas_cumprod.double()[timesteps][:, None, None, None]
    signal, sigma = squared.sqrt(), (1.0 - squared).sqrt()
    factor = {"sds": 1.0 - squared, "uniform": torch.ones_like(squared), "fantasia3d": signal * (1.0 - squared)}
    expected = factor[weighting] * signal / sigma * (latents - picture).double()
    assert torch.allclose(gradient_of(drawn, weighting).double(), expected, atol=2e-3)


def test_the_loss_has_the_gradient_over_the_batch_and_nothing_else(drawn):
    latents = drawn[1].clone().requires_grad_()
    gradient = gradient_of(drawn, "sds")
    distillation_loss(latents, gradient).backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, gradient / 2, atol=1e-6)


def test_descending_it_arrives_at_the_picture(drawn):
    picture, latents, noise, timesteps = drawn
    for _ in range(60):
        latents = latents - 0.2 * gradient_of((picture, latents, noise, timesteps), "target")
    assert float((latents - picture).abs().max()) < 1e-2


def test_what_is_no_number_counts_as_nothing(drawn):
    picture, latents, noise, timesteps = drawn
    broken = picture.clone()
    broken[0, 0, 0, 0] = float("nan")
    found = gradient_of((broken, latents, noise, timesteps), "sds")
    assert bool(found.isfinite().all())
    assert float(found[0, 0, 0, 0]) == 0.0
    assert float(found[1].abs().min()) > 0.0


def test_weights_are_those_of_the_schedule():
    everything = torch.arange(len(SCHEDULE))
    assert torch.equal(weight(SCHEDULE, everything, "uniform"), torch.ones(len(SCHEDULE), 1, 1, 1))
    falling = weight(SCHEDULE, everything, "sds")[:, 0, 0, 0]
    assert bool((falling[1:] > falling[:-1]).all())
