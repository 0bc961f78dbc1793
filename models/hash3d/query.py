"""What a call of the UNet asks the table for, one query for each element of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .call import Call
from .cells import normalised
from .warp import Sight

Key = tuple[float, float, float, float]
"""Azimuth in degrees, elevation in degrees, radius, timestep."""


@dataclass(frozen=True, eq=False)
class Query:
    """One element: where it looks from and at which timestep, and what from."""

    key: Key
    latent: Tensor
    """The noisy latent, in memory of its own."""
    condition: int = 0
    """Number of its prompt and image."""
    sight: Sight | None = None
    """What its camera sees, where that was said."""


def keys_of(call: Call, cameras: NDArray[np.float64] | None) -> list[Key]:
    """Of every element; `cameras` [1 or B, 4] as `set_camera` was told them.

    Raises:
        ValueError: there is no camera, or their number is another than that of the elements.
    """
    if cameras is None:
        raise ValueError("the UNet was called before set_camera; say where it looks from, or use paused()")
    if len(cameras) not in (1, call.elements):
        raise ValueError(
            f"set_camera got {len(cameras)} cameras, and the UNet a batch of {call.elements} elements of "
            f"{call.rows_per_element} rows; give one camera for each element, or one for all"
        )
    filled = np.broadcast_to(cameras, (call.elements, 4)).copy()
    filled[:, 3] = call.timesteps()
    return [(a, e, r, t) for a, e, r, t in normalised(filled).tolist()]


def queries_of(
    call: Call, keys: Sequence[Key], conditions: Sequence[int], sights: Sequence[Sight] | None
) -> list[Query]:
    """One for each element. Raises: ValueError where the number of sights is another."""
    if sights is not None and len(sights) != call.elements:
        raise ValueError(
            f"set_camera got {len(sights)} sights, and the UNet a batch of {call.elements} elements; give one for each"
        )
    seen = [None] * call.elements if sights is None else sights
    return [Query(*parts) for parts in zip(keys, call.latents(), conditions, seen, strict=True)]
