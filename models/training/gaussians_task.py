"""The task of learning Gaussians from posed photos, judged on the photos that they were not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.models import datasets, losses
from h3d.models.compensated_picture import compensated_picture
from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.gaussians import Gaussians
from h3d.models.knobs import known_settings
from h3d.models.similarity import IDENTITY
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.gaussians import RasterOptions

from . import Judgement, Progress, Step
from .evaluation import Judged
from .gaussians import GaussiansTraining, train
from .gaussians_state import Beginning
from .pinhole_photos import PinholePhoto, pinhole_photo

QUICK_PHOTOS = 3


@dataclass(frozen=True)
class GaussiansTask:
    """A `Task`: photos of known cameras to 3D Gaussians."""

    dataset: PosedImages
    config: GaussiansTraining
    model: str = "gaussians"
    metrics: tuple[str, ...] = ("psnr", "ssim")
    lens: str = "lens undone"
    """Through which lens `judge_photo` compares."""
    beginning: Beginning | None = None
    """Where it starts; None = at the data set's points."""

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any]) -> GaussiansTask:
        """The task of a data set; `settings` are fields of `GaussiansTraining`. Raises: DatasetError."""
        dataset = datasets.read(path)
        config = GaussiansTraining(**known_settings(GaussiansTraining, settings))
        # What "auto" means is settled here: a run that goes on has photos of the same size.
        return GaussiansTask(dataset, replace(config, downscale=auto_downscale(dataset, config.downscale)))

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def remarks(self) -> tuple[str, ...]:
        return self.dataset.skipped

    def train(self, *, resume: Path | None = None) -> Iterator[Step[Gaussians]]:
        """See `Task`; `DatasetError` for a photo that cannot be decoded."""
        return train(self.dataset, self.config, resume=resume, beginning=self.beginning)

    def judge(
        self,
        asset: Gaussians,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """PSNR and SSIM over the test split, or over the photos that were trained on where there is none.

        Quickly: over a few of them, always the same. Lens distortion is undone in the photos.
        """
        indices = self._quick_indices if quick else self._indices
        psnr, ssim, picture = [], [], None
        for count, index in enumerate(indices, 1):
            photo = self._quick_photos[index] if quick else self._photo(index)
            wanted, found = self._pair(asset, photo, cancel)
            known = torch.ones(wanted.shape[:2], dtype=torch.bool) if photo.known is None else photo.known
            psnr.append(float(losses.psnr(found[known][None], wanted[known][None])))
            if not quick and min(wanted.shape[:2]) >= losses.WINDOW:
                ssim.append(float(losses.ssim(found, torch.where(known[..., None], wanted, found))))
            picture = torch.cat([wanted, found], dim=1) if picture is None else picture
            if progress is not None:
                progress(f"photo {count} of {len(indices)}: {psnr[-1]:.2f} dB")
        metrics = {"psnr": float(np.mean(psnr))} | ({"ssim": float(np.mean(ssim))} if ssim else {})
        split = "test" if self.dataset.test else "training"
        return Judgement(metrics, f"{len(indices)} {split} photos", None if quick else picture)

    def judge_photo(self, asset: Gaussians, index: int, *, cancel: CancelFlag | None = None) -> Judged:
        """One photo, its lens undone, beside its rendering. Raises `Cancelled`."""
        photo = self._photo(index)
        wanted, found = self._pair(asset, photo, cancel)
        if photo.known is not None:
            wanted = torch.where(photo.known[..., None], wanted, found)
        large = min(wanted.shape[:2]) >= losses.WINDOW
        ssim = float(losses.ssim(found, wanted)) if large else None
        return Judged(index, wanted, found, float(losses.psnr(found, wanted)), ssim)

    @property
    def downscale(self) -> int:
        """The factor by which photos are reduced."""
        return auto_downscale(self.dataset, self.config.downscale)

    def _pair(
        self, asset: Gaussians, photo: PinholePhoto, cancel: CancelFlag | None
    ) -> tuple[torch.Tensor, torch.Tensor]:  # [H, W, 3] twice
        """The photo and what the Gaussians show from there, both over the background that is judged on."""
        background = (0.0, 0.0, 0.0) if self.config.background == "black" else (1.0, 1.0, 1.0)
        options = RasterOptions(background=background, antialiased=asset.antialiased, depth=False, backend="cpu")
        viewmat = photo.viewmat
        if asset.frame != IDENTITY:  # Where the rows were moved to, the photo's camera goes along.
            pose = np.linalg.inv(viewmat.numpy().astype(np.float64))
            viewmat = torch.from_numpy(np.linalg.inv(asset.frame.pose(pose)))
            options = replace(options, near_plane=options.near_plane * asset.frame.scale)
        camera = (viewmat, photo.K, *photo.size)
        return photo.over(torch.tensor(background)), compensated_picture(asset, *camera, options=options, cancel=cancel)

    def _photo(self, index: int) -> PinholePhoto:
        return pinhole_photo(self.dataset.images[index], self.downscale)

    @property
    def _indices(self) -> Sequence[int]:
        return self.dataset.test or self.dataset.train

    @cached_property
    def _quick_indices(self) -> list[int]:
        spread = np.linspace(0, len(self._indices) - 1, min(QUICK_PHOTOS, len(self._indices)))
        return [self._indices[int(i)] for i in np.rint(spread)]

    @cached_property
    def _quick_photos(self) -> dict[int, PinholePhoto]:
        return {index: self._photo(index) for index in self._quick_indices}
