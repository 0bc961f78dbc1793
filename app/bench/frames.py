"""Whole frames and kernel stages of the rasteriser, and how they grow with the number of Gaussians.

A frame is one call of `rasterize_scenes` as the viewer makes it: colours as uint8, no depth. The far view holds the
whole object, the near one fills the picture with it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import torch

from h3d.app.figures.framing import frame_camera
from h3d.app.workspace.scene import Layer
from h3d.models.gaussians import Gaussians
from h3d.renderers import RasterOptions, SplatScene, rasterize_scenes
from h3d.renderers.cameras import Camera

from . import scenes
from .metrics import RATIO_TOLERANCE, TIME_TOLERANCE, Effort, Metric, best_of_blocks, milliseconds, timed

SIZES = ((640, 360), (1280, 720))
STAGES = ("project_ms", "sort_ms", "bin_ms", "raster_ms")
VIEWER_OPTIONS = RasterOptions(rgb_dtype="uint8", depth=False, backend="cpu")
GROWTH = {"100k": 100_000, "250k": 250_000, "500k": 500_000, "1m": 1_000_000, "2m": 2_000_000, "4m": 4_000_000}
LARGEST_QUICK = 1_000_000


def demo(effort: Effort) -> Iterator[Metric]:
    """The scene that comes with the program."""
    asset = scenes.demo()
    for width, height in SIZES:
        yield from view_metrics(f"demo_{width}x{height}", [asset], overview(asset, width, height), effort)


def biker(effort: Effort) -> Iterator[Metric]:
    yield from _near_and_far("biker", scenes.biker(), effort)


def playbot(effort: Effort) -> Iterator[Metric]:
    yield from _near_and_far("playbot", scenes.playbot(), effort)


def growth(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of a 640x360 frame with the whole scene in view, from 100,000 to 4 million tiled rows."""
    asset = scenes.biker()
    per_million = {}
    for name, count in GROWTH.items():
        if effort.quick and count > LARGEST_QUICK:
            return
        rows = scenes.tiled(asset, count)
        ms = 1e3 * frame_seconds([rows], overview(rows, 640, 360), effort)
        per_million[name] = 1e6 * ms / count
        yield milliseconds(f"gaussians/growth/{name}_ms", ms)
    linearity = per_million["4m"] / per_million["1m"]
    yield Metric("gaussians/growth/per_million_4m_over_1m", linearity, "x", "lower", RATIO_TOLERANCE)


def million(effort: Effort) -> Iterator[Metric]:
    """Frames a second of 1,000,000 rows at 640x360, without and with degree-3 colour."""
    rows = scenes.tiled(scenes.biker(), 1_000_000)
    seconds = frame_seconds([rows], overview(rows, 640, 360), effort)
    yield Metric("gaussians/million_640x360_fps", 1 / seconds, "frames/s", "higher", TIME_TOLERANCE)
    rows = scenes.tiled(scenes.playbot().with_sh_degree(3), 1_000_000)
    seconds = frame_seconds([rows], overview(rows, 640, 360), effort)
    yield Metric("gaussians/million_sh3_640x360_fps", 1 / seconds, "frames/s", "higher", TIME_TOLERANCE)


def view_metrics(name: str, assets: Sequence[Gaussians], camera: Camera, effort: Effort) -> Iterator[Metric]:
    """A whole frame and its stages."""
    drawn = [scenes.splat_scene(asset) for asset in assets]
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def frame() -> None:
        stats = draw(drawn, camera)
        for stage in STAGES:
            stages[stage].append(stats[stage])

    seconds = best_of_blocks(lambda: timed(frame), effort)
    yield milliseconds(f"gaussians/frame/{name}_ms", 1e3 * seconds)
    for stage, times in stages.items():
        yield milliseconds(f"gaussians/stage/{name}/{stage}", _best_block_median(times[1:], effort))


def frame_seconds(assets: Sequence[Gaussians], camera: Camera, effort: Effort) -> float:
    """Seconds of a whole frame, best of blocks."""
    drawn = [scenes.splat_scene(asset) for asset in assets]
    return best_of_blocks(lambda: timed(lambda: draw(drawn, camera)), effort)


def draw(drawn: Sequence[SplatScene], camera: Camera) -> dict[str, float]:
    """One frame as the viewer asks for it; returns the rasteriser's stage times."""
    viewmats, Ks = torch.from_numpy(camera.viewmat)[None], torch.from_numpy(camera.K)[None]
    rendered = rasterize_scenes(drawn, viewmats, Ks, camera.width, camera.height, options=VIEWER_OPTIONS)
    return rendered.stats or {}


def overview(asset: Gaussians, width: int, height: int) -> Camera:
    """The view that the program opens a scene with."""
    return frame_camera([Layer(1, "bench", asset)], width=width, height=height)


def _near_and_far(name: str, asset: Gaussians, effort: Effort) -> Iterator[Metric]:
    for view, distance in (("", scenes.FAR), ("near_", scenes.NEAR)):
        for width, height in SIZES:
            camera = scenes.camera(asset, distance, width, height)
            yield from view_metrics(f"{name}_{view}{width}x{height}", [asset], camera, effort)


def _best_block_median(times: Sequence[float], effort: Effort) -> float:
    size = effort.repeats
    return min(statistics.median(times[start : start + size]) for start in range(0, len(times), size))
