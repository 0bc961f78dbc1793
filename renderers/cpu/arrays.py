"""Large arrays for the kernels to write: their memory is kept when they go, and serves the next ones of their size.

A training step makes the same arrays again and again, a hundred megabytes of them; fresh from the system, a third of
the step would be spent on the first touch of their pages.
"""

from __future__ import annotations

import math

import torch

from h3d.renderers.backends import kernels

SMALLEST_KEPT = 1 << 18
"""Values below which the system's own allocator does as much."""


def empty(*shape: int) -> torch.Tensor:
    """A float32 array with anything in it."""
    count = math.prod(shape)
    if count < SMALLEST_KEPT:
        return torch.empty(shape)
    return torch.from_numpy(kernels().block(count)).reshape(shape)
