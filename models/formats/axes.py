"""Mirroring rows along axes: what stands between a format's axes and ours."""

from __future__ import annotations

from dataclasses import replace

import torch

from h3d.models.gaussians import Gaussians

_BASIS_AXES = ("", "y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
"""Axes in which each SH basis of degree 0 to 3 is odd."""


def flipped(value: Gaussians, signs: tuple[int, int, int]) -> Gaussians:
    """The scene after (x, y, z) -> signs * (x, y, z), quaternions and SH along; its own inverse.

    A mirrored Gaussian is a Gaussian: F R F is a rotation whatever the determinant of F = diag(signs).
    """
    sign = dict(zip("xyz", signs, strict=True))
    x, y, z = signs

    def factors(values) -> torch.Tensor:
        return torch.tensor(list(values), dtype=value.means.dtype, device=value.means.device)

    odd = [sum(sign[axis] < 0 for axis in axes) % 2 for axes in _BASIS_AXES[: value.sh.shape[1]]]
    return replace(
        value,
        means=value.means * factors(signs),
        quats=value.quats * factors((1, y * z, x * z, x * y)),
        sh=value.sh * factors(-1 if o else 1 for o in odd)[:, None],
    )
