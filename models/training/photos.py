"""The task of learning a radiance field from posed photos, judged on the photos that it was not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from h3d.models import datasets, losses
from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.hash_grid import HashGridField
from h3d.models.hash_grid_view import rays_to_ngp
from h3d.models.knobs import known_settings
from h3d.renderers.backends import field_device
from h3d.renderers.cancel import CancelFlag

from . import Judgement, Progress, Step
from .evaluation import BLACK, WHITE, Judged, Rgb, evaluate, verdict
from .hash_grid import HashGridTraining, train
from .photo_rays import RayBatch, photo_rays

QUICK_PIXELS = 1 << 14


@dataclass(frozen=True)
class PhotosTask:
    """A `Task`: photos of known cameras to an Instant-NGP field."""

    dataset: PosedImages
    config: HashGridTraining
    model: str = "hash_grid"
    metrics: tuple[str, ...] = ("psnr", "ssim")
    lens: str = "own lens"
    """Through which lens `judge_photo` compares."""

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any]) -> PhotosTask:
        """The task of a data set; `settings` are fields of `HashGridTraining`.

        Raises:
            DatasetError: the data set is damaged.
            RuntimeError: the backend does not work on this machine; the sentence says why.
        """
        dataset = datasets.read(path)
        config = HashGridTraining(**known_settings(HashGridTraining, settings))
        # What "auto" means is settled here: a run that goes on has photos of the same size, and the same backend.
        downscale, backend = auto_downscale(dataset, config.downscale), field_device(config.backend).type
        return PhotosTask(dataset, replace(config, downscale=downscale, backend=backend))  # type: ignore[reportArgumentType]

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
        self,
        asset: HashGridField,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """PSNR and SSIM over the test split, or over the photos that were trained on where there is none.

        Quickly: PSNR over some thousand of their pixels, always the same.
        """
        asset = asset.to(field_device(self.config.backend))
        if quick:
            return self._judge_pixels(asset, cancel)
        indices = self.dataset.test or self.dataset.train
        judged: list[Judged] = []
        picture = None
        size, background = self.downscale, self.background
        for one in evaluate(asset, self.dataset, indices, downscale=size, background=background, cancel=cancel):
            if picture is None:
                picture = torch.cat([one.photo, one.rendered], dim=1)
            # The pictures are not kept: a split may hold hundreds.
            judged.append(replace(one, photo=one.photo[:0], rendered=one.rendered[:0]))
            if progress is not None:
                progress(f"photo {len(judged)} of {len(indices)}: {one.psnr:.2f} dB")
        found = verdict(judged)
        metrics = {"psnr": found.psnr} | ({} if found.ssim is None else {"ssim": found.ssim})
        return Judgement(metrics, f"{found.photos} {self._split} photos", picture)

    def judge_photo(self, asset: HashGridField, index: int, *, cancel: CancelFlag | None = None) -> Judged:
        """One photo beside its rendering. Raises `Cancelled`."""
        asset = asset.to(field_device(self.config.backend))
        (one,) = evaluate(
            asset, self.dataset, [index], downscale=self.downscale, background=self.background, cancel=cancel
        )
        return one

    @property
    def downscale(self) -> int:
        """The factor by which photos are reduced."""
        return auto_downscale(self.dataset, self.config.downscale)

    @property
    def _split(self) -> str:
        return "test" if self.dataset.test else "training"

    @cached_property
    def _judged_pixels(self) -> RayBatch:
        indices = self.dataset.test or self.dataset.train
        photos = photo_rays(self.dataset, indices, self.downscale)
        return photos.draw(QUICK_PIXELS, torch.Generator().manual_seed(0))

    def _judge_pixels(self, asset: HashGridField, cancel: CancelFlag | None) -> Judgement:
        batch = self._judged_pixels
        behind, alpha = torch.tensor(self.background), batch.alpha[:, None]
        origins, directions = rays_to_ngp(torch.linalg.inv(asset.ngp_from_world), batch.origins, batch.directions)
        seen = asset.render(origins, directions, cancel=cancel)
        rendered = (seen.rgb + (1.0 - seen.alpha[:, None]) * behind).clamp(0.0, 1.0)
        psnr = float(losses.psnr(rendered[None], (batch.rgb * alpha + (1.0 - alpha) * behind)[None]))
        return Judgement({"psnr": psnr}, f"{QUICK_PIXELS:,} pixels of the {self._split} photos")
