"""Layers of Gaussians as the rasteriser takes them: their scenes, the options of a display, colours of rows."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from h3d.app.workspace.scene import Layer
from h3d.models.compensation import Compensation
from h3d.models.gaussians import Gaussians
from h3d.renderers import CancelFlag, RasterOptions, Rendered, SplatScene, harmonics, rasterize_scenes
from h3d.renderers.cameras import Camera

from . import colormaps
from .display import Display
from .pictures import Backend, Rect
from .shots import Shot, box_mean, shrunk


def splat_scene(layer: Layer, *, features: bool = False) -> SplatScene:
    """What the rasteriser draws for a layer of Gaussians, with what a compensation blends or without."""
    asset = layer.asset
    assert isinstance(asset, Gaussians)
    return SplatScene(
        means=asset.means,
        quats=asset.quats,
        scales=asset.scales,
        opacities=asset.opacities,
        sh=asset.sh,
        features=asset.features if features else None,
        visible=None if layer.hidden_rows is None else ~layer.hidden_rows,
        asset_to_world=torch.from_numpy(layer.asset_to_world),
    )


def raster_options(display: Display, backend: Backend) -> RasterOptions:
    """How a display asks for it."""
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


def rasterize(
    scenes: Sequence[SplatScene], camera: Camera, options: RasterOptions, cancel: CancelFlag | None
) -> Rendered:
    """One picture of all scenes together."""
    viewmats = torch.from_numpy(camera.viewmat)[None]
    Ks = torch.from_numpy(camera.K)[None]
    return rasterize_scenes(scenes, viewmats, Ks, camera.width, camera.height, options=options, cancel=cancel)


def compensation_of(
    layers: Sequence[Layer],  # of Gaussians, those that are drawn
    display: Display,
) -> Compensation | None:
    """The network that a picture of these layers goes through: of one that is drawn alone, as it was learnt."""
    if len(layers) != 1 or not display.compensated or display.mode != "rgb" or display.shape != "splats":
        return None
    asset = layers[0].asset
    assert isinstance(asset, Gaussians)
    return asset.compensation


def compensated(
    compensation: Compensation, draw: Callable[[Rect], Rendered], rect: Rect, camera: Camera, samples: int
) -> Rendered:
    """A rectangle of the camera's picture, compensated, at `samples` times the size.

    `draw` gives any rectangle at that size, over nothing. The network sees the means of the samples: it has learnt
    what pixels look like, not what parts of them do.
    """

    def at_size(part: Rect) -> Rendered:
        seen = draw(part)
        if samples == 1:
            return seen
        depth = torch.zeros_like(seen.alpha) if seen.depth is None else seen.depth
        small = shrunk(Shot(seen.rgb[0].numpy(), seen.alpha[0].numpy(), depth[0].numpy()), samples)
        blended = None if seen.features is None else box_mean(seen.features[0].numpy(), samples)
        features = None if blended is None else torch.from_numpy(blended)[None]
        rgb, alpha, depth = (torch.from_numpy(array)[None] for array in (small.rgb, small.alpha, small.depth))
        return Rendered(rgb, alpha, depth, features, stats=seen.stats)

    made = compensation.picture(at_size, rect, camera.width, camera.height)
    assert made.depth is not None
    if samples == 1:
        return made
    arrays = (made.rgb, made.alpha, made.depth)
    rgb, alpha, depth = (x.repeat_interleave(samples, 1).repeat_interleave(samples, 2) for x in arrays)
    return Rendered(rgb, alpha, depth, stats=made.stats)


def heat_scenes(
    scenes: tuple[SplatScene, ...], camera: Camera, options: RasterOptions, cancel: CancelFlag | None
) -> tuple[tuple[SplatScene, ...], float]:
    """The scenes with every Gaussian in the colour of the largest share (alpha * T) that it has of any pixel.

    Also the share that gets the brightest colour: a round number that few Gaussians exceed.
    """
    if len(scenes) == 0:
        return (), 1.0
    options = replace(options, sh_degree=0, depth=False, contributions=True)
    largest = rasterize(scenes, camera, options, cancel).contribution_max
    assert largest is not None
    seen = largest[largest > 0]
    high = min(1.0, round_up(float(np.quantile(seen.cpu().numpy(), 0.97)) if seen.numel() > 0 else 1.0))
    heat = torch.from_numpy(colormaps.colored(largest.cpu().numpy(), colormaps.HEAT, 0.0, high))
    parts = heat.to(scenes[0].sh).split([len(scene.means) for scene in scenes])
    colored = (
        replace(scene, sh=harmonics.rgb_to_dc(part)[:, None].contiguous())
        for scene, part in zip(scenes, parts, strict=True)
    )
    return tuple(colored), high


def row_colors(layers: Sequence[Layer]) -> np.ndarray:
    """[N + 1, 3] float32: a colour for every row of all layers that stays with it; the first is for "nothing"."""
    colors = colormaps.distinct(np.concatenate([np.zeros(1, np.int64), *(_row_keys(layer) for layer in layers)]))
    colors[0] = 0.0
    return colors


def visible_count(layers: Sequence[Layer]) -> int:
    """Gaussians of the visible layers that are not hidden: what a picture could show."""
    shown = 0
    for layer in layers:
        if layer.visible and isinstance(layer.asset, Gaussians):
            shown += len(layer.asset) - (0 if layer.hidden_rows is None else int(layer.hidden_rows.sum()))
    return shown


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten: the end of a scale from 0."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = (decade * step for step in (1.0, 2.0, 5.0, 10.0))
    return next(step for step in steps if step >= value * (1.0 - 1e-9))


def _row_keys(layer: Layer) -> np.ndarray:
    """A key per row that stays with the Gaussian: its id, told apart from those of other layers."""
    assert isinstance(layer.asset, Gaussians)
    # Not by the layer's key: the same scene opened another day gets the same colours.
    source = zlib.crc32((layer.sha256 or layer.name).encode("utf-8"))
    return layer.asset.ids.cpu().numpy() ^ (np.int64(source) << 31)
