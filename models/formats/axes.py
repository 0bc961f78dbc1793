"""Mirroring rows along axes: what stands between a format's axes and ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from h3d.models.gaussians import Gaussians

Signs = tuple[int, int, int]
_BASIS_AXES = ("", "y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
"""Axes in which each SH basis of degree 0 to 3 is odd."""


def factors(signs: Signs, bases: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What means [3], quaternions wxyz [4] and SH [bases, 1] are multiplied by when (x, y, z) -> signs * (x, y, z).

    A mirrored Gaussian is a Gaussian: F R F is a rotation whatever the determinant of F = diag(signs).
    """
    x, y, z = signs
    sign = {"x": x, "y": y, "z": z}
    odd = [int(np.prod([sign[axis] for axis in axes])) for axes in _BASIS_AXES[:bases]]
    turn = (1, y * z, x * z, x * y)
    return np.array(signs, np.float32), np.array(turn, np.float32), np.array(odd, np.float32)[:, None]


def flipped(value: Gaussians, signs: Signs) -> Gaussians:
    """The mirrored scene, quaternions and SH along; its own inverse."""
    means, quats, sh = (torch.from_numpy(f).to(value.means) for f in factors(signs, value.sh.shape[1]))
    return replace(value, means=value.means * means, quats=value.quats * quats, sh=value.sh * sh)
