"""A picture of any size that is made, not found: a fractal landscape with lines of height, detailed at every scale.

Heights are sums of smooth noise, each octave twice as fine and 0.7 times as high, down to two pixels; colours go
through their palette several times, so that steps of the finest octave still show. Written tile by tile as a tiled
TIFF, in the memory of a tile. h rows, w columns of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

TILE = 256
FINEST = 2  # pixels between the points of the finest noise
BANDS = 4.0  # times that the palette is gone through
GAIN = 0.7  # height of an octave for one of the octave before: 0.5 would be smooth when seen from near
PALETTE_SIZE = 4096


def write_landscape(path: Path, side: int, *, seed: int = 0) -> None:
    """Writes the picture of `side` x `side` pixels; about a minute for a gigapixel."""
    import tifffile

    options = {"shape": (side, side, 3), "dtype": np.uint8, "tile": (TILE, TILE), "photometric": "rgb"}
    tifffile.imwrite(path, _tiles(side, seed), bigtiff=True, **options)


def landscape(x0: int, y0: int, width: int, height: int, side: int, *, seed: int = 0) -> np.ndarray:  # [h, w, 3] uint8
    """A rectangle of the picture; the same pixels whatever the rectangle."""
    total = np.zeros((height, width), np.float32)
    spacing, strength, octave = max(side // 4, FINEST), 0.5, 0
    while spacing >= FINEST:
        total += np.float32(strength) * _noise(x0, y0, width, height, spacing, seed + 101 * octave)
        spacing, strength, octave = spacing // 2, GAIN * strength, octave + 1
    return _palette()[(total * np.float32(BANDS * PALETTE_SIZE)).astype(np.int32) % PALETTE_SIZE]


def _tiles(side: int, seed: int) -> Iterator[np.ndarray]:
    for y in range(0, side, TILE):
        for x in range(0, side, TILE):
            yield landscape(x, y, TILE, TILE, side, seed=seed)


def _noise(x0: int, y0: int, width: int, height: int, spacing: int, seed: int) -> np.ndarray:  # [h, w] in [0, 1]
    """Values at the points of a grid, joined smoothly: one axis after the other, since the curve is a product."""
    columns, along_x = _between(x0, width, spacing)
    rows, along_y = _between(y0, height, spacing)
    first_x, first_y = int(columns[0]), int(rows[0])
    grid_x = np.arange(first_x, int(columns[-1]) + 2, dtype=np.uint32)
    grid_y = np.arange(first_y, int(rows[-1]) + 2, dtype=np.uint32)
    values = _hashed(grid_x[None], grid_y[:, None], seed)
    left, right = values[:, columns - first_x], values[:, columns - first_x + 1]
    spread = left + (right - left) * along_x
    top, bottom = spread[rows - first_y], spread[rows - first_y + 1]
    return top + (bottom - top) * along_y[:, None]


def _between(start: int, count: int, spacing: int) -> tuple[np.ndarray, np.ndarray]:
    """For pixels from `start` on: the grid point before each, and how far it is to the next, smoothed."""
    at = np.arange(start, start + count)
    share = ((at % spacing) / np.float32(spacing)).astype(np.float32)
    return at // spacing, share * share * (3.0 - 2.0 * share)


def _hashed(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:  # float32 in [0, 1)
    """A number for each grid point, by mixing the bits of its place."""
    with np.errstate(over="ignore"):
        bits = x * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ np.uint32(seed * 0x27D4EB2F & 0xFFFFFFFF)
        bits = (bits ^ bits >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
        bits = (bits ^ bits >> np.uint32(12)) * np.uint32(0x297A2D39)
    return ((bits ^ bits >> np.uint32(15)) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)


def _palette() -> np.ndarray:  # [PALETTE_SIZE, 3] uint8
    """Once around: three waves a third of a turn apart, with a dark line."""
    turn = 2.0 * np.pi * np.arange(PALETTE_SIZE)[:, None] / PALETTE_SIZE
    waves = 140.0 + 90.0 * np.cos(turn - np.array([0.0, 2.0, 4.0]))
    line = 1.0 - 0.7 * np.exp(-(((turn - np.pi) / 0.15) ** 2))
    return np.rint(waves * line).astype(np.uint8)
