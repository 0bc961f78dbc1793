"""The task of learning a radiance field from posed photos, judged on the photos that it was not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from h3d.models import datasets
from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.hash_grid import HashGridField
from h3d.renderers.cancel import CancelFlag

from . import Judgement, Progress, Step
from .evaluation import BLACK, WHITE, Judged, Rgb, evaluate, verdict
from .hash_grid import HashGridTraining, train


@dataclass(frozen=True)
class PhotosTask:
    """A `Task`: photos of known cameras to an Instant-NGP field."""

    dataset: PosedImages
    config: HashGridTraining
    model: str = "hash_grid"
    metrics: tuple[str, ...] = ("psnr", "ssim")

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any]) -> PhotosTask:
        """The task of a data set; `settings` are fields of `HashGridTraining`.

        Raises:
            DatasetError: the data set is damaged.
        """
        from .tasks import known_settings

        dataset = datasets.read(path)
        config = HashGridTraining(**known_settings(HashGridTraining, settings))
        # What "auto" means is settled here, so that a run that goes on has photos of the same size.
        return PhotosTask(dataset, replace(config, downscale=auto_downscale(dataset, config.downscale)))  # type: ignore[reportArgumentType]

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def remarks(self) -> tuple[str, ...]:
        return self.dataset.skipped

    @property
    def background(self) -> Rgb:
        """What the field is judged on, and shown on beside photos."""
        return BLACK if self.config.background == "black" else WHITE

    def train(self, *, resume: Path | None = None) -> Iterator[Step[HashGridField]]:
        """See `Task`; `DatasetError` for a photo that cannot be decoded."""
        return train(self.dataset, self.config, resume=resume)

    def judge(
        self, asset: HashGridField, *, progress: Progress | None = None, cancel: CancelFlag | None = None
    ) -> Judgement:
        """PSNR and SSIM over the test split, or over the photos that were trained on where there is none."""
        indices = self.dataset.test or self.dataset.train
        judged: list[Judged] = []
        picture = None
        size = auto_downscale(self.dataset, self.config.downscale)
        for one in evaluate(asset, self.dataset, indices, downscale=size, background=self.background, cancel=cancel):
            if picture is None:
                picture = torch.cat([one.photo, one.rendered], dim=1)
            # The pictures are not kept: a split may hold hundreds.
            judged.append(replace(one, photo=one.photo[:0], rendered=one.rendered[:0]))
            if progress is not None:
                progress(f"photo {len(judged)} of {len(indices)}: {one.psnr:.2f} dB")
        found = verdict(judged)
        metrics = {"psnr": found.psnr} | ({} if found.ssim is None else {"ssim": found.ssim})
        return Judgement(metrics, f"{found.photos} {'test' if self.dataset.test else 'training'} photos", picture)
