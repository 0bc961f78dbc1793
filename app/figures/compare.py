"""Two views of one camera in one picture: wipe, side by side, difference, flip; and how far the two are apart.

Each side is drawn only where it shows. Like a view, a comparison is drawn by a painter whose tiles join without seams.
Letters: a is the first view (left or upper), b the second; h rows, w columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.models import losses
from h3d.renderers import CancelFlag
from h3d.renderers.cameras import Camera

from . import colormaps, images, stamps
from .images import ViewPainter
from .passes import FixedPasses, Passes
from .pictures import Backend, Legend, Picture, Rect, Tile, View
from .splat_parts import round_up, visible_count
from .stamps import Stamp

CompareMode = Literal["wipe", "side_by_side", "difference", "flip"]
DIFFERENCE_SIDE = 256  # pixels of the longer side of the pictures that an automatic range is measured on
SMALLEST_RANGE = 0.01
PASSES_FOR_RANGE = 16


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how."""

    a: View
    b: View
    mode: CompareMode = "wipe"
    """wipe: a before the line, b behind it; side_by_side: each in half of the width; difference: b - a in false colour;
    flip: one of them."""
    split: float = 0.5
    """Where the wipe's line stands, as a share of the picture from the left (or the top)."""
    orientation: Literal["vertical", "horizontal"] = "vertical"
    """How the wipe's line runs: vertical puts a on the left, horizontal puts a on top."""
    show: Literal["a", "b"] = "a"
    """Which one a flip shows."""
    difference_range: float | None = None
    """Difference that gets the strongest colour, in (0, 1]; None = measured on the picture, rounded up to 1, 2 or 5."""
    labels: tuple[str, str] | None = None
    """Names drawn into the corners, for a and b; None = none."""
    line: bool = True
    """Whether the line between a and b is drawn."""


@dataclass(frozen=True)
class Metrics:
    """How far the pictures of a and b are apart, and how many Gaussians they take."""

    psnr_db: float
    """Peak signal to noise ratio; infinite for equal pictures."""
    ssim: float
    count_a: int
    """Gaussians of a that are not hidden."""
    count_b: int
    drawn_a: int
    """Gaussians of a that this camera sees."""
    drawn_b: int
    coverage: float
    """Sum of alpha of b's picture over that of a's: what is left of what was covered; nan where a covers nothing."""


@dataclass(frozen=True)
class ComparisonPainter:
    """Draws rectangles of one comparison from one camera. Made by `painter`."""

    comparison: Comparison
    camera: Camera
    a: ViewPainter
    b: ViewPainter
    stamps: tuple[Stamp, ...] = ()
    legend: Legend | None = None

    def picture(self, rect: Rect | None = None, *, depth: bool = False, cancel: CancelFlag | None = None) -> Picture:
        """The rectangle (None = all of it) as 8-bit colours over each view's own background."""
        rect = rect or (0, 0, self.camera.width, self.camera.height)
        if self.comparison.mode == "difference":
            first, second = (side.picture(rect, depth=depth, cancel=cancel) for side in (self.a, self.b))
            change = (second.pixels.astype(np.int16) - first.pixels) * np.float32(1.0 / 255.0)
            pixels = images.to_bytes(self._false_color(change))
            drawn = Picture(pixels, np.ones(pixels.shape[:2], np.float32), first.depth, _summed(first, second))
        else:
            drawn = self._joined_pictures(rect, depth, cancel)
        stamps.stamp_onto_bytes(self.stamps, drawn.pixels, rect[:2])
        return Picture(drawn.pixels, drawn.alpha, drawn.depth, drawn.stats, self.legend)

    def tile(
        self, rect: Rect | None = None, *, samples: int = 1, depth: bool = False, cancel: CancelFlag | None = None
    ) -> Tile:
        """The rectangle as premultiplied floats over nothing; a difference is opaque."""
        rect = rect or (0, 0, self.camera.width, self.camera.height)
        height, width = rect[3] - rect[1], rect[2] - rect[0]
        rgb, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
        if self.comparison.mode == "difference":
            first, second = (
                _opaque(side, side.tile(rect, samples=samples, cancel=cancel)) for side in (self.a, self.b)
            )
            rgb[:], alpha[:] = self._false_color(second - first), 1.0
        else:
            for side, there, here in self._parts(rect):
                part = side.tile(there, samples=samples, cancel=cancel)
                rgb[here], alpha[here] = part.rgb, part.alpha
        stamps.stamp_onto(self.stamps, rgb, alpha, rect[:2])
        return Tile(rgb, alpha)

    def _joined_pictures(self, rect: Rect, depth: bool, cancel: CancelFlag | None) -> Picture:
        height, width = rect[3] - rect[1], rect[2] - rect[0]
        pixels, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
        z = np.zeros((height, width), np.float32) if depth else None
        drawn = []
        for side, there, here in self._parts(rect):
            part = side.picture(there, depth=depth, cancel=cancel)
            pixels[here] = part.pixels
            if part.alpha is not None:
                alpha[here] = part.alpha
            if z is not None and part.depth is not None:
                z[here] = part.depth
            drawn.append(part)
        return Picture(pixels, alpha, z, _summed(*drawn))

    def _parts(self, rect: Rect) -> list[tuple[ViewPainter, Rect, tuple[slice, slice]]]:
        """Who draws what: painter, rectangle of its own picture, and where that lies in `rect`."""
        comparison, (width, height) = self.comparison, (self.camera.width, self.camera.height)
        if comparison.mode == "flip":
            zones = [(self.a if comparison.show == "a" else self.b, (0, 0, width, height), 0)]
        elif comparison.mode == "side_by_side":
            half = self.a.camera.width
            zones = [(self.a, (0, 0, half, height), 0), (self.b, (half, 0, width, height), half)]
        elif comparison.orientation == "vertical":
            at = split_at(comparison, width)
            zones = [(self.a, (0, 0, at, height), 0), (self.b, (at, 0, width, height), 0)]
        else:
            at = split_at(comparison, height)
            zones = [(self.a, (0, 0, width, at), 0), (self.b, (0, at, width, height), 0)]
        parts = []
        for side, zone, shift in zones:
            x0, y0, x1, y1 = max(rect[0], zone[0]), max(rect[1], zone[1]), min(rect[2], zone[2]), min(rect[3], zone[3])
            if x0 < x1 and y0 < y1:
                here = (slice(y0 - rect[1], y1 - rect[1]), slice(x0 - rect[0], x1 - rect[0]))
                parts.append((side, (x0 - shift, y0, x1 - shift, y1), here))
        return parts

    def _false_color(self, change: np.ndarray) -> np.ndarray:  # [h, w, 3] -> [h, w, 3]
        assert self.legend is not None
        return colormaps.colored(_strongest(change), colormaps.DIVERGING, self.legend[1], self.legend[2])


