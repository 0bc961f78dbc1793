"""The flags of score distillation, which the viewer and `h3d generate` share, and the settings that they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from h3d.models.training.distilled_config import CacheSettings, Distillation, Preset, preset

OFFICIAL_ETA = 0.5
"""Of the published DreamGaussian configuration."""
FIELD_SIZE = 64
"""Pixels along each side of what a field renders by the default preset: every one is a ray."""


@dataclass(frozen=True)
class DistillFlags:
    """How 3D comes of a picture or of words."""

    preset: Preset = "h3d"
    """Whose schedule: cameras, timesteps, weights and rates."""
    prior: str = ""
    """A folder of Stable Diffusion or Zero123 weights in diffusers layout, or a .safetensors of the embedded denoiser's
    kind; none = the embedded denoiser."""
    second_prior: str = ""
    """A second one to listen to at the same time, as Magic123 does."""
    elevation: float | None = None
    """Degrees above the horizon that the picture was taken from, 15 if neither this nor the picture says it."""
    guidance_scale: float | None = None
    """Of classifier-free guidance; none = the preset's."""
    hash3d: Literal["on", "off", "official"] = "on"
    """Whether the denoiser's features are reused; official = as the published code does, to compare."""
    eta: float | None = None
    """Probability to try to retrieve, 0.9 if not given (official: 0.5)."""
    grid: str | None = None
    """Cell sizes AZ,EL,RADIUS,T in degrees, degrees, units and timesteps, such as 45,30,1,250; adaptive = AdaptGrid."""

    def settings(self, *, field: bool = False, **changes: Any) -> dict[str, Any]:
        """Fields of `Distillation` as JSON has them; `field`: for a hash grid. `changes` are fields too, None left out.

        Raises:
            ValueError: a flag is wrong.
        """
        config = preset(self.preset, self.prior, self.second_prior)
        if field and self.preset == "h3d":
            config = replace(config, size=FIELD_SIZE, middle_size=FIELD_SIZE, last_size=FIELD_SIZE)
        if self.guidance_scale is not None:
            config = replace(config, guidance=replace(config.guidance, scale=self._guidance_scale()))
        given = {"elevation": self.elevation} | changes
        config = replace(config, hash3d=self._cache(config), **{k: v for k, v in given.items() if v is not None})
        return asdict(config)

    def _guidance_scale(self) -> float:
        scale = float("nan") if self.guidance_scale is None else self.guidance_scale
        if not 0.0 <= scale < math.inf:
            raise ValueError(f"--guidance-scale {scale}: must be 0 or more")
        return scale

    def _cache(self, config: Distillation) -> CacheSettings:
        official = self.hash3d == "official"
        eta = self.eta if self.eta is not None else OFFICIAL_ETA if official else config.hash3d.eta
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"--eta {eta}: it is the probability to try to retrieve, 0 to 1")
        changes: dict[str, Any] = {"eta": eta, "lookup": "official" if official else "exact"}
        changes |= {"reuse": "off"} if self.hash3d == "off" else {}
        return replace(config.hash3d, **changes, **_sizes(self.grid))


def _sizes(text: str | None) -> Mapping[str, Any]:
    """Fields of `CacheSettings` that a grid means."""
    if text is None:
        return {}
    if text.strip() == "adaptive":
        return {"adaptive": True}
    names = ("azimuth", "elevation", "radius", "timesteps")
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) != len(names) or not all(math.isfinite(size) and size > 0.0 for size in sizes):
        raise ValueError(f"--grid {text}: give four sizes above 0, AZ,EL,RADIUS,T such as 45,30,1,250, or adaptive")
    return dict(zip(names, sizes, strict=True))
