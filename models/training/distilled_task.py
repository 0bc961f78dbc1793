"""The task of making 3D from a picture or from words, by what a denoiser expects to see of it from every side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from h3d.models import losses
from h3d.models.diffusion import Subject
from h3d.models.knobs import known_settings
from h3d.models.procedural.views import ELEVATIONS_DEGREES, FOV_Y_RADIANS, RADII
from h3d.renderers.cancel import CancelFlag

from . import Judgement, Progress, Step, truth
from .distilled import reference_camera, train
from .distilled_config import Distillation
from .distilled_field import FieldScene
from .distilled_gaussians import GaussiansScene
from .guides import EMBEDDED, load_prior
from .references import ReferencePicture, read_reference
from .truth import Distilled, TrueViews

Model = Literal["gaussians", "hash_grid"]
FOV_DEGREES = math.degrees(FOV_Y_RADIANS)
SHOWN_VIEWS = 4
"""True views in the picture of a judgement."""


@dataclass(frozen=True)
class DistilledTask:
    """A `Task`: a reference picture, words, or both, to Gaussians or a field."""

    subject_name: str
    picture: ReferencePicture | None
    config: Distillation
    model: Model = "gaussians"

    @staticmethod
    def open(path: Path | None, settings: Mapping[str, Any], model: Model = "gaussians") -> DistilledTask:
        """The task of a picture; of the prompt in `settings`, fields of `Distillation`, where there is no path.

        Raises:
            ValueError: the picture cannot be one (FormatError), there is neither picture nor prompt, or a prior cannot
                be loaded (WeightsError) or told of it.
            FileNotFoundError: the embedded denoiser's weights are not there.
        """
        config = Distillation(**known_settings(Distillation, settings))
        if path is None:
            task = DistilledTask(config.prompt.strip(), None, config, model)
        else:
            task = DistilledTask(path.stem, read_reference(path, config.elevation), config, model)
        for guidance in (config.guidance, config.second_guidance):
            if guidance.prior != "":  # What a prior cannot be told is said now, not at the first step.
                load_prior(guidance.prior).describe(task.subject)
        return task

    @property
    def name(self) -> str:
        return self.subject_name

    @property
    def remarks(self) -> tuple[str, ...]:
        where = self.config.cameras
        (low, high), (near, far) = ELEVATIONS_DEGREES, RADII
        known = low <= where.elevation_low and where.elevation_high <= high
        known &= near <= where.radius_low and where.radius_high <= far
        known &= max(abs(fov - FOV_DEGREES) for fov in (where.fov_low, where.fov_high)) < 1.0
        if known or EMBEDDED not in (self.config.guidance.prior, self.config.second_guidance.prior):
            return ()
        rule = f"elevations {low:g} to {high:g}, distances {near:g} to {far:g} and a field of view of {FOV_DEGREES:.1f}"
        return (f"the embedded denoiser learnt from {rule} degrees; some of these cameras lie beyond",)

    @property
    def metrics(self) -> tuple[str, ...]:
        if self.true_views is not None:
            return ("psnr", "ssim", "iou")
        return ("psnr",) if self.picture is not None else ()

    @cached_property
    def subject(self) -> Subject:
        """What the denoisers are told."""
        prompt = self.config.prompt if self.config.prompt or self.picture is None else None
        reference = None if self.picture is None else self.picture.reference
        return Subject(prompt, reference, self.config.negative_prompt)

    @cached_property
    def true_views(self) -> TrueViews | None:
        """What is true of the subject, where it is a procedural object."""
        if self.picture is None or self.picture.seed is None:
            return None
        return truth.true_views(self.picture.seed, self.picture.reference.pose[2])

    @cached_property
    def copying(self) -> dict[str, float]:
        """What the reference picture itself would reach, shown from every side; empty where nothing is known."""
        if self.true_views is None or self.picture is None:
            return {}
        rgb, alpha = self._reference(truth.SIZE)
        return truth.copying(self.true_views, rgb, alpha)

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Distilled]]:
        """See `Task`."""
        scene = GaussiansScene if self.model == "gaussians" else FieldScene
        return train(scene, self.subject, self.config, name=self.name, resume=resume)  # pyright: ignore[reportArgumentType, reportReturnType]

    def judge(
        self,
        asset: Distilled,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """Against the true views where there are some, else against the reference picture alone."""
        del progress
        views = self.true_views
        if views is not None:
            rgb, alpha = truth.seen_by(asset, views.cameras, cancel=cancel)
            pairs = None if quick else _rows(views.rgb, rgb)
            return Judgement(truth.agreement(views, rgb, alpha), f"{len(views.poses)} true views", pairs)
        if self.picture is None:
            return Judgement({}, "nothing true is known of words")
        wanted, _ = self._reference(truth.SIZE)
        camera = reference_camera(self.picture.reference, truth.SIZE)
        rgb, _ = truth.seen_by(asset, [camera], cancel=cancel)
        psnr = {"psnr": float(losses.psnr(rgb[0], wanted))}
        return Judgement(psnr, "the reference picture, which it was shown", torch.cat([wanted, rgb[0]], dim=1))

    def _reference(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:  # [s, s, 3] over white, [s, s]
        assert self.picture is not None
        seen = self.picture.reference
        rgb = functional.interpolate(seen.over(truth.WHITE), (size, size), mode="area")
        alpha = functional.interpolate(seen.alpha[None], (size, size), mode="area")
        return rgb[0].permute(1, 2, 0), alpha[0, 0]


def _rows(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:  # [V, s, s, 3] twice -> [H, W, 3]
    """Some views: to the left how they should look, to the right how they do."""
    stride = max(1, len(wanted) // SHOWN_VIEWS)
    pairs = zip(wanted[::stride], found[::stride], strict=True)
    return torch.cat([torch.cat([a, b], dim=1) for a, b in pairs], dim=0)