def split_at(comparison: Comparison, pixels: int) -> int:
    """The first row or column behind the wipe's line, of `pixels` in all."""
    return min(max(round(comparison.split * pixels), 0), pixels)


def painter(
    comparison: Comparison,
    camera: Camera,
    *,
    backend: Backend = "auto",
    quick: bool = False,
    passes: Passes | None = None,
    cancel: CancelFlag | None = None,
) -> ComparisonPainter:
    """What draws `comparison` from `camera`; measures now what all rectangles share.

    Raises:
        Cancelled: `cancel` was set meanwhile.
    """
    left, right = camera, camera
    if comparison.mode == "side_by_side":
        left = camera.resized(max(1, camera.width // 2), camera.height)
        right = camera.resized(max(1, camera.width - camera.width // 2), camera.height)
    first, second = comparison.a, comparison.b
    if comparison.mode == "flip":
        first = second = comparison.a if comparison.show == "a" else comparison.b
    a = images.painter(first, left, backend=backend, quick=quick, passes=passes, cancel=cancel)
    same = first is second and left is right
    b = a if same else images.painter(second, right, backend=backend, quick=quick, passes=passes, cancel=cancel)
    legend = None
    if comparison.mode == "difference":
        bound = comparison.difference_range or _measured_range(comparison, camera, backend, cancel)
        legend = ("B - A, channel of largest change", -bound, bound)
    return ComparisonPainter(comparison, camera, a, b, _marks(comparison, camera, legend), legend)


def render(
    comparison: Comparison,
    camera: Camera,
    *,
    depth: bool = False,
    quick: bool = False,
    passes: Passes | None = None,
    cancel: CancelFlag | None = None,
    backend: Backend = "auto",
) -> Picture:
    """The comparison as one picture for a screen."""
    drawer = painter(comparison, camera, backend=backend, quick=quick, passes=passes, cancel=cancel)
    return drawer.picture(depth=depth, cancel=cancel)


def measure(
    comparison: Comparison, camera: Camera, *, cancel: CancelFlag | None = None, backend: Backend = "auto"
) -> Metrics:
    """PSNR and SSIM of the two whole 8-bit pictures that `camera` takes, and the counts behind them."""
    first = images.render(comparison.a, camera, cancel=cancel, backend=backend)
    second = images.render(comparison.b, camera, cancel=cancel, backend=backend)
    a, b = (torch.from_numpy(side.pixels).float() / 255.0 for side in (first, second))
    padding = "valid" if min(camera.width, camera.height) >= losses.WINDOW else "same"
    return Metrics(
        psnr_db=float(losses.psnr(a, b)),
        ssim=float(losses.ssim(a, b, padding=padding)),
        count_a=visible_count(comparison.a.layers),
        count_b=visible_count(comparison.b.layers),
        drawn_a=int((first.stats or {}).get("visible", 0)),
        drawn_b=int((second.stats or {}).get("visible", 0)),
        coverage=_cover(second) / _cover(first) if _cover(first) > 0.0 else float("nan"),
    )


def _cover(picture: Picture) -> float:
    """Sum of alpha."""
    return 0.0 if picture.alpha is None else float(picture.alpha.sum(dtype=np.float64))


def _opaque(side: ViewPainter, tile: Tile) -> np.ndarray:
    """The tile over its view's background, cut to what a screen can show."""
    background = np.array(side.view.display.background, np.float32)
    return np.clip(tile.rgb + (1.0 - tile.alpha)[..., None] * background, 0.0, 1.0)


def _strongest(change: np.ndarray) -> np.ndarray:  # [h, w, 3] -> [h, w]
    """The signed change of the channel that changes most: a swap of colours must not average to nothing."""
    high, low = change.max(axis=-1), change.min(axis=-1)
    return np.where(high >= -low, high, low)


def _measured_range(comparison: Comparison, camera: Camera, backend: Backend, cancel: CancelFlag | None) -> float:
    """A round number that nearly all changes of a small picture stay below."""
    small = images.shrunk_camera(camera, DIFFERENCE_SIDE)
    few = FixedPasses(PASSES_FOR_RANGE)
    sides = [
        images.render(view, small, passes=few, cancel=cancel, backend=backend) for view in (comparison.a, comparison.b)
    ]
    change = np.abs(_strongest(sides[1].pixels.astype(np.int16) - sides[0].pixels)) / 255.0
    changed = change[change > 0]
    bound = max(float(np.quantile(changed, 0.98)) if len(changed) > 0 else 0.0, SMALLEST_RANGE)
    return min(1.0, round_up(bound))


def _marks(comparison: Comparison, camera: Camera, legend: Legend | None) -> tuple[Stamp, ...]:
    """The line, the names and the scale bar of a comparison, in the picture's own pixels."""
    width, height = camera.width, camera.height
    unit = stamps.unit_of(width, height)
    mode = comparison.mode
    marks: list[Stamp] = []
    upright = mode == "side_by_side" or comparison.orientation == "vertical"
    if mode == "wipe":
        at = split_at(comparison, width if upright else height)
    else:
        at = width // 2
    if comparison.line and mode in ("wipe", "side_by_side"):
        marks += _line(at, upright, width, height)
    if mode == "difference" and legend is not None:
        marks.append(stamps.color_bar(legend[0], colormaps.DIVERGING, legend[1], legend[2], width, height))
    if comparison.labels is not None:
        marks += _names(comparison, comparison.labels, upright, at, (width, height, unit))
    return tuple(marks)


def _names(
    comparison: Comparison, labels: tuple[str, str], upright: bool, at: int, size: tuple[int, int, int]
) -> list[Stamp]:
    """The names of a and b, each in a corner of its own side."""
    width, height, unit = size
    first, second = labels
    mode = comparison.mode
    if mode == "flip":
        return [stamps.label(first if comparison.show == "a" else second, unit, unit, unit)]
    if mode == "difference":
        return [
            stamps.label(f"A: {first}", unit, unit, unit),
            stamps.label(f"B: {second}", width - unit, unit, unit, align="right"),
        ]
    if mode in ("side_by_side", "wipe"):
        if upright:
            right = at + unit if mode == "side_by_side" else width - unit
            side = "left" if mode == "side_by_side" else "right"
            return [stamps.label(first, unit, unit, unit), stamps.label(second, right, unit, unit, align=side)]
        bottom = height - 4 * unit
        return [stamps.label(first, unit, unit, unit), stamps.label(second, unit, bottom, unit)]
    assert_never(mode)


def _line(at: int, upright: bool, width: int, height: int) -> list[Stamp]:
    """A white line with dark edges, to be seen on any picture."""
    thick = max(2, round(min(width, height) / 360))
    marks = []
    for grow, color, alpha in ((1, (0.0, 0.0, 0.0), 0.5), (0, (1.0, 1.0, 1.0), 1.0)):
        first, wide = at - thick // 2 - grow, thick + 2 * grow
        place = (first, 0, wide, height) if upright else (0, first, width, wide)
        marks.append(stamps.filled(*place, color, alpha))
    return marks


def _summed(*pictures: Picture) -> dict[str, float]:
    """The stages of several pictures added up."""
    total: dict[str, float] = {}
    for picture in pictures:
        for key, value in (picture.stats or {}).items():
            total[key] = total.get(key, 0.0) + value
    return total
