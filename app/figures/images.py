"""One view of a scene as a picture: which renderer draws which model, and what each display mode makes of it.

`render` is the viewer's way (uint8 straight from the kernel where a mode allows it), `render_float` the way of captures
(floats over nothing, so that any background, margin or bit depth can follow). Both go through a `ViewPainter`, which
holds what the whole picture shares (ranges of colour maps, colours of Gaussians), so that any rectangle of a picture
is the same, bit for bit, as that part of the whole.
Letters: h rows, w columns of the rectangle; N Gaussians of all layers in order; colours are sRGB in [0, 1].
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.app.workspace.scene import Layer
from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag, RasterOptions, Rendered, SplatScene, harmonics, rasterize_scenes
from h3d.renderers.cameras import Camera

from . import colormaps
from .display import Display
from .pictures import Legend, Picture, Tile, View

Rect = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture; x1 and y1 are one past the last."""
Backend = Literal["auto", "cpu", "cuda"]
RANGE_SIDE = 160  # pixels of the longer side of the small picture that a depth range is measured on
HEAT_SIDE = 1280  # most pixels of the longer side of the picture that contributions are measured on


@dataclass(frozen=True)
class ViewPainter:
    """Draws rectangles of one view from one camera. Made by `painter`."""

    view: View
    camera: Camera
    backend: Backend
    scenes: tuple[SplatScene, ...]
    row_colors: np.ndarray | None = None  # [N + 1, 3] float32, of mode top_id; the first is for "nothing"
    legend: Legend | None = None

    def picture(self, rect: Rect | None = None, *, depth: bool = False, cancel: CancelFlag | None = None) -> Picture:
        """The rectangle (None = all of it) as 8-bit colours over the display's background."""
        display = self.view.display
        direct = display.mode in ("rgb", "normals", "contribution")
        rendered = self._rasterized(
            rect,
            depth=depth or display.mode == "depth",
            cancel=cancel,
            rgb_dtype="uint8" if direct else "float32",
            background=display.background if direct else (0.0, 0.0, 0.0),
        )
        alpha = rendered.alpha[0].cpu().numpy()
        z = None if rendered.depth is None else rendered.depth[0].cpu().numpy()
        pixels = rendered.rgb[0].cpu().numpy() if direct else self._painted_bytes(rendered, alpha, z)
        return Picture(pixels, alpha, z if depth else None, rendered.stats, self.legend)

    def tile(
        self, rect: Rect | None = None, *, samples: int = 1, depth: bool = False, cancel: CancelFlag | None = None
    ) -> Tile:
        """The rectangle as floats over nothing, the mean of `samples` x `samples` points of every pixel."""
        mode = self.view.display.mode
        rendered = self._rasterized(rect, depth=depth or mode == "depth", cancel=cancel, samples=samples)
        rgb, alpha = rendered.rgb[0].cpu().numpy(), rendered.alpha[0].cpu().numpy()
        z = None if rendered.depth is None else rendered.depth[0].cpu().numpy()
        if mode == "depth":
            _, near, far = _present(self.legend)
            rgb = colormaps.colored(_present(z), colormaps.NEAR_BRIGHT, near, far) * alpha[..., None]
        elif mode == "alpha":
            rgb = np.repeat(alpha[..., None], 3, axis=-1)
        elif mode == "top_id":
            rgb = self._row_colors_at(rendered) * alpha[..., None]
        coverage = np.ones_like(alpha) if mode == "alpha" else alpha
        if samples > 1:
            # Depth is averaged over what is there; an empty sample has none.
            z = None if z is None else _box_mean(z * alpha, samples) / np.maximum(_box_mean(alpha, samples), 1e-12)
            rgb, coverage = _box_mean(rgb, samples), _box_mean(coverage, samples)
        return Tile(rgb, coverage, z if depth else None)

    def _rasterized(
        self,
        rect: Rect | None,
        *,
        depth: bool,
        cancel: CancelFlag | None,
        samples: int = 1,
        rgb_dtype: Literal["float32", "uint8"] = "float32",
        background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Rendered:
        camera = self.camera.resized(self.camera.width * samples, self.camera.height * samples)
        options = replace(
            _options(self.view.display, self.backend),
            rect=None if rect is None else (rect[0] * samples, rect[1] * samples, rect[2] * samples, rect[3] * samples),
            point_size=self.view.display.point_size * samples,
            depth=depth,
            rgb_dtype=rgb_dtype,
            background=background,
            top_id=self.view.display.mode == "top_id",
        )
        return _rasterize(self.scenes, camera, options, cancel)

    def _painted_bytes(self, rendered: Rendered, alpha: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
        """The modes whose colours are not the kernel's, composed over the background in 8 bits."""
        mode, background = self.view.display.mode, self.view.display.background
        alpha_index = (alpha * 255.0 + 0.5).astype(np.uint8)
        if mode == "depth":
            _, near, far = _present(self.legend)
            place = colormaps.indices(_present(depth), near, far).astype(np.uint16) << 8 | alpha_index
            return np.take(_depth_colors(background), place, axis=0)
        if mode == "alpha":
            return np.repeat(alpha_index[..., None], 3, axis=-1)
        rgb = self._row_colors_at(rendered) - np.array(background, np.float32)
        return to_bytes(rgb * alpha[..., None] + np.array(background, np.float32))

    def _row_colors_at(self, rendered: Rendered) -> np.ndarray:
        rows = _present(rendered.top_id)[0].cpu().numpy()
        return np.take(_present(self.row_colors), rows + 1, axis=0)


def painter(view: View, camera: Camera, *, backend: Backend = "auto", cancel: CancelFlag | None = None) -> ViewPainter:
    """What draws `view` from `camera`: measures now what all rectangles share (some modes draw a first picture).

    Raises:
        Cancelled: `cancel` was set meanwhile.
        TypeError: a layer's asset is of a type that no renderer here draws.
    """
    layers = [layer for layer in view.layers if layer.visible]
    scenes = tuple(_scene_of(layer) for layer in layers)
    plain = ViewPainter(view, camera, backend, scenes)
    mode = view.display.mode
    if mode in ("rgb", "alpha", "normals"):
        return plain
    if mode == "depth":
        near, far = _depth_range(plain, cancel)
        return replace(plain, legend=("depth, scene units", near, far))
    if mode == "contribution":
        scenes, high = _heat_scenes(plain, cancel)
        return replace(plain, scenes=scenes, legend=("largest share of a pixel", 0.0, high))
    if mode == "top_id":
        keys = [_row_keys(layer) for layer in layers]
        colors = colormaps.distinct(np.concatenate([np.zeros(1, np.int64), *keys]))
        colors[0] = 0.0
        return replace(plain, row_colors=colors)
    assert_never(mode)


def render(
    view: View,
    camera: Camera,
    *,
    rect: Rect | None = None,
    depth: bool = False,
    cancel: CancelFlag | None = None,
    backend: Backend = "auto",
) -> Picture:
    """The picture (or its rectangle) for a screen: 8 bits over the display's background."""
    return painter(view, camera, backend=backend, cancel=cancel).picture(rect, depth=depth, cancel=cancel)


def render_float(
    view: View,
    camera: Camera,
    *,
    rect: Rect | None = None,
    samples: int = 1,
    depth: bool = False,
    cancel: CancelFlag | None = None,
    backend: Backend = "auto",
) -> Tile:
    """The picture (or its rectangle) as premultiplied floats over nothing."""
    return painter(view, camera, backend=backend, cancel=cancel).tile(rect, samples=samples, depth=depth, cancel=cancel)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """[0, 1] to 0..255, rounded; what lies outside is cut."""
    return (np.clip(values, 0.0, 1.0) * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at most 1: the end of a scale from 0."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = (decade * step for step in (1.0, 2.0, 5.0, 10.0))
    return min(1.0, next(step for step in steps if step >= value * (1.0 - 1e-9)))


def visible_count(view: View) -> int:
    """Rows of the visible layers that are not hidden: what a picture could show."""
    shown = 0
    for layer in view.layers:
        if layer.visible:
            shown += len(layer.asset) - (0 if layer.hidden_rows is None else int(layer.hidden_rows.sum()))
    return shown


def _gaussian_scene(asset: Gaussians, layer: Layer) -> SplatScene:
    return SplatScene(
        means=asset.means,
        quats=asset.quats,
        scales=asset.scales,
        opacities=asset.opacities,
        sh=asset.sh,
        visible=None if layer.hidden_rows is None else ~layer.hidden_rows,
        asset_to_world=torch.from_numpy(layer.asset_to_world),
    )


_SCENES: dict[type, Callable[[Any, Layer], SplatScene]] = {Gaussians: _gaussian_scene}
"""The one table: type of model -> what the renderer draws for it."""


def _scene_of(layer: Layer) -> SplatScene:
    make = _SCENES.get(type(layer.asset))
    if make is None:
        known = ", ".join(sorted(kind.__name__ for kind in _SCENES))
        raise TypeError(f"layer {layer.name!r} is a {type(layer.asset).__name__}; pictures are made of: {known}")
    return make(layer.asset, layer)


def _options(display: Display, backend: Backend) -> RasterOptions:
    return RasterOptions(
        near_plane=display.near_plane,
        far_plane=display.far_plane,
        antialiased=display.antialiased,
        sh_degree=display.sh_degree,
        splat_scale=display.splat_scale,
        shape=display.shape,
        point_size=display.point_size,
        color="normals" if display.mode == "normals" else "sh",
        backend=backend,
    )


def _rasterize(
    scenes: tuple[SplatScene, ...], camera: Camera, options: RasterOptions, cancel: CancelFlag | None
) -> Rendered:
    viewmats = torch.from_numpy(camera.viewmat)[None]
    Ks = torch.from_numpy(camera.K)[None]
    return rasterize_scenes(scenes, viewmats, Ks, camera.width, camera.height, options=options, cancel=cancel)


def _depth_range(plain: ViewPainter, cancel: CancelFlag | None) -> tuple[float, float]:
    """The range that nearly all visible depths lie in, from a small picture of the whole view."""
    # Always of one size, also for smaller pictures: a preview and its full picture share the range.
    factor = RANGE_SIDE / max(plain.camera.width, plain.camera.height)
    camera = _scaled(plain.camera, factor)
    options = replace(_options(plain.view.display, plain.backend), sh_degree=0)
    rendered = _rasterize(plain.scenes, camera, options, cancel)
    seen = _present(rendered.depth)[rendered.alpha > 0.5]
    if seen.numel() == 0:
        seen = _present(rendered.depth)[rendered.alpha > 0.0]
    if seen.numel() == 0:
        return 0.0, 1.0
    near, far = np.quantile(seen.cpu().numpy().astype(np.float64), [0.005, 0.995])
    return float(near), float(max(far, near + 1e-6 * max(1.0, abs(near))))


def _heat_scenes(plain: ViewPainter, cancel: CancelFlag | None) -> tuple[tuple[SplatScene, ...], float]:
    """The scenes with every Gaussian in the colour of the largest share (alpha * T) that it has of any pixel.

    Also the share that gets the brightest colour: a round number that few Gaussians exceed.
    """
    if len(plain.scenes) == 0:
        return (), 1.0
    camera = shrunk(plain.camera, HEAT_SIDE)
    options = replace(_options(plain.view.display, plain.backend), sh_degree=0, depth=False, contributions=True)
    largest = _present(_rasterize(plain.scenes, camera, options, cancel).contribution_max)
    seen = largest[largest > 0]
    high = round_up(float(np.quantile(seen.cpu().numpy(), 0.97)) if seen.numel() > 0 else 1.0)
    heat = torch.from_numpy(colormaps.colored(largest.cpu().numpy(), colormaps.HEAT, 0.0, high))
    parts = heat.to(plain.scenes[0].sh).split([len(scene.means) for scene in plain.scenes])
    scenes = tuple(
        replace(scene, sh=harmonics.rgb_to_dc(part)[:, None].contiguous())
        for scene, part in zip(plain.scenes, parts, strict=True)
    )
    return scenes, high


def _row_keys(layer: Layer) -> np.ndarray:
    """A key per row that stays with the Gaussian: its id, told apart from those of other layers."""
    # Not by the layer's key: the same scene opened another day gets the same colours.
    source = zlib.crc32((layer.sha256 or layer.name).encode("utf-8"))
    return layer.asset.ids.cpu().numpy() ^ (np.int64(source) << 31)


def shrunk(camera: Camera, side: int) -> Camera:
    """The camera with its longer side cut down to `side` pixels."""
    return _scaled(camera, min(1.0, side / max(camera.width, camera.height)))


def _scaled(camera: Camera, factor: float) -> Camera:
    return camera.resized(max(1, round(camera.width * factor)), max(1, round(camera.height * factor)))


@lru_cache(maxsize=8)
def _depth_colors(background: tuple[float, float, float]) -> np.ndarray:
    """[65536, 3] uint8: entry of the depth map * 256 + alpha in 255ths -> colour over the background."""
    alpha = np.arange(256, dtype=np.float32)[None, :, None] / 255.0
    blended = colormaps.NEAR_BRIGHT[:, None] * alpha + np.array(background, np.float32) * (1.0 - alpha)
    return to_bytes(blended).reshape(-1, 3)


def _box_mean(values: np.ndarray, samples: int) -> np.ndarray:  # [h * s, w * s, ...] -> [h, w, ...]
    """The mean of every s x s block, summed in a fixed order so that tiles agree to the bit."""
    total = values[::samples, ::samples].copy()
    for row in range(samples):
        for column in range(samples):
            if row + column > 0:
                total += values[row::samples, column::samples]
    return total * np.float32(1.0 / (samples * samples))


def _present(value):
    """`value`, which the options asked for."""
    assert value is not None
    return value
