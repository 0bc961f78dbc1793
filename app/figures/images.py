"""One view of a scene as a picture: which renderer draws which model, and what each display mode makes of it.

`render` is the viewer's way (uint8 straight from the kernel where a mode allows it), `render_float` the way of captures
(floats over nothing, so that any background, margin or bit depth can follow). Both go through a `ViewPainter`, which
holds what the whole picture shares (ranges of colour maps, colours of Gaussians), so that any rectangle of a picture
is the same, bit for bit, as that part of the whole.
Letters: h rows, w columns of the rectangle; N Gaussians of all layers in order; colours are sRGB in [0, 1].
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from typing_extensions import assert_never

from h3d.app.workspace.scene import Layer
from h3d.models.compensation import Compensation
from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag, Rendered, SplatScene
from h3d.renderers.cameras import Camera

from . import colormaps
from .field_parts import field_shot, is_noisy
from .passes import MOST_PASSES, ONE_PASS, FixedPasses, Passes
from .pictures import Backend, Legend, Picture, Rect, Tile, View
from .shots import Shot, exposed, merged, shrunk
from .splat_parts import (
    compensated,
    compensation_of,
    heat_scenes,
    raster_options,
    rasterize,
    round_up,
    row_colors,
    splat_scene,
)

RANGE_SIDE = 160  # pixels of the longer side of the small picture that a range is measured on
HEAT_SIDE = 1280  # most pixels of the longer side of the picture that contributions are measured on
OF_GAUSSIANS = ("contribution", "top_id")  # modes that fields have no part in
OF_FIELDS = ("cost",)  # and the other way round


@dataclass(frozen=True)
class ViewPainter:
    """Draws rectangles of one view from one camera. Made by `painter`."""

    view: View
    camera: Camera
    backend: Backend
    scenes: tuple[SplatScene, ...]
    fields: tuple[Layer, ...] = ()
    quick: bool = False  # a little less exact where that is much quicker
    passes: Passes = ONE_PASS  # of fields whose every look is noisy
    compensation: Compensation | None = None  # that pictures of the scenes go through
    row_colors: np.ndarray | None = None  # [N + 1, 3] float32, of mode top_id; the first is for "nothing"
    legend: Legend | None = None

    def picture(self, rect: Rect | None = None, *, depth: bool = False, cancel: CancelFlag | None = None) -> Picture:
        """The rectangle (None = all of it) as 8-bit colours over the display's background."""
        display = self.view.display
        if self.compensation is not None:
            return self._merged_picture(rect, depth, cancel)
        if len(self.fields) > 0 or display.mode in OF_FIELDS or (display.exposure != 0.0 and display.mode == "rgb"):
            return self._merged_picture(rect, depth, cancel)
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
        shot, painted = self._shots(rect, samples, depth=depth, cancel=cancel)
        return Tile(painted.rgb, painted.alpha, shot.depth if depth else None)

    def _merged_picture(self, rect: Rect | None, depth: bool, cancel: CancelFlag | None) -> Picture:
        shot, painted = self._shots(rect, 1, depth=True, cancel=cancel)
        background = np.array(self.view.display.background, np.float32)
        pixels = to_bytes(painted.rgb + (1.0 - painted.alpha)[..., None] * background)
        return Picture(pixels, shot.alpha, shot.depth if depth else None, shot.stats, self.legend)

    def _shots(self, rect: Rect | None, samples: int, *, depth: bool, cancel: CancelFlag | None) -> tuple[Shot, Shot]:
        """What is seen in the rectangle, and the same in the colours of the mode."""
        mode, shot = self.view.display.mode, self._seen(rect, samples, depth, cancel)
        rgb, alpha = shot.rgb, shot.alpha
        if mode == "depth":
            _, near, far = _present(self.legend)
            rgb = colormaps.colored(shot.depth, colormaps.NEAR_BRIGHT, near, far) * shot.alpha[..., None]
        elif mode == "alpha":
            rgb, alpha = np.repeat(shot.alpha[..., None], 3, axis=-1), np.ones_like(shot.alpha)
        elif mode == "cost" and shot.cost is not None:
            _, low, high = _present(self.legend)
            rgb, alpha = colormaps.colored(shot.cost, colormaps.HEAT, low, high), np.ones_like(shot.alpha)
        return shrunk(shot, samples), shrunk(replace(shot, rgb=rgb, alpha=alpha), samples)

    def _seen(self, rect: Rect | None, samples: int, depth: bool, cancel: CancelFlag | None) -> Shot:
        """All parts together at `samples` times the size, in the colours that the renderers give."""
        display = self.view.display
        shots: list[Shot] = []
        if len(self.scenes) > 0 or len(self.fields) == 0:
            need = depth or len(self.fields) > 0 or display.mode == "depth"
            rendered = self._colored(rect, depth=need, cancel=cancel, samples=samples)
            alpha = rendered.alpha[0].cpu().numpy()
            rgb = rendered.rgb[0].cpu().numpy()
            if display.mode == "top_id":
                rgb = self._row_colors_at(rendered) * alpha[..., None]
            elif display.mode == "rgb":
                rgb = exposed(rgb, alpha, display.exposure)
            z = np.zeros_like(alpha) if rendered.depth is None else rendered.depth[0].cpu().numpy()
            shots.append(Shot(rgb, alpha, z, stats=rendered.stats))
        passes = self.passes.of_larger(samples) if isinstance(self.passes, FixedPasses) else self.passes
        camera = _enlarged(self.camera, samples)
        whole = (0, 0, camera.width, camera.height)
        area = whole if rect is None else _scaled_rect(rect, samples)
        for layer in self.fields:
            shot = field_shot(layer, display, camera, area, quick=self.quick, passes=passes, cancel=cancel)
            shots.append(shot)
        return merged(shots)

    def _colored(self, rect: Rect | None, *, depth: bool, cancel: CancelFlag | None, samples: int) -> Rendered:
        """As the rasteriser gives it, or what the compensation makes of it."""
        if self.compensation is None:
            return self._rasterized(rect, depth=depth, cancel=cancel, samples=samples)
        camera = self.camera
        return compensated(
            self.compensation,
            lambda part: self._rasterized(part, depth=depth, cancel=cancel, samples=samples),
            (0, 0, camera.width, camera.height) if rect is None else rect,
            camera,
            samples,
        )

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
        options = replace(
            raster_options(self.view.display, self.backend),
            rect=None if rect is None else _scaled_rect(rect, samples),
            point_size=self.view.display.point_size * samples,
            depth=depth,
            rgb_dtype=rgb_dtype,
            background=background,
            top_id=self.view.display.mode == "top_id",
        )
        return rasterize(self.scenes, _enlarged(self.camera, samples), options, cancel)

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


