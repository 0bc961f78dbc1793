"""Proves the algebra of noise: what is added can be taken away, and eps and v say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from h3d.models.diffusion.schedule import NoiseSchedule, scaled_linear


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 8, 4, 6, 6, generator=generator, dtype=torch.float64)
    return latents, noise, torch.tensor([0, 1, 20, 100, 400, 700, 980, 999])


def test_signal_and_noise_keep_the_variance(drawn):
    _, _, timesteps = drawn
    schedule = NoiseSchedule()
    total = schedule.signal(timesteps) ** 2 + schedule.sigma(timesteps) ** 2
    np.testing.assert_allclose(total.numpy(), 1.0, atol=1e-6)


def test_the_picture_comes_back_from_the_noise(drawn):
    latents, noise, timesteps = drawn
    schedule = NoiseSchedule()
    noisy = schedule.add_noise(latents, noise, timesteps)
    np.testing.assert_allclose(schedule.latents_from_noise(noise, noisy, timesteps), latents, atol=1e-5)


def test_noise_follows_from_v(drawn):
    latents, noise, timesteps = drawn
    schedule = NoiseSchedule()
    noisy, v = schedule.add_noise(latents, noise, timesteps), schedule.v_of(latents, noise, timesteps)
    np.testing.assert_allclose(schedule.noise_from_v(v, noisy, timesteps), noise, atol=1e-5)


def test_the_noise_levels_are_those_of_diffusers():
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    np.testing.assert_allclose(NoiseSchedule().alphas_cumprod, theirs, rtol=1e-4)
    assert (torch.diff(scaled_linear(1000, 0.00085, 0.012)) < 0).all()
