"""A picture of Gaussians as they are meant to be seen: through their compensation network, where they have one."""

from __future__ import annotations

from dataclasses import replace

import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.gaussians import RasterOptions, Rect, Rendered, rasterize_gaussians

from .gaussians import Gaussians


def compensated_picture(
    gaussians: Gaussians,
    viewmat,  # [4, 4]
    K,  # [3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions,
    cancel: CancelFlag | None = None,
) -> torch.Tensor:  # [H, W, 3] in [0, 1]
    """The whole picture over the options' background. Raises: as `rasterize_gaussians`."""
    rows = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    camera = (viewmat[None], K[None], width, height)

    def over_nothing(rect: Rect) -> Rendered:
        wish = replace(options, rect=rect, background=(0.0, 0.0, 0.0))
        return rasterize_gaussians(*rows, *camera, features=gaussians.features, options=wish, cancel=cancel)

    if gaussians.compensation is None:
        return rasterize_gaussians(*rows, *camera, options=options, cancel=cancel).rgb[0].clamp(0.0, 1.0)
    made = gaussians.compensation.picture(over_nothing, (0, 0, width, height), width, height)
    behind = (1.0 - made.alpha[0])[..., None] * torch.tensor(options.background)
    return (made.rgb[0] + behind).clamp(0.0, 1.0)
