"""What every Gaussian gives to pictures: how much of the light that reaches the pixels is its own.

N Gaussians, C cameras. A Gaussian's part in a pixel is alpha * T, its opacity there times what the ones before it let
through. This is what criteria for pruning are made of (LightGaussian, Mini-Splatting, RadSplat and others).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .cancel import CancelFlag
from .gaussians import RasterOptions, SplatScene, checked_cameras, checked_options, rasterize_scenes


@dataclass(frozen=True, eq=False)
class Contributions:
    """Over all pixels of all cameras."""

    total: torch.Tensor  # [N] float64, sum of alpha * T
    greatest: torch.Tensor  # [N] float32, largest alpha * T
    pixels: torch.Tensor  # [N] int64, in how many alpha * T is above 0
    top_pixels: torch.Tensor  # [N] int64, in how many it is the largest of all; of equal ones the nearest counts
    sensitivity: torch.Tensor | None = None  # [N] float64, of `sensitivities`, where it was worked out

    @staticmethod
    def none(count: int, *, sensitivity: bool = False) -> Contributions:
        """Of rows that no camera looked at."""
        whole, real = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.float64)
        return Contributions(real, torch.zeros(count), whole, whole, real if sensitivity else None)

    def plus(self, other: Contributions) -> Contributions:
        """Of both cameras' pixels together."""
        mine, theirs = self.sensitivity, other.sensitivity
        return Contributions(
            self.total + other.total,
            torch.maximum(self.greatest, other.greatest),
            self.pixels + other.pixels,
            self.top_pixels + other.top_pixels,
            None if mine is None or theirs is None else mine + theirs,
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


def sensitivities(
    scene: SplatScene,
    viewmats,  # [C, 4, 4]
    Ks,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions | None = None,
    cancel: CancelFlag | None = None,
) -> torch.Tensor:  # [N] float64
    """How much the pictures hang on each row: the sum over all pixels of (d(r + g + b) / dG)^2.

    G is the value of the projected Gaussian in a pixel, alpha being opacity * G. Always on the cpu backend, of one
    scene that stands where it is; the same at any number of threads.

    Raises: as `rasterize_scenes`.

    Source: Hanson et al. 2025, "Speedy-Splat", section 4.2.
    """
    from .cpu.differentiable_gaussians import rasterize_for_training

    viewmats, Ks = checked_cameras(viewmats, Ks, width, height)
    options = replace(options or RasterOptions(), depth=False, backend="cpu")
    names = ("means", "quats", "scales", "opacities", "sh")
    rows = {name: torch.as_tensor(getattr(scene, name)).detach().float() for name in names}
    opacities = rows["opacities"].clone().requires_grad_()
    found = torch.zeros(len(opacities), dtype=torch.float64)
    for viewmat, K in zip(viewmats, Ks, strict=True):
        seen = rasterize_for_training(
            {**rows, "opacities": opacities},
            viewmat[None],
            K[None],
            width,
            height,
            options=checked_options(options, width, height),
            cancel=cancel,
            slopes=True,
        )
        seen.pictures.rgb.sum().backward()
        assert seen.slope_squares is not None
        found += seen.slope_squares[0].double()
    return found * opacities.detach().double() ** 2
