"""Colour maps as tables of 256 colours, interpolated between anchors in OKLab, where equal steps look equal.

`SEQUENTIAL` rises evenly in lightness from dark violet over green to yellow; `HEAT` from black over red to pale yellow;
`DIVERGING` is symmetric about near-white, blue below and red above. Anchors are sRGB. Source: OKLab, Ottosson 2020.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _oklab(srgb: np.ndarray) -> np.ndarray:  # [..., 3] in [0, 1]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def _srgb(lab: np.ndarray) -> np.ndarray:  # [..., 3]; inverse of `_oklab`, cut to [0, 1]
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0.0, 1.0)
    return np.clip(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055), 0.0, 1.0)


def _table(*anchors: str) -> np.ndarray:
    """[256, 3] float32 through the anchors ("rrggbb"), with even steps of OKLab distance along the whole way."""
    rgb = np.array([[int(anchor[i : i + 2], 16) for i in (0, 2, 4)] for anchor in anchors]) / 255.0
    lab = _oklab(rgb)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], 256)
    table = _srgb(np.stack([np.interp(at, along, lab[:, k]) for k in range(3)], axis=1)).astype(np.float32)
    table.setflags(write=False)
    return table


SEQUENTIAL = _table("440e57", "48287a", "3e4c8a", "31688e", "23898e", "1fa188", "3dbc74", "82d34d", "d0e11c", "fde725")
HEAT = _table("02020a", "1f0c48", "550f6d", "88226a", "ba3655", "e35933", "f98c0a", "f9c932", "fcffa4")
DIVERGING = _table("123a7c", "2f6fb6", "78aed6", "c4dcec", "f7f6f4", "f6cbb4", "e58a6c", "c13b3d", "7b0d24")
NEAR_BRIGHT = SEQUENTIAL[::-1]
"""For depth: the first entry, the nearest, is the bright end."""


def colored(values: np.ndarray, table: np.ndarray, low: float, high: float) -> np.ndarray:  # [...], [256, 3]
    """Colours [..., 3] float32 of `values`: `low` is the first entry of the table, `high` the last; ends clamp."""
    return np.take(table, indices(values, low, high), axis=0)


def indices(values: np.ndarray, low: float, high: float) -> np.ndarray:  # [...] -> [...] uint8
    """The entry of a 256-colour table for each value; what is not finite goes to the ends, NaN to the first."""
    scale = 255.0 / (high - low) if high > low else 0.0
    place = (np.asarray(values, np.float32) - np.float32(low)) * np.float32(scale) + np.float32(0.5)
    return np.nan_to_num(np.clip(place, 0.0, 255.0), nan=0.0).astype(np.uint8)


def distinct(keys: np.ndarray) -> np.ndarray:  # [N] int64 -> [N, 3] float32
    """A stable colour per key, one of 4096 that differ in hue, chroma and lightness, none of them dark."""
    return np.take(_distinct_table(), (_mixed(keys) >> np.uint64(52)).astype(np.intp), axis=0)


def _mixed(keys: np.ndarray) -> np.ndarray:  # [N] int64 -> [N] uint64
    """A hash in which each bit depends on each bit of the key: SplitMix64 (Steele, Lea, Flood 2014)."""
    x = np.asarray(keys).astype(np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=1)
def _distinct_table() -> np.ndarray:  # [4096, 3] float32
    x = _mixed(np.arange(4096))
    hue, chroma, lightness = (((x >> np.uint64(16 * k)) & np.uint64(0xFFFF)) / 65536.0 for k in range(3))
    angle, reach = 2 * np.pi * hue, 0.07 + 0.09 * chroma
    lab = np.stack([0.5 + 0.4 * lightness, reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
    return _srgb(lab).astype(np.float32)