def painter(
    view: View,
    camera: Camera,
    *,
    backend: Backend = "auto",
    quick: bool = False,
    passes: Passes | None = None,
    cancel: CancelFlag | None = None,
) -> ViewPainter:
    """What draws `view` from `camera`: measures now what all rectangles share (some modes draw a first picture).

    Without `passes`, fields whose every look is noisy get as many as fit the display's time, one where it is quick.

    Raises:
        Cancelled: `cancel` was set meanwhile.
        TypeError: a layer's asset is of a type that no renderer here draws.
    """
    layers = [layer for layer in view.layers if layer.visible]
    mode = view.display.mode
    splats = [layer for layer in layers if not _is_field(layer) and mode not in OF_FIELDS]
    fields = tuple(layer for layer in layers if _is_field(layer) and mode not in OF_GAUSSIANS)
    network = None if quick else compensation_of(splats, view.display)
    scenes = tuple(splat_scene(layer, features=network is not None) for layer in splats)
    plain = ViewPainter(view, camera, backend, scenes, fields, quick, compensation=network)
    if passes is not None:
        plain = replace(plain, passes=passes)
    elif not quick and any(is_noisy(layer) for layer in fields):
        plain = replace(plain, passes=_passes_in_time(plain, cancel))
    if mode in ("rgb", "alpha", "normals"):
        return plain
    if mode == "depth":
        near, far = _depth_range(plain, cancel)
        return replace(plain, legend=("depth, scene units", near, far))
    if mode == "contribution":
        options = raster_options(view.display, backend)
        scenes, high = heat_scenes(plain.scenes, shrunk_camera(camera, HEAT_SIDE), options, cancel)
        return replace(plain, scenes=scenes, legend=("largest share of a pixel", 0.0, high))
    if mode == "top_id":
        return replace(plain, row_colors=row_colors(splats))
    if mode == "cost":
        cost = _small(plain)._seen(None, 1, False, cancel).cost
        high = 1.0 if cost is None else round_up(max(float(np.quantile(cost, 0.995)), 1.0))
        return replace(plain, legend=("samples of a ray", 0.0, high))
    assert_never(mode)


