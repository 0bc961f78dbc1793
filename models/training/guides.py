"""Denoisers that a run listens to, each with its feature cache.

Networks are loaded once a program and prior, however many runs share them; a cache belongs to one run, and stands
around the UNet only while that run calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from h3d.models.diffusion import (
    Denoiser,
    EmbeddedDenoiser,
    Subject,
    WeightsError,
    Zero123,
    load_embedded,
    load_stable_diffusion,
    load_zero123,
)
from h3d.models.distillation import distillation_gradient
from h3d.models.hash3d import Config, Grid, Hash3D, Sight
from h3d.models.hash3d.config import CameraInput

from .distilled_config import CacheSettings, Guidance

EMBEDDED = "embedded"
UNCONDITIONAL = 1
"""Which of an element's two rows knows nothing of the subject, as `Denoiser.predict_noise` lays them out."""
SHARES = (1 / 3, 2 / 3, 1.0)
"""Of the cell sizes, for AdaptGrid's grids, the finest first."""


@cache
def load_prior(prior: str) -> Denoiser[Any]:
    """The embedded denoiser, another of its kind in a file, or that of a folder.

    Raises:
        ValueError: the folder holds none (WeightsError, FormatError).
        FileNotFoundError: the embedded denoiser's weights are not there.
    """
    if prior == EMBEDDED:
        return load_embedded()
    folder = Path(prior)
    if folder.suffix == ".safetensors":
        return load_embedded(folder)
    if not folder.is_dir():
        rule = f"--prior {prior}: there is no such folder"
        raise WeightsError(f"{rule}; give a Stable Diffusion or Zero123 folder in diffusers layout, or embedded")
    if (folder / "text_encoder").is_dir():
        return load_stable_diffusion(folder)
    return load_zero123(folder)


def camera_inputs(denoiser: Denoiser[Any]) -> tuple[CameraInput, ...]:
    """Inputs of its UNet that change with every camera."""
    if isinstance(denoiser, EmbeddedDenoiser):
        return ("class_labels",)
    return ("encoder_hidden_states",) if isinstance(denoiser, Zero123) else ()


def cache_config(settings: CacheSettings, seed: int, inputs: tuple[CameraInput, ...]) -> Config:
    """A cache's config as a run's settings have it."""
    sizes = (settings.azimuth, settings.elevation, settings.radius, settings.timesteps)
    shares = SHARES if settings.adaptive else (1.0,)
    return Config(
        reuse=settings.reuse,
        eta=settings.eta,
        warm_up=settings.warm_up,
        grids=tuple(Grid(*(share * size for size in sizes)) for share in shares),
        queue=settings.queue,
        budget_bytes=settings.budget_mb * 1_000_000,
        max_age=settings.max_age or None,
        weighting=settings.retrieval,
        lookup=settings.lookup,
        camera_inputs=inputs,
        check_share=settings.check_share,
        error_limit=settings.error_limit or None,
        unconditional_row=UNCONDITIONAL,
        unconditional_eta=settings.unconditional_eta,
        warp=settings.warp,
        seed=seed,
    )


@dataclass(eq=False)
class Guide:
    """One denoiser, what it knows of the subject, and the cache of a run."""

    denoiser: Denoiser[Any]
    description: Any
    cache: Hash3D

    @staticmethod
    def of(guidance: Guidance, subject: Subject, settings: CacheSettings, seed: int) -> Guide:
        """Raises: ValueError where it cannot be told the subject, or as `load_prior`."""
        denoiser = load_prior(guidance.prior)
        return Guide(
            denoiser,
            denoiser.describe(subject),
            Hash3D(denoiser.unet, cache_config(settings, seed, camera_inputs(denoiser))),
        )

    def turn(self, settings: CacheSettings, seed: int) -> None:
        """Let the cache stand as the settings do from the next call on. Raises: ValueError; nothing is changed."""
        wanted, now = cache_config(settings, seed, camera_inputs(self.denoiser)), self.cache.config
        changes = {name: value for name, value in vars(wanted).items() if getattr(now, name) != value}
        self.cache.change(**changes)

    def gradient(
        self,
        latents: torch.Tensor,  # [B, C, h, w]
        poses: torch.Tensor,  # [B, 3]
        guidance: Guidance,
        progress: float,
        generator: torch.Generator,
        sights: Sequence[Sight] | None = None,
    ) -> torch.Tensor:  # [B, C, h, w]
        """What the denoiser would change, at timesteps of its own; `sights` say what each view sees."""
        steps = len(self.denoiser.schedule)
        low, high = guidance.timesteps(progress)
        drawn = low + (high - low) * torch.rand(len(latents), generator=generator)
        timesteps = (drawn * steps).round().to(torch.int64).clamp(0, steps - 1)
        noise = torch.randn(latents.shape, generator=generator)
        azimuths, elevations, radii = poses.double().unbind(dim=1)
        with self.cache as cache:
            cache.set_camera(azimuth_degrees=azimuths, elevation_degrees=elevations, radius=radii, sights=sights)
            return guidance.weight * distillation_gradient(
                self.denoiser,
                self.description,
                latents.detach(),
                timesteps,
                noise,
                poses,
                guidance_scale=guidance.scale,
                weighting=guidance.weighting,
            )
