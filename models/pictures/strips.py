"""A picture as bands of whole rows, from its top to its bottom: what every reader of this folder gives.

Bands are [h, W, 3], of any height; their numbers mean what `Strips.dtype` says: uint8 and uint16 are sRGB, 0 to the
largest; float16 is linear light, 0 and above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3d.models.formats.errors import DAMAGED, FormatError

LONGEST_SIDE = 1 << 20
MOST_PIXELS = 1 << 34
BRIGHTEST = 65504.0  # the largest float16

Progress = Callable[[str], None]
"""Told in a few words how far something is."""


@dataclass(frozen=True)
class Strips:
    """One reader's view of one file. `bands` begins anew at each call; it raises `FormatError` for damaged data."""

    width: int
    height: int
    dtype: np.dtype
    bands: Callable[[], Iterator[np.ndarray]]

    @property
    def hdr(self) -> bool:
        return self.dtype.kind == "f"


def checked(path: Path, strips: Strips) -> Strips:
    """The strips, if their size is one. Raises: FormatError."""
    width, height = strips.width, strips.height
    sides = 1 <= min(width, height) and max(width, height) <= LONGEST_SIDE
    if not (sides and width * height <= MOST_PIXELS):
        rule = f"it is {width:,} x {height:,} pixels, must be 1 to {LONGEST_SIDE:,} a side and {MOST_PIXELS:,} in all"
        raise FormatError(path, "size", rule, DAMAGED)
    return strips


def rebanded(strips: Strips, rows: int) -> Iterator[np.ndarray]:
    """The same rows in bands of `rows`, the last one perhaps less."""
    band = np.empty((min(rows, strips.height), strips.width, 3), strips.dtype)
    filled = 0
    for piece in strips.bands():
        while len(piece) > 0:
            taken = min(len(piece), len(band) - filled)
            band[filled : filled + taken] = piece[:taken]
            filled, piece = filled + taken, piece[taken:]  # noqa: PLW2901
            if filled == len(band):
                yield band
                filled = 0
    if filled > 0:
        yield band[:filled]


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:  # [..., 3] and [..., 1] of one unsigned type
    """Straight alpha composed over white, rounded."""
    largest = np.iinfo(rgb.dtype).max
    share = alpha.astype(np.float32) / largest
    return np.rint(rgb * share + largest * (1.0 - share)).astype(rgb.dtype)


def linear_over_white(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:  # [..., 3], [..., 1] float
    """Premultiplied linear light over white, as float16; what is no number or below zero becomes black."""
    light = np.clip(np.nan_to_num(rgb.astype(np.float32), nan=0.0, posinf=BRIGHTEST, neginf=0.0), 0.0, BRIGHTEST)
    if alpha is not None:
        light += 1.0 - np.clip(np.nan_to_num(alpha.astype(np.float32), nan=1.0), 0.0, 1.0)
    return np.minimum(light, BRIGHTEST).astype(np.float16)


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:  # [h, W] -> [h, W, 3]
    return np.repeat(grey[..., None], 3, axis=-1)
