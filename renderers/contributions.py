"""What every Gaussian gives to pictures: how much of the light that reaches the pixels is its own.

N Gaussians, C cameras. A Gaussian's part in a pixel is alpha * T, its opacity there times what the ones before it let
through. This is what criteria for pruning are made of (LightGaussian, Mini-Splatting, RadSplat and others).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .cancel import CancelFlag
from .gaussians import RasterOptions, SplatScene, checked_cameras, rasterize_scenes


@dataclass(frozen=True, eq=False)
class Contributions:
    """Over all pixels of all cameras."""

    total: torch.Tensor  # [N] float64, sum of alpha * T
    greatest: torch.Tensor  # [N] float32, largest alpha * T
    pixels: torch.Tensor  # [N] int64, in how many alpha * T is above 0
    top_pixels: torch.Tensor  # [N] int64, in how many it is the largest of all; of equal ones the nearest counts

    @staticmethod
    def none(count: int) -> Contributions:
        """Of rows that no camera looked at."""
        whole = torch.zeros(count, dtype=torch.int64)
        return Contributions(torch.zeros(count, dtype=torch.float64), torch.zeros(count), whole, whole)

    def plus(self, other: Contributions) -> Contributions:
        """Of both cameras' pixels together."""
        return Contributions(
            self.total + other.total,
            torch.maximum(self.greatest, other.greatest),
            self.pixels + other.pixels,
            self.top_pixels + other.top_pixels,
        )


def contributions(
    scenes: Sequence[SplatScene],
    viewmats,  # [C, 4, 4]
    Ks,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions | None = None,
    cancel: CancelFlag | None = None,
) -> Contributions:
    """What each row gives to C pictures, rows counted through the scenes; always on the cpu backend.

    The same at any number of threads. Of `options`, what is only about colours does not matter.

    Raises: as `rasterize_scenes`.
    """
    viewmats, Ks = checked_cameras(viewmats, Ks, width, height)
    # Colours have no part in it: one of them each is the least that the rasteriser takes.
    plain = [replace(scene, sh=torch.as_tensor(scene.sh)[:, :1], features=None) for scene in scenes]
    options = options if options is not None else RasterOptions()
    options = replace(options, depth=False, contributions=True, top_id=True, backend="cpu", rgb_dtype="uint8")
    found = Contributions.none(sum(len(scene.means) for scene in scenes))
    for viewmat, K in zip(viewmats, Ks, strict=True):  # One after the other: only one picture has to be held.
        drawn = rasterize_scenes(plain, viewmat[None], K[None], width, height, options=options, cancel=cancel)
        total, greatest, pixels = drawn.contribution_sum, drawn.contribution_max, drawn.contribution_count
        assert total is not None and greatest is not None and pixels is not None and drawn.top_id is not None
        rows = drawn.top_id[drawn.top_id >= 0].long()
        tops = torch.bincount(rows, minlength=len(total))
        found = found.plus(Contributions(total.double(), greatest, pixels, tops))
    return found
