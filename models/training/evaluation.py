"""How well a field shows photos that it was not trained on: PSNR and SSIM, photo by photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from h3d.models import datasets, losses
from h3d.models.datasets import PosedImage, PosedImages, image, pixel_grid, rays
from h3d.models.hash_grid import HashGridField
from h3d.renderers.cancel import CancelFlag

from .photo_rays import as_bytes

Rgb = tuple[float, float, float]
WHITE: Rgb = (1.0, 1.0, 1.0)
BLACK: Rgb = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Judged:
    """One photo beside its rendering, both [H, W, 3] sRGB in [0, 1]."""

    index: int  # into the data set's images
    photo: torch.Tensor
    rendered: torch.Tensor
    psnr: float  # dB
    ssim: float | None  # None for pictures smaller than its window


@dataclass(frozen=True)
class Verdict:
    """Means over a split."""

    psnr: float
    ssim: float | None
    photos: int


def evaluate(
    field: HashGridField,
    dataset: PosedImages,
    indices: Sequence[int],
    *,
    downscale: int,
    background: Rgb = WHITE,
    cancel: CancelFlag | None = None,
) -> Iterator[Judged]:
    """Renders photos of the data set one by one and compares them."""
    for index in indices:
        posed = dataset.images[index]
        photo = photo_on(posed, downscale, background)
        rendered = render_photo(field, posed, downscale, background, cancel=cancel)
        psnr, shown = float(losses.psnr(rendered, photo)), datasets.known(posed, downscale)
        if shown is not None:
            seen = torch.from_numpy(shown)
            psnr = float(losses.psnr(rendered[seen][None], photo[seen][None]))
            # What the mask hides counts as right for SSIM, whose windows are of whole pictures.
            photo = torch.where(seen[..., None], photo, rendered)
        large = min(photo.shape[:2]) >= losses.WINDOW
        ssim = float(losses.ssim(rendered, photo)) if large else None
        yield Judged(index, photo, rendered, psnr, ssim)


def verdict(judged: Sequence[Judged]) -> Verdict:
    """The means, of PSNR in dB, as the papers' tables have them."""
    similarities = [one.ssim for one in judged if one.ssim is not None]
    ssim = float(np.mean(similarities)) if similarities else None
    return Verdict(float(np.mean([one.psnr for one in judged])), ssim, len(judged))


def photo_on(posed: PosedImage, downscale: int, background: Rgb) -> torch.Tensor:  # [H, W, 3]
    """The photo with its transparent parts on a background."""
    pixels = torch.from_numpy(as_bytes(image(posed, downscale)).astype(np.float32) / 255.0)
    alpha = pixels[..., 3:] if pixels.shape[2] == 4 else torch.ones(*pixels.shape[:2], 1)
    return pixels[..., :3] * alpha + torch.tensor(background) * (1.0 - alpha)


def render_photo(
    field: HashGridField,
    posed: PosedImage,
    downscale: int,
    background: Rgb,
    *,
    cancel: CancelFlag | None = None,
) -> torch.Tensor:  # [H, W, 3]
    """What the field looks like through the photo's own lens, clipped to [0, 1]."""
    origins, directions = (torch.from_numpy(array) for array in rays(posed, pixel_grid(posed, downscale)))
    rendered = field.render(origins, directions, background=background, cancel=cancel)
    height, width = max(1, posed.height // downscale), max(1, posed.width // downscale)
    return rendered.rgb.clamp(0.0, 1.0).reshape(height, width, 3)
