"""A run that does nothing but ask a tiny UNet through its Hash3D cache, from cameras all around a ball."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from balls import ball
from tiny_unets import tiny_inputs, tiny_unet

from h3d.models.gaussians import Gaussians
from h3d.models.hash3d import CacheView, Config, Hash3D, view_of
from h3d.models.training import Judgement, Step
from h3d.models.training.live import Live

RADIUS = 2.0
BLUE = (0.15, 0.35, 0.9)


def asked(cache: Hash3D, azimuth: float, elevation: float, timestep: int, latent: int = 0) -> None:
    """One call of the cache's UNet, with the noisy latent of this number."""
    inputs = tiny_inputs(cache.unet, rows=cache.config.rows_per_element, seed=latent)
    cache.set_camera(azimuth_degrees=azimuth, elevation_degrees=elevation, radius=RADIUS)
    with torch.no_grad():
        cache.unet(**(inputs | {"timestep": torch.tensor(timestep), "encoder_hidden_states": _words(cache)}))


def _words(cache: Hash3D) -> torch.Tensor:
    return tiny_inputs(cache.unet, rows=cache.config.rows_per_element)["encoder_hidden_states"]


def cached_view(config: Config, steps: int, seed: int = 0) -> CacheView:
    """What a cache shows after calls from cameras by chance."""
    with Hash3D(tiny_unet(), config) as cache:
        rng = np.random.default_rng(seed)
        for step in range(steps):
            asked(cache, *_pose(rng), latent=step)
        return view_of(cache)


def _pose(rng: np.random.Generator) -> tuple[float, float, int]:
    return float(rng.uniform(0, 360)), float(rng.uniform(-10, 60)), int(rng.integers(20, 980))


@dataclass(frozen=True)
class Asking:
    """What a person could set."""

    seed: int = 0
    """Of the cameras."""


@dataclass(frozen=True)
class CachedTask:
    """A `Task` of a ball that does not change."""

    cache: Config = field(default_factory=Config)
    config: Asking = field(default_factory=Asking)
    name: str = "asked"
    model: str = "gaussians"
    metrics: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
        del resume
        shown, rng, step = ball(BLUE, radius=0.7), np.random.default_rng(self.config.seed), 0
        cache = Hash3D(tiny_unet(), self.cache)

        def meters() -> dict[str, float]:
            passes, totals = cache.passes, cache.statistics().totals
            rate = totals["hits"] / max(totals["tries"], 1)
            saved = 1.0 - passes.full_share
            return {"hit rate": rate, "UNet time saved": saved, "cache MB": cache.table.nbytes / 1e6}

        while True:
            step += 1
            with cache:
                asked(cache, *_pose(rng), latent=step)
            yield Step(
                step=step,
                seconds=0.01 * step,
                loss=1.0 / step,
                rays=0,
                samples=1,
                snapshot=lambda: shown,
                checkpoint=lambda path: None,
                live=Live(cache=lambda: view_of(cache), meters=meters),
            )

    def judge(self, asset: Gaussians, **_: Any) -> Judgement:
        return Judgement({}, "nothing")
