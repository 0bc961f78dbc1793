"""The task of learning a scene's radiance cache, judged against the same scene path-traced to the ends of its paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from h3d.models.field_view import FieldView
from h3d.models.knobs import known_settings
from h3d.models.light import code_of
from h3d.models.path_traced import PathTracedScene, camera_rays
from h3d.models.surface_scene import SurfaceScene, read_scene
from h3d.renderers.cancel import CancelFlag

from . import Judgement, Progress, Step
from .radiance_cache import CacheTraining, train

REFERENCE_FIRST = 1 << 20
"""Number of the reference's first sample, far from those that pictures draw: shared noise would flatter."""
REFERENCE_ROUND = 256  # paths a pixel traced between two looks at the cancel flag


@dataclass(frozen=True)
class Trial:
    """A small picture, the paths a pixel of its reference, and the passes that are compared with it."""

    width: int
    height: int
    paths: int
    passes: int


QUICK, WHOLE = Trial(60, 40, 512, 4), Trial(120, 80, 4096, 64)


@dataclass(frozen=True)
class RadianceCacheTask:
    """A `Task`: the light of one scene to a radiance cache."""

    scene: SurfaceScene
    name: str
    config: CacheTraining
    remarks: tuple[str, ...] = ()
    model: str = "radiance_cache"
    metrics: tuple[str, ...] = ("psnr", "mse", "bias")

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any]) -> RadianceCacheTask:
        """The task of a scene file; `settings` are fields of `CacheTraining`. Raises: FormatError, OSError."""
        config = CacheTraining(**known_settings(CacheTraining, settings))
        return RadianceCacheTask(read_scene(path), path.name, config)

    def train(self, *, resume: Path | None = None) -> Iterator[Step[PathTracedScene]]:
        """See `Task`."""
        return train(self.scene, self.config, resume=resume, name=self.name)

    def judge(
        self,
        asset: PathTracedScene,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """Through the scene's own camera: PSNR in sRGB of the mean of passes, squared error of one, bias of all.

        The reference is traced once a task: seconds, or a fraction of one where `quick`.
        """
        trial = QUICK if quick else WHOLE
        wanted = self._reference(trial, progress, cancel)
        origins, directions = camera_rays(self.scene.camera.resized(trial.width, trial.height))
        first = asset.render(origins, directions, cancel=cancel).rgb
        total = first.double()
        for sample in range(1, trial.passes):
            total += asset.render(origins, directions, view=FieldView(sample=sample), cancel=cancel).rgb
        found = (total / trial.passes).float()
        error = float((code_of(found).clamp(max=1.0) - code_of(wanted).clamp(max=1.0)).square().mean())
        metrics = {
            "psnr": -10.0 * float(torch.tensor(max(error, 1e-12)).log10()),
            "mse": float((first - wanted).square().mean()),
            "bias": float(found.mean() / wanted.mean() - 1.0),
        }
        subject = f"{trial.passes} passes against {trial.paths:,} whole paths a pixel"
        return Judgement(metrics, subject, None if quick else _side_by_side(wanted, found, trial))

    def _reference(
        self, trial: Trial, progress: Progress | None, cancel: CancelFlag | None
    ) -> torch.Tensor:  # [height * width, 3]
        if trial not in self._references:
            plain = PathTracedScene(self.scene)
            rays = camera_rays(self.scene.camera.resized(trial.width, trial.height))
            total = torch.zeros(len(rays[0]), 3, dtype=torch.float64)
            for done in range(0, trial.paths, REFERENCE_ROUND):
                total += plain.mean(*rays, first=REFERENCE_FIRST + done, samples=REFERENCE_ROUND, cancel=cancel)
                if progress is not None:
                    progress(f"reference: {done + REFERENCE_ROUND:,} of {trial.paths:,} paths a pixel")
            self._references[trial] = (total * (REFERENCE_ROUND / trial.paths)).float()
        return self._references[trial]

    @cached_property
    def _references(self) -> dict[Trial, torch.Tensor]:
        return {}


def _side_by_side(wanted: torch.Tensor, found: torch.Tensor, trial: Trial) -> torch.Tensor:  # [H, 2 W, 3] sRGB
    size = (trial.height, trial.width, 3)
    return torch.cat([code_of(side).clamp(max=1.0).reshape(size) for side in (wanted, found)], dim=1)
