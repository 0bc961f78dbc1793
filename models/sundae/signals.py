"""What is looked at on the graph: a few numbers of each row. The paper looks at the means alone.

N rows, F numbers.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.models.gaussians import Gaussians

Signal = Literal["means", "colors", "log_scales", "opacities", "normals"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)


def signal_of(gaussians: Gaussians, signal: Signal) -> np.ndarray:  # -> [N, F] float64
    """One signal of all rows."""
    if signal == "means":
        return gaussians.means.double().numpy()
    if signal == "colors":
        return gaussians.sh[:, 0].double().numpy()
    if signal == "log_scales":
        return gaussians.log_scales.double().numpy()
    if signal == "opacities":
        return gaussians.opacities.double().numpy()[:, None]
    if signal == "normals":
        return _normals(gaussians)
    assert_never(signal)


def _normals(gaussians: Gaussians) -> np.ndarray:  # -> [N, 6]
    """The shortest axis n, as the entries of n n^T: an axis has no front, so n and -n must be one signal.

    Entries beside the diagonal are weighted by sqrt(2), so that distances are those of the whole matrices.
    """
    w, x, y, z = gaussians.quats.double().unbind(-1)
    axes = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=1,
    )
    shortest = gaussians.log_scales.argmin(dim=1) if len(gaussians) > 0 else torch.zeros(0, dtype=torch.long)
    nx, ny, nz = axes[torch.arange(len(gaussians)), shortest].unbind(-1)
    beside = 2.0**0.5
    return torch.stack([nx * nx, ny * ny, nz * nz, beside * nx * ny, beside * nx * nz, beside * ny * nz], -1).numpy()
