"""What a trained denoiser is worth: novel views of objects that it has never seen, against knowing nothing.

Of every held-out object one view is the reference and others are drawn by DDIM from it and the relative pose; what is
drawn is compared with the truth, beside the reference itself ("copy") and the mean training picture ("mean"). All
pictures stand before mid-grey. V views of N objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from h3d.models.diffusion.denoiser import Denoiser, Reference, Subject
from h3d.models.diffusion.sampling import sample
from h3d.models.losses import psnr, ssim
from h3d.models.procedural import HELD_OUT

from .dataset import PosedViews, picture_object

GREY = 0.5
SHEET_ROWS = 12
VALID_ALPHA = 0.5


@dataclass(frozen=True)
class HeldOutOptions:
    """How to test."""

    objects: int = len(HELD_OUT)
    views: int = 4
    """Drawn of each object."""
    steps: int = 25
    guidance_scale: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class HeldOutResult:
    """Means over all views of all objects, and pictures to look at."""

    numbers: Mapping[str, float]
    sheet: np.ndarray  # [H, W, 3] uint8: reference, then drawn above true


def run_held_out(denoiser: Denoiser, mean_picture: torch.Tensor, options: HeldOutOptions) -> HeldOutResult:
    """Draws and compares; the reference is view 0 of each object, the others follow."""
    rows: dict[str, list[float]] = {}
    sheet = []
    for seed in HELD_OUT[: options.objects]:
        views, poses = held_out_views(seed, denoiser.picture_size)
        asked = torch.from_numpy(poses[1 : 1 + options.views])
        truth, cover = views[1 : 1 + options.views, :3], views[1 : 1 + options.views, 3]
        drawn, drawn_cover = draw_views(denoiser, views[0], poses[0], asked, options)
        candidates = {
            "drawn": drawn,
            "copy": views[:1, :3].expand_as(truth),
            "mean": mean_picture[None, :3].expand_as(truth),
        }
        for name, pictures in candidates.items():
            for one, true in zip(pictures, truth, strict=True):
                rows.setdefault(f"{name}_psnr", []).append(float(psnr(_last(one), _last(true))))
                rows.setdefault(f"{name}_ssim", []).append(float(ssim(_last(one), _last(true))))
        for name, alpha in (("drawn", drawn_cover), ("copy", views[:1, 3].expand_as(cover))):
            rows.setdefault(f"{name}_iou", []).extend(_overlap(alpha, cover))
        if len(sheet) < SHEET_ROWS:
            column = torch.cat([views[0, :3], torch.full_like(views[0, :3], GREY)], dim=1)
            sheet.append(torch.cat([column, *torch.cat([drawn, truth], dim=2)], dim=2))
    numbers = {name: round(float(np.mean(values)), 4) for name, values in rows.items()}
    return HeldOutResult(numbers, np.rint(255 * torch.cat(sheet, dim=1).permute(1, 2, 0).numpy()).astype(np.uint8))


def draw_views(
    denoiser: Denoiser,
    reference: torch.Tensor,  # [4, s, s] over grey, and cover
    pose: np.ndarray,  # [3]
    asked: torch.Tensor,  # [V, 3]
    options: HeldOutOptions,
) -> tuple[torch.Tensor, torch.Tensor]:  # [V, 3, s, s], [V, s, s]
    alpha = reference[3:]
    straight = (reference[:3] - GREY * (1.0 - alpha)) / alpha.clamp(min=1e-3)
    subject = Subject(reference=Reference(straight, alpha, (float(pose[0]), float(pose[1]), float(pose[2]))))
    latents = sample(
        denoiser,
        denoiser.describe(subject),
        asked,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        seed=options.seed,
    )
    rgb, cover = denoiser.decode(latents)
    return rgb, torch.ones_like(rgb[:, 0]) if cover is None else cover[:, 0]


def held_out_views(seed: int, size: int) -> tuple[torch.Tensor, np.ndarray]:
    """Views over grey with their cover, [VIEWS, 4, s, s], and poses [VIEWS, 3], of a test object."""
    pictures, _, poses = picture_object(seed, size)
    return over_grey(pictures), poses


def mean_training_picture(dataset: PosedViews) -> torch.Tensor:  # -> [4, s, s]
    """Of the first shard."""
    first = dataset.views[0]
    return over_grey(first.reshape(-1, *first.shape[2:])).mean(dim=0)


def over_grey(pictures: np.ndarray) -> torch.Tensor:  # [V, s, s, 4] uint8 premultiplied -> [V, 4, s, s] in [0, 1]
    values = torch.from_numpy(pictures.astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    return torch.cat([values[:, :3] + GREY * (1.0 - values[:, 3:]), values[:, 3:]], dim=1)


def write_sheet(sheet: np.ndarray, path: Path, times: int = 3) -> None:
    Image.fromarray(sheet).resize((sheet.shape[1] * times, sheet.shape[0] * times), Image.Resampling.NEAREST).save(path)


def _last(picture: torch.Tensor) -> torch.Tensor:  # [3, s, s] -> [s, s, 3]
    return picture.permute(1, 2, 0)


def _overlap(alpha: torch.Tensor, truth: torch.Tensor) -> list[float]:  # [V, s, s] twice -> V IoUs
    a, b = alpha > VALID_ALPHA, truth > VALID_ALPHA
    return [float((x & y).sum() / (x | y).sum().clamp(min=1)) for x, y in zip(a, b, strict=True)]
