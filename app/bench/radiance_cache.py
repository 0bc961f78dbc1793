"""Radiance caching against whole paths at equal time, in a room lit through a gap; and how quick the path tracer is.

A frame gets 1 or 4 seconds. Without a cache it traces whole paths in all of them. With one, a quarter of the time is
the cache's training, as it goes on while a person looks, the rest are passes that ask it. "First" is the first frame of
all, whose cache begins untrained; without it, the fifth, as a person sees it who has looked for a moment. Errors are
mean squares of linear light against a reference of whole paths, less what the reference's own noise adds.
Source of the comparison: Mueller et al. 2021, section 6.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import h3d.assets
from h3d.models.field_view import FieldView
from h3d.models.path_traced import PathTracedScene, camera_rays
from h3d.models.surface_scene import SurfaceScene, read_scene
from h3d.models.training import Step
from h3d.models.training.radiance_cache import CacheTraining, train

from .metrics import RATIO_TOLERANCE, TIME_TOLERANCE, Effort, Metric, best_of_blocks, milliseconds, timed

SCENE = Path(h3d.assets.__file__).parent / "scenes" / "gap.scene.json"
SIZE = (240, 160)
TRAINING_SHARE = 0.25
FRAMES = 5
REFERENCE_FIRST = 1 << 24  # no pass of a frame draws these samples
BIAS_PASSES = 128
BIAS_TOLERANCE = 1.0


@dataclass(frozen=True)
class Reference:
    """What the picture converges to, and how far it is from there."""

    rgb: torch.Tensor  # [R, 3] linear
    variance: float  # of its own noise, the mean over pixels and channels

    @staticmethod
    def of(scene: SurfaceScene, rays: tuple[torch.Tensor, torch.Tensor], paths: int) -> Reference:
        """Traced in two halves, whose difference tells the noise."""
        field = PathTracedScene(scene)
        halves = [field.mean(*rays, first=REFERENCE_FIRST + i * (paths // 2), samples=paths // 2) for i in range(2)]
        return Reference((halves[0] + halves[1]) / 2, float((halves[0] - halves[1]).square().mean()) / 4)

    def error(self, rgb: torch.Tensor) -> float:
        """Mean squared error against what this converges to."""
        return max(float((rgb - self.rgb).square().mean()) - self.variance, 1e-12)


@dataclass(frozen=True)
class Frame:
    """One picture after its time."""

    rgb: torch.Tensor  # [R, 3]
    passes: int


class Watched:
    """A scene that is looked at frame by frame while its cache trains."""

    def __init__(self, scene: SurfaceScene, rays: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.rays, self._sample = rays, 0
        self._steps = train(scene, CacheTraining(), name=SCENE.name)
        self._step: Step[PathTracedScene] = next(self._steps)

    def cached(self, seconds: float) -> Frame:
        """Trains for its share of the time, then asks the cache."""
        began = time.perf_counter()
        while time.perf_counter() - began < TRAINING_SHARE * seconds:
            self._step = next(self._steps)
        return self._passes(began + seconds, cached=True)

    def plain(self, seconds: float) -> Frame:
        """Whole paths for all of the time."""
        return self._passes(time.perf_counter() + seconds, cached=False)

    @property
    def field(self) -> PathTracedScene:
        """The scene with the cache as it stands."""
        return self._step.snapshot()

    def _passes(self, until: float, *, cached: bool) -> Frame:
        field, total, passes = self.field, torch.zeros(len(self.rays[0]), 3), 0
        while passes == 0 or time.perf_counter() < until:
            total += field.render(*self.rays, view=FieldView(sample=self._sample, cached=cached)).rgb
            passes, self._sample = passes + 1, self._sample + 1
        return Frame(total / passes, passes)


def gap(effort: Effort) -> Iterator[Metric]:
    """Errors at equal time and their ratio, the cache's bias, milliseconds of a pass and of a training step."""
    scene = read_scene(SCENE)
    rays = camera_rays(scene.camera.resized(*SIZE))
    reference = Reference.of(scene, rays, 1024 if effort.quick else 8192)
    for seconds in (1.0, 4.0):
        watched = Watched(scene, rays)
        for frame in range(1, FRAMES + 1):
            cached = watched.cached(seconds)
            if frame not in (1, FRAMES):
                continue
            name = f"gap_{seconds:.0f}s" + ("_first" if frame == 1 else "")
            with_cache, without = reference.error(cached.rgb), reference.error(watched.plain(seconds).rgb)
            yield Metric(f"radiance_cache/mse/{name}", with_cache, "", "lower", TIME_TOLERANCE)
            yield Metric(f"radiance_cache/mse_plain/{name}", without, "", "lower", TIME_TOLERANCE)
            yield Metric(f"radiance_cache/mse_ratio/{name}", without / with_cache, "x", "higher", RATIO_TOLERANCE)
        yield from _bias(watched, reference, f"gap_{seconds:.0f}s")
    yield from _costs(watched, effort)


def _bias(watched: Watched, reference: Reference, name: str) -> Iterator[Metric]:
    """What no number of passes takes away: mean error and root mean square of it, by the mean light."""
    passes = torch.stack(
        [watched.field.render(*watched.rays, view=FieldView(sample=(1 << 20) + i)).rgb for i in range(BIAS_PASSES)]
    )
    mean, light = passes.mean(dim=0), float(reference.rgb.mean())
    noise = float(passes.var(dim=0).mean()) / BIAS_PASSES
    rest = max(reference.error(mean) - noise, 0.0) ** 0.5
    yield Metric(f"radiance_cache/bias/{name}", abs(float(mean.mean()) / light - 1.0), "", "lower", BIAS_TOLERANCE)
    yield Metric(f"radiance_cache/bias_rms/{name}", rest / light, "of the mean light", "lower", BIAS_TOLERANCE)


def _costs(watched: Watched, effort: Effort) -> Iterator[Metric]:
    field, steps = watched.field, train(watched.field.scene, CacheTraining())
    for name, cached in (("cached", True), ("plain", False)):
        view = FieldView(cached=cached)
        seconds = best_of_blocks(lambda view=view: timed(lambda: field.render(*watched.rays, view=view)), effort)
        yield milliseconds(f"radiance_cache/pass/{name}_240x160_ms", 1e3 * seconds)
    step = best_of_blocks(lambda: timed(lambda: next(steps)), effort)
    yield milliseconds("radiance_cache/train/step_ms", 1e3 * step)
