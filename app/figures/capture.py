"""A picture for a paper: rendered tile by tile into a file, with its recipe inside.

The one function behind the Capture panel and `h3d render`: same scene, camera and settings, same bytes. Memory is that
of one strip of tiles, however large the picture is. `.png` holds colours; `.npy` holds expected depth along the view
axis as float32, 0 where nothing is, and keeps its recipe beside it in `NAME.npy.json`.
Letters: h rows, w columns, C channels; tiles are floats over nothing, premultiplied by alpha (`images.Tile`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from h3d.models.formats.atomic import replacing
from h3d.renderers import CancelFlag, backends
from h3d.renderers.cameras import Camera

from . import colormaps, compare, images, png, stamps
from .compare import Comparison, ComparisonPainter
from .images import ViewPainter
from .pictures import Backend, Tile, View
from .recipe import KEYWORD, command_of, recipe_of, recipe_text

MAX_SIDE = 16384
MAX_SAMPLES = 4
MAX_MARGIN = 4096
TILE_POINTS = 1 << 21
"""Samples that are rendered at once: about 100 MB of floats and bytes while a tile is worked on."""
TILE_ALIGNMENT = 16

Progress = Callable[[float], None]
"""Told the share that is done, from 0 to 1."""


@dataclass(frozen=True)
class CaptureSettings:
    """The settings of one capture."""

    width: int = 1920
    """Width of the picture in pixels, without margins, up to 16384."""
    height: int = 1080
    """Height of the picture in pixels, without margins, up to 16384."""
    samples: int = 1
    """Samples along each side of a pixel, 1 to 4: 3 means 9 samples a pixel."""
    bit_depth: Literal[8, 16] = 8
    """Bits of each channel of the PNG."""
    background: tuple[float, float, float] | Literal["transparent"] = (0.0, 0.0, 0.0)
    """Colour behind the scene, sRGB in [0, 1], or transparent."""
    margin: int = 0
    """Pixels of margin on every side, around the picture."""
    margin_color: Literal["white", "black", "transparent"] = "white"
    """Colour of the margin."""
    scale_bar: bool = False
    """Draw what the colours mean into depth and contribution pictures (differences always have it)."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("width", 1, MAX_SIDE),
            ("height", 1, MAX_SIDE),
            ("samples", 1, MAX_SAMPLES),
            ("margin", 0, MAX_MARGIN),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"capture: {name}={value}; must be from {low} to {high}")
        if self.bit_depth not in (8, 16):
            raise ValueError(f"capture: bit_depth={self.bit_depth}; must be 8 or 16")
        if self.background != "transparent" and not all(0.0 <= v <= 1.0 for v in self.background):
            raise ValueError(f"capture: background={self.background}; channels must lie in [0, 1]")

    @property
    def channels(self) -> int:
        """4 where anything can be transparent, else 3."""
        clear_margin = self.margin > 0 and self.margin_color == "transparent"
        return 4 if self.background == "transparent" or clear_margin else 3