def render(
    view: View,
    camera: Camera,
    *,
    rect: Rect | None = None,
    depth: bool = False,
    quick: bool = False,
    passes: Passes | None = None,
    cancel: CancelFlag | None = None,
    backend: Backend = "auto",
) -> Picture:
    """The picture (or its rectangle) for a screen: 8 bits over the display's background."""
    drawer = painter(view, camera, backend=backend, quick=quick, passes=passes, cancel=cancel)
    return drawer.picture(rect, depth=depth, cancel=cancel)


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


def shrunk_camera(camera: Camera, side: int) -> Camera:
    """The camera with its longer side cut down to `side` pixels."""
    return _scaled(camera, min(1.0, side / max(camera.width, camera.height)))


def _is_field(layer: Layer) -> bool:
    """Which of the two kinds of part draws the layer: `field_parts`, or `splat_parts`."""
    if isinstance(layer.asset, Gaussians):
        return False
    if not hasattr(type(layer.asset), "render"):
        kind = type(layer.asset).__name__
        raise TypeError(f"layer {layer.name!r} is a {kind}; pictures are made of Gaussians and of fields")
    return True


def _small(plain: ViewPainter) -> ViewPainter:
    """The whole view in a small, quick picture, for ranges."""
    # Always of one size, also for smaller pictures: a preview and its full picture share the range.
    camera = _scaled(plain.camera, RANGE_SIDE / max(plain.camera.width, plain.camera.height))
    view = replace(plain.view, display=replace(plain.view.display, sh_degree=0))
    return replace(plain, camera=camera, view=view, quick=True, passes=ONE_PASS)


def _passes_in_time(plain: ViewPainter, cancel: CancelFlag | None) -> FixedPasses:
    """As many as the display's time allows for each pixel, by what a small picture takes."""
    small = _small(plain)
    took = float("inf")
    for _ in range(2):  # The first finds memory and caches cold.
        began = time.perf_counter()
        small._seen(None, 1, False, cancel)
        took = min(took, time.perf_counter() - began)
    pixels = small.camera.width * small.camera.height
    one = max(took, 1e-4) * plain.camera.width * plain.camera.height / pixels
    return FixedPasses(min(max(round(plain.view.display.path_seconds / one), 1), MOST_PASSES))


def _depth_range(plain: ViewPainter, cancel: CancelFlag | None) -> tuple[float, float]:
    """The range that nearly all visible depths lie in, from a small picture of the whole view."""
    shot = _small(plain)._seen(None, 1, True, cancel)
    seen = shot.depth[shot.alpha > 0.5]
    if seen.size == 0:
        seen = shot.depth[shot.alpha > 0.0]
    if seen.size == 0:
        return 0.0, 1.0
    near, far = np.quantile(seen.astype(np.float64), [0.005, 0.995])
    return float(near), float(max(far, near + 1e-6 * max(1.0, abs(near))))


def _scaled(camera: Camera, factor: float) -> Camera:
    return camera.resized(max(1, round(camera.width * factor)), max(1, round(camera.height * factor)))


def _enlarged(camera: Camera, samples: int) -> Camera:
    return camera.resized(camera.width * samples, camera.height * samples)


def _scaled_rect(rect: Rect, samples: int) -> Rect:
    return (rect[0] * samples, rect[1] * samples, rect[2] * samples, rect[3] * samples)


@lru_cache(maxsize=8)
def _depth_colors(background: tuple[float, float, float]) -> np.ndarray:
    """[65536, 3] uint8: entry of the depth map * 256 + alpha in 255ths -> colour over the background."""
    alpha = np.arange(256, dtype=np.float32)[None, :, None] / 255.0
    blended = colormaps.NEAR_BRIGHT[:, None] * alpha + np.array(background, np.float32) * (1.0 - alpha)
    return to_bytes(blended).reshape(-1, 3)


def _present(value):
    """`value`, which the options asked for."""
    assert value is not None
    return value
