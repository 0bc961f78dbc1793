"""The door to pictures of 3D Gaussians that gradients flow back through, with what densification asks of them.

The pictures are those of `rasterize_gaussians` to the bit, which stays the way to pictures that nothing is learnt
from. Letters and axes: `h3d.renderers`. Source: Kerbl et al. 2023 (densification by gradients on the picture); Ye et
al. 2024, "AbsGS" (the same of absolute values).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module

import torch

from . import backends
from .cancel import CancelFlag
from .gaussians import RasterOptions, Rendered, checked_cameras, checked_options
from .harmonics import degree_of
from .shapes import check

PLAIN = RasterOptions()


@dataclass(frozen=True)
class TrainingPictures:
    """Pictures in the graph of torch, and per camera what they say about each Gaussian."""

    pictures: Rendered
    """`rgb`, `alpha`, `depth` and `features` carry gradients."""
    radii: torch.Tensor  # [C, N] pixels from the mean to where the Gaussian ends, 0 where it was not drawn
    gradient_norms: torch.Tensor  # [C, N]
    """Length of the loss's gradient with respect to the mean on the picture, a pixel of movement; zeros until
    `backward()` has run, which fills it in place. Thresholds of 3DGS and gsplat count half pictures instead of pixels:
    times half the larger side they compare with this."""
    abs_gradient_norms: torch.Tensor  # [C, N] the same of the sums of absolute values over pixels
    slope_squares: torch.Tensor | None = None  # [C, N]
    """Sums over the pixels of the squared slope of the loss by the Gaussian's alpha there; filled in likewise. Where
    asked for, by the CPU twin alone."""


def rasterize_for_training(
    means: torch.Tensor,  # [N, 3]
    quats: torch.Tensor,  # [N, 4] wxyz, normalised here
    scales: torch.Tensor,  # [N, 3]
    opacities: torch.Tensor,  # [N]
    sh: torch.Tensor,  # [N, K, 3]
    viewmats: torch.Tensor,  # [C, 4, 4]
    Ks: torch.Tensor,  # [C, 3, 3] get no gradient
    width: int,
    height: int,
    *,
    features: torch.Tensor | None = None,  # [N, D]
    options: RasterOptions = PLAIN,
    cancel: CancelFlag | None = None,
) -> TrainingPictures:
    """Pictures whose gradients reach every argument above but `Ks`; float32, worked out where the rows lie.

    Rows that were not drawn (culled, too faint, with a NaN) get zeros. Gradients take cuts as they fell: alpha below
    1/255, finished pixels, the clamps of alpha, colour and opacity; so they are exact between the cuts and blind across
    them. The same bits at every number of threads of the CPU. Parameters must not be changed in place before
    `backward()`.

    Raises:
        ValueError: an argument has a wrong shape, type, device or range; the sentence says which.
        Cancelled: `cancel` was set before it was done; `backward()` raises it too.
        RuntimeError: the backend does not work on this machine; the sentence says why.
    """
    rows = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "sh": sh}
    if features is not None:
        rows["features"] = features
    _check_rows(rows)
    viewmats, Ks = checked_cameras(viewmats, Ks, width, height)
    options = checked_options(options, width, height)
    _check_learnable(options)
    backend = backends.for_device(options.backend, means.device)
    if backend == "cuda":
        backends.choose("cuda")  # gsplat, too, must work.
    twin = import_module(f"h3d.renderers.{backend}.differentiable_gaussians")
    return twin.rasterize_for_training(rows, viewmats, Ks, width, height, options=options, cancel=cancel)


def _check_rows(rows: dict[str, torch.Tensor]) -> None:
    rules = {"means": "[N, 3]", "quats": "[N, 4]", "scales": "[N, 3]", "opacities": "[N]", "sh": "[N, K, 3]"}
    rules |= {"features": "[N, D]"}
    sizes: dict[str, int] = {}
    for name, value in rows.items():
        check(value, rules[name], name, sizes)
        if value.dtype != torch.float32:
            raise ValueError(f"{name}: it is {value.dtype}; gradients are worked out in torch.float32")
        if value.device != rows["means"].device:
            where = rows["means"].device
            raise ValueError(f"{name}: it is on {value.device}, means are on {where}; must be on one device")
    degree_of(sizes["K"])
    if sizes["N"] >= 2**31:
        raise ValueError(f"means: {sizes['N']} Gaussians; must be fewer than 2^31")


def _check_learnable(options: RasterOptions) -> None:
    plain = replace(options, shape="splats", color="sh", rgb_dtype="float32", contributions=False, top_id=False)
    for name in ("shape", "color", "rgb_dtype", "contributions", "top_id"):
        wanted, value = getattr(plain, name), getattr(options, name)
        if value != wanted:
            raise ValueError(f"{name}: {value}; pictures to learn from have {wanted}, use rasterize_gaussians for it")
