"""Score distillation of held-out objects with caches of different settings: what each costs, and what comes of it.

Every run has the embedded denoiser, 10,000 Gaussians, pictures of 128 x 128, and is judged on 16 true views. Times are
of the run's own clock; the UNet's are its passes and the cache's own work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from h3d.models.gaussians import Gaussians
from h3d.models.procedural import HELD_OUT
from h3d.models.reprojection import reprojection_error
from h3d.models.training import truth
from h3d.models.training.distilled_config import CacheSettings, preset
from h3d.models.training.distilled_task import DistilledTask
from h3d.models.training.references import picture_of_object

from .metrics import RATIO_TOLERANCE, Effort, Metric, Skipped

POSE = (30.0, 15.0, 2.0)
"""Of every reference picture."""
OFF, DEFAULT = "off", "default"
ARMS: Mapping[str, CacheSettings] = {
    OFF: CacheSettings(reuse="off"),
    DEFAULT: CacheSettings(),
    "noise": CacheSettings(reuse="noise"),
    "official": CacheSettings(lookup="official", eta=0.5),
    # Section 5.1 and 4.3 of the paper: eta 0.1, AdaptGrid of 10, 20 and 30 degrees and timesteps.
    "paper": CacheSettings(eta=0.1, azimuth=30.0, elevation=30.0, radius=0.2, timesteps=30.0, adaptive=True),
}
BEYOND: Mapping[str, CacheSettings] = {
    OFF: ARMS[OFF],
    DEFAULT: ARMS[DEFAULT],
    "warped": CacheSettings(warp=True),
    "unconditional": CacheSettings(unconditional_eta=0.9),
    "checked": CacheSettings(check_share=0.05, error_limit=0.3),
    "noise checked": CacheSettings(reuse="noise", check_share=0.05, error_limit=0.3),
}
"""What goes beyond the paper, each switch by itself."""
STEPS = 500
QUICK_STEPS = 150


@dataclass(frozen=True)
class Measured:
    """One run at its end."""

    psnr: float
    ssim: float
    iou: float
    reprojection: float  # mean absolute difference of neighbouring views
    copying: float  # PSNR of showing the reference picture from every side
    full_share: float  # of the steps, those whose UNet ran in full
    hit_rate: float  # of the tries; nan where nothing was tried
    unet_seconds: float
    seconds: float


def measure(seed: int, settings: CacheSettings, *, run_seed: int = 0, steps: int = STEPS) -> Measured:
    """One run, from the reference picture of the object of a seed to its last step."""
    config = replace(preset("h3d"), seed=run_seed, steps=steps, hash3d=settings)
    task = DistilledTask(f"object {seed}", picture_of_object(seed, POSE), config)
    step = next(running := task.train())
    while step.step < steps:
        step = next(running)
    asset, cache, views = step.snapshot(), step.live.cache(), task.true_views
    assert isinstance(asset, Gaussians) and cache is not None and views is not None
    rgb, alpha = truth.seen_by(asset, views.cameras)
    found = truth.agreement(views, rgb, alpha)
    totals = cache.statistics.totals
    return Measured(
        **found,
        reprojection=reprojection_error(rgb, views.depth, views.cameras),
        copying=task.copying["psnr"],
        full_share=cache.passes.full_share,
        hit_rate=totals["hits"] / totals["tries"] if totals["tries"] > 0 else float("nan"),
        unet_seconds=cache.passes.total_seconds,
        seconds=step.seconds,
    )


def runs(effort: Effort) -> Iterator[Metric]:
    """The default cache against none, on one object."""
    steps = QUICK_STEPS if effort.quick else STEPS
    try:
        without, cached = (measure(HELD_OUT.start + 3, ARMS[arm], steps=steps) for arm in (OFF, DEFAULT))
    except FileNotFoundError as error:
        raise Skipped(str(error)) from error
    yield Metric("hash3d/full_pass_share/default", cached.full_share, "of steps", "lower", 0.1)
    speedup = without.unet_seconds / cached.unet_seconds
    yield Metric("hash3d/unet_speedup/default", speedup, "x", "higher", RATIO_TOLERANCE)
    yield Metric("hash3d/run_speedup/default", without.seconds / cached.seconds, "x", "higher", RATIO_TOLERANCE)
    # A change is near 0, so what is compared with the baseline is what is left of the PSNR.
    yield Metric("hash3d/psnr_change_db/default", cached.psnr - without.psnr, "dB", "higher", 1.0)
    yield Metric("hash3d/psnr_over_copying_db/default", cached.psnr - cached.copying, "dB", "higher", 0.2)
