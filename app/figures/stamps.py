"""Small marks drawn on top of a picture: lines, names, and the bar that says what colours mean.

A `Stamp` knows its place in the whole picture, so a tile draws just its part and the seams do not show.
Sizes follow the picture: `unit_of` is the height of small print, about 1/45 of the shorter side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[float, float, float]

PANEL = (0.06, 0.06, 0.07)
PANEL_ALPHA = 0.72
SMALLEST_WITH_BAR = 160  # pixels of the shorter side; in smaller pictures a bar would hide what it explains
INK = (0.97, 0.97, 0.97)


@dataclass(frozen=True)
class Stamp:
    """A patch over the picture, its upper left corner at column x and row y."""

    x: int
    y: int
    rgb: np.ndarray  # [h, w, 3] float32, premultiplied
    alpha: np.ndarray  # [h, w] float32


def stamp_onto(
    stamps: Sequence[Stamp],
    rgb: np.ndarray,  # [h, w, 3] float32, premultiplied; changed in place
    alpha: np.ndarray,  # [h, w] float32; changed in place
    origin: tuple[int, int],
) -> None:
    """Draws what of the stamps falls on the tile whose first pixel is at `origin` (column, row) of the picture."""
    for stamp in stamps:
        parts = _overlap(stamp, alpha.shape, origin)
        if parts is not None:
            here, there = parts
            rest = 1.0 - stamp.alpha[there]
            rgb[here] = stamp.rgb[there] + rest[..., None] * rgb[here]
            alpha[here] = stamp.alpha[there] + rest * alpha[here]


def stamp_onto_bytes(stamps: Sequence[Stamp], pixels: np.ndarray, origin: tuple[int, int]) -> None:
    """The same for finished 8-bit pixels [h, w, 3]; changed in place."""
    for stamp in stamps:
        parts = _overlap(stamp, pixels.shape[:2], origin)
        if parts is not None:
            here, there = parts
            over = stamp.rgb[there] * 255.0 + (1.0 - stamp.alpha[there])[..., None] * pixels[here]
            pixels[here] = (np.clip(over, 0.0, 255.0) + 0.5).astype(np.uint8)


def unit_of(width: int, height: int) -> int:
    """Height of small print in pixels for a picture of this size."""
    return max(10, round(min(width, height) / 45))


def filled(x: int, y: int, width: int, height: int, color: Color, alpha: float = 1.0) -> Stamp:
    """A plain rectangle: a line where one side is small."""
    opacity = np.full((height, width), alpha, np.float32)
    return Stamp(x, y, opacity[..., None] * np.array(color, np.float32), opacity)


def label(text: str, x: int, y: int, unit: int, *, align: str = "left") -> Stamp:
    """A name on a dark panel; x is its left, right or middle column as `align` says."""
    ink = _text_mask(text, unit)
    pad = max(3, unit // 2)
    panel = _panel(ink.shape[1] + 2 * pad, ink.shape[0] + 2 * pad)
    panel = _inked(panel, ink, pad, pad)
    shift = {"left": 0, "right": panel.alpha.shape[1], "center": panel.alpha.shape[1] // 2}[align]
    return Stamp(x - shift, y, panel.rgb, panel.alpha)


def color_bar(
    title: str, table: np.ndarray, low: float, high: float, width: int, height: int
) -> Stamp:  # table [256, 3], picture of width x height
    """What the colours mean: a bar with a title, numbers at its ends and middle; in the lower left corner.

    A picture too small for it gets none.
    """
    if min(width, height) < SMALLEST_WITH_BAR:
        return filled(0, 0, 0, 0, PANEL)
    unit = unit_of(width, height)
    pad = max(4, unit // 2)
    bar_width = max(60, min(round(0.3 * width), 18 * unit))
    ticks = [_text_mask(_number(value, high - low), unit) for value in (low, 0.5 * (low + high), high)]
    heading = _text_mask(title, unit)
    inner = max(bar_width, heading.shape[1], sum(t.shape[1] for t in ticks) + 2 * unit)
    side = max(ticks[0].shape[1], ticks[2].shape[1]) // 2
    bar_height = max(4, round(0.8 * unit))
    panel = _panel(inner + 2 * (side + pad), heading.shape[0] + bar_height + ticks[0].shape[0] + 2 * pad + unit)
    left, top = side + pad, pad
    panel = _inked(panel, heading, left + (inner - heading.shape[1]) // 2, top)
    top += heading.shape[0] + unit // 2
    place = np.round(np.linspace(0, 255, inner)).astype(np.int64)
    panel.rgb[top : top + bar_height, left : left + inner] = table[place]
    panel.alpha[top : top + bar_height, left : left + inner] = 1.0
    top += bar_height + unit - unit // 2
    for tick, at in zip(ticks, (0, inner // 2, inner), strict=True):
        panel = _inked(panel, tick, left + at - tick.shape[1] // 2, top)
    x = unit
    y = height - panel.alpha.shape[0] - unit
    return Stamp(x, y, panel.rgb, panel.alpha)


def _overlap(stamp: Stamp, shape: tuple[int, ...], origin: tuple[int, int]):
    """Where a stamp and a tile meet, as slices of the tile and of the stamp; None where they do not."""
    x, y = stamp.x - origin[0], stamp.y - origin[1]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + stamp.alpha.shape[1], shape[1]), min(y + stamp.alpha.shape[0], shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]


def _panel(width: int, height: int) -> Stamp:
    return filled(0, 0, width, height, PANEL, PANEL_ALPHA)


def _inked(panel: Stamp, mask: np.ndarray, x: int, y: int) -> Stamp:  # mask [h, w] in [0, 1]
    """The panel with text on it, drawn in place."""
    opacity = mask.astype(np.float32)
    text = Stamp(x, y, opacity[..., None] * np.array(INK, np.float32), opacity)
    stamp_onto([text], panel.rgb, panel.alpha, (0, 0))
    return panel


@lru_cache(maxsize=64)
def _text_mask(text: str, unit: int) -> np.ndarray:
    """Coverage [h, w] of one line of text, h the same for all texts of one size."""
    # Drawn four times too large and averaged: hinting at small sizes sets the letters unevenly.
    font = ImageFont.load_default(size=4.0 * unit)
    left, _, right, _ = font.getbbox(text, anchor="ls")
    ascent, descent = round(0.95 * unit), round(0.28 * unit)
    columns = max(1, int(np.ceil((right - left) / 4)))
    image = Image.new("L", (4 * columns, 4 * (ascent + descent)))
    ImageDraw.Draw(image).text((-left, 4 * ascent), text, fill=255, font=font, anchor="ls")
    fine = np.asarray(image, np.float32) / 255.0
    return fine.reshape(ascent + descent, 4, columns, 4).mean(axis=(1, 3))


def _number(value: float, span: float) -> str:
    """A value with as many digits as tell a hundredth of the span."""
    digits = max(0, 2 - int(np.floor(np.log10(span)))) if span > 0 else 2
    text = f"{value:.{min(digits, 9)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
