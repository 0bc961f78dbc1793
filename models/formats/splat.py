"""antimatter15's .splat: 32 bytes a Gaussian, no header, no spherical harmonics.

Three float32 of position, three of size (linear), RGBA bytes (colour 0.5 + C0 * f_dc, opacity as a plain number),
and a quaternion w x y z as bytes around 128. Axes as in the 3DGS .ply.
Source: antimatter15/splat, `convert.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians
from h3d.renderers.harmonics import dc_to_rgb, rgb_to_dc

from .atomic import replacing
from .errors import DAMAGED, FormatError
from .rows import checked, linear_to_log, logit, sigmoid

QUANTISATION = (
    "position and size exact float32; colour 1/255 within 0..1, opacity 1/255, quaternion 1/128; "
    "spherical harmonics beyond degree 0 are dropped"
)
ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])
READ_ROWS = 1 << 17


def read(path: Path) -> Gaussians:
    """Gaussians of a .splat.

    Raises: FormatError when the size is no multiple of 32 bytes, or a value is one that no Gaussian can have.
    """
    size = path.stat().st_size
    if size % ROW.itemsize != 0:
        rule = f"{size:,} bytes are no multiple of {ROW.itemsize}, the size of a Gaussian"
        raise FormatError(path, "end", rule, DAMAGED)
    count = size // ROW.itemsize
    means, scales = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    rgba, quats = np.empty((count, 4), np.float32), np.empty((count, 4), np.float32)
    with open(path, "rb") as file:
        for start in range(0, count, READ_ROWS):
            block = np.frombuffer(file.read(READ_ROWS * ROW.itemsize), ROW)
            rows = slice(start, start + len(block))
            means[rows], scales[rows] = block["means"], block["scales"]
            rgba[rows], quats[rows] = block["rgba"], block["quats"]
    rgba /= 255
    quats = (quats - 128) / 128
    return checked(
        path,
        means=means,
        quats=quats,
        log_scales=linear_to_log(path, scales),
        logit_opacities=logit(rgba[:, 3]),
        sh=rgb_to_dc(rgba[:, None, :3]),
    )


def write(path: Path, value: Gaussians) -> None:
    """Writes the largest and most opaque Gaussians first, so that a viewer that streams shows them first."""
    parts = [value.means, value.quats, value.log_scales, value.logit_opacities, value.sh[:, 0]]
    means, quats, log_scales, logits, dc = (part.detach().cpu().numpy() for part in parts)
    alphas = sigmoid(logits)
    order = np.argsort(-log_scales.sum(axis=1) - np.log(np.maximum(alphas, 1e-9)), kind="stable")
    block = np.empty(len(order), ROW)
    block["means"] = means[order]
    with np.errstate(over="ignore"):
        block["scales"] = np.minimum(np.exp(log_scales[order]), np.finfo(np.float32).max)
    rgba = np.column_stack([dc_to_rgb(dc[order]), alphas[order]])
    block["rgba"] = np.rint(np.clip(rgba, 0, 1) * 255)
    block["quats"] = np.clip(np.rint(quats[order] * 128 + 128), 0, 255)
    with replacing(path) as file:
        file.write(block.tobytes())