def capture(
    subject: View | Comparison,
    camera: Camera,
    settings: CaptureSettings,
    path: Path,
    *,
    backend: Backend = "auto",
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
) -> dict[str, Any]:
    """Renders `subject` into the file `path` (.png, or .npy for depth) and returns its recipe.

    The camera keeps its pose and vertical field of view; the picture has the size of the settings. The file appears
    whole or not at all.

    Raises:
        Cancelled: `cancel` was set; there is no file.
        FileNotFoundError: the folder of `path` does not exist.
        ValueError: the suffix is neither .png nor .npy, or a comparison is asked for its depth.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".npy"):
        raise ValueError(f"{path.name}: a capture is written as .png (colours) or .npy (depth); name it so")
    if suffix == ".npy" and isinstance(subject, Comparison):
        raise ValueError(f"{path.name}: a comparison has no depth of its own; capture one of its views, or a .png")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")
    subject, camera = _settled(subject, camera, settings)
    recipe_settings = asdict(settings)
    report = progress or _ignore
    if isinstance(subject, View):
        painter = images.painter(subject, camera, backend=backend, cancel=cancel)
    else:
        painter = compare.painter(subject, camera, backend=backend, cancel=cancel)
    recipe = recipe_of(
        subject, camera, recipe_settings, backend=backends.choose(backend), legend=painter.legend, suffix=suffix
    )
    tiles = _Tiles(painter, settings, suffix == ".npy", cancel, report)
    if suffix == ".npy":
        _write_depth(tiles, path)
        with replacing(Path(f"{path}.json")) as stream:
            stream.write(recipe_text(recipe).encode("utf-8"))
    else:
        _write_png(tiles, path, {KEYWORD: recipe_text(recipe)})
    return recipe


def command_line(subject: View | Comparison, camera: Camera, settings: CaptureSettings, output: str = "OUT.png") -> str:
    """What a person pastes into a shell on this machine to get the picture that `capture` would make."""
    subject, camera = _settled(subject, camera, settings)
    return command_of(subject, camera, asdict(settings), output=output, full_paths=True)


@dataclass(frozen=True)
class _Tiles:
    """The strips of a picture from the top, each put together from tiles."""

    painter: ViewPainter | ComparisonPainter
    settings: CaptureSettings
    depth: bool
    cancel: CancelFlag | None
    report: Progress

    def strips(self) -> Iterator[list[tuple[int, Tile]]]:
        """Strip by strip, the tiles from the left, each with its first column."""
        settings = self.settings
        width, height, samples = settings.width, settings.height, settings.samples
        rows, columns = tile_size(width, height, samples)
        marks = _bar(self.painter, settings)
        tiles_done, tiles_in_all = 0, math.ceil(height / rows) * math.ceil(width / columns)
        for y in range(0, height, rows):
            strip: list[tuple[int, Tile]] = []
            for x in range(0, width, columns):
                rect = (x, y, min(x + columns, width), min(y + rows, height))
                tile = self.painter.tile(rect, samples=samples, depth=self.depth, cancel=self.cancel)
                stamps.stamp_onto(marks, tile.rgb, tile.alpha, (x, y))
                strip.append((x, tile))
                tiles_done += 1
                self.report(tiles_done / tiles_in_all)
            yield strip


def tile_size(width: int, height: int, samples: int) -> tuple[int, int]:
    """Rows and columns of the tiles of a picture: whole strips where they are small enough, else parts of strips."""
    points_a_row = width * samples * samples
    rows = min(height, max(TILE_ALIGNMENT, TILE_POINTS // points_a_row // TILE_ALIGNMENT * TILE_ALIGNMENT))
    columns = TILE_POINTS // (rows * samples * samples) // TILE_ALIGNMENT * TILE_ALIGNMENT
    return rows, min(width, max(TILE_ALIGNMENT, columns))


def quantized(tile: Tile, settings: CaptureSettings) -> np.ndarray:
    """The samples of a tile as the file holds them: [h, w, C] uint8 or uint16, alpha straight.

    A colour brighter than its alpha (radiance above 1 in a half transparent pixel) has no straight form and is cut.
    """
    top = np.float32(255.0 if settings.bit_depth == 8 else 65535.0)
    dtype = np.uint8 if settings.bit_depth == 8 else np.uint16
    out = np.empty((*tile.alpha.shape, settings.channels), dtype)
    if settings.background == "transparent":
        alpha = np.floor(np.clip(tile.alpha, 0.0, 1.0) * top + np.float32(0.5))
        # Divided by the alpha that the file will hold, so that composing it again brings back the colour.
        rgb = tile.rgb * np.where(alpha > 0, top / np.maximum(alpha, 1.0), 0.0).astype(np.float32)[..., None]
        out[..., 3] = alpha
    else:
        rgb = tile.rgb + (1.0 - tile.alpha)[..., None] * np.array(settings.background, np.float32)
        if settings.channels == 4:
            out[..., 3] = top
    out[..., :3] = np.clip(rgb, 0.0, 1.0) * top + np.float32(0.5)
    return out


def _write_png(tiles: _Tiles, path: Path, text: dict[str, str]) -> None:
    settings = tiles.settings
    margin, channels = settings.margin, settings.channels
    width, height = settings.width + 2 * margin, settings.height + 2 * margin
    with png.writing_png(path, width, height, channels=channels, bit_depth=settings.bit_depth, text=text) as writer:
        for _ in range(margin):
            writer.write(_margin(settings, 1, width))
        for strip in tiles.strips():
            rows = _margin(settings, len(strip[0][1].alpha), width)
            for x, tile in strip:
                rows[:, margin + x : margin + x + tile.alpha.shape[1]] = quantized(tile, settings)
            writer.write(rows)
        for _ in range(margin):
            writer.write(_margin(settings, 1, width))


def _margin(settings: CaptureSettings, rows: int, columns: int) -> np.ndarray:
    """Rows [h, w, C] of nothing but margin."""
    top = 255 if settings.bit_depth == 8 else 65535
    color = {"white": (top, top, top, top), "black": (0, 0, 0, top), "transparent": (0, 0, 0, 0)}
    dtype = np.uint8 if settings.bit_depth == 8 else np.uint16
    return np.full((rows, columns, settings.channels), color[settings.margin_color][: settings.channels], dtype)


def _write_depth(tiles: _Tiles, path: Path) -> None:
    """An .npy file of float32 [height, width], row strips in C order."""
    settings = tiles.settings
    header = {"descr": "<f4", "fortran_order": False, "shape": (settings.height, settings.width)}
    with replacing(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for strip in tiles.strips():
            parts = [tile.depth for _, tile in strip if tile.depth is not None]
            stream.write(np.concatenate(parts, axis=1).astype("<f4").tobytes())


def _settled(subject: View | Comparison, camera: Camera, settings: CaptureSettings) -> tuple[View | Comparison, Camera]:
    """The subject and the camera in the form that a recipe brings back exactly."""
    # Degrees are what the recipe stores: rounded to 1e-9 they survive the way there and back without a change.
    fov = math.radians(round(math.degrees(camera.fov_y_radians), 9))
    camera = replace(camera.resized(settings.width, settings.height), fov_y_radians=fov)
    background = (0.0, 0.0, 0.0) if settings.background == "transparent" else settings.background
    if isinstance(subject, View):
        return _over(subject, background), camera
    return replace(subject, a=_over(subject.a, background), b=_over(subject.b, background)), camera


def _over(view: View, background: tuple[float, float, float]) -> View:
    return replace(view, display=replace(view.display, background=background))


def _bar(painter: ViewPainter | ComparisonPainter, settings: CaptureSettings) -> list[stamps.Stamp]:
    """The scale bar of a single view, where one is wanted and the mode has a scale."""
    if not settings.scale_bar or isinstance(painter, ComparisonPainter) or painter.legend is None:
        return []
    table = colormaps.NEAR_BRIGHT if painter.view.display.mode == "depth" else colormaps.HEAT
    label, low, high = painter.legend
    return [stamps.color_bar(label, table, low, high, settings.width, settings.height)]


def _ignore(_: float) -> None:
    """Progress that nobody asked for."""
