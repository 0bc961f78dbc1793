"""What the workloads look at: real captures where they are found, made-up Gaussians elsewhere, and the cameras.

Real captures are read from the folder that the environment variable H3D_DATA names (splats/biker.compressed.ply,
splats/playbot_sog); what needs them is skipped without it.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from h3d import assets
from h3d.models import formats
from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers import SplatScene
from h3d.renderers.cameras import Camera, look_at

from .metrics import Skipped

FOV_Y = math.radians(50.0)
FAR, NEAR = 2.2, 0.6
"""Distance of the eye from the median of the means, in radii that hold 95 % of them."""


def data_file(name: str) -> Path:
    """A file or folder below H3D_DATA/splats. Raises: `Skipped` where it is not there."""
    folder = os.environ.get("H3D_DATA")
    if not folder:
        raise Skipped(f"{name} is a real capture; set H3D_DATA to the folder that holds splats/{name}")
    path = Path(folder) / "splats" / name
    if not path.exists():
        raise Skipped(f"{path} does not exist; H3D_DATA must hold splats/{name}")
    return path


def photos(name: str) -> Path:
    """A data set of posed photos below H3D_DATA. Raises: `Skipped` where it is not there."""
    root = os.environ.get("H3D_DATA")
    folder = Path(root or "") / name
    if not root or not folder.is_dir():
        raise Skipped(f"no photos of {name}; name a folder that has them in H3D_DATA")
    return folder


@lru_cache(maxsize=1)
def biker() -> Gaussians:
    """152,746 trained Gaussians, constant colour."""
    return formats.read(data_file("biker.compressed.ply"))


@lru_cache(maxsize=1)
def playbot() -> Gaussians:
    """125,000 trained Gaussians with spherical harmonics."""
    return formats.read(data_file("playbot_sog"))


@lru_cache(maxsize=1)
def demo() -> Gaussians:
    """The scene that comes with the program."""
    return formats.read(assets.path(assets.DEMO_SCENE))


def synthetic(count: int, seed: int = 0) -> Gaussians:
    """A thick shell of small Gaussians with degree-2 colour: the layout of a captured object, made of nothing."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    size = 2.5 / math.sqrt(count)
    return from_rows(
        means=direction * rng.uniform(0.8, 1.0, (count, 1)),
        quats=rng.normal(size=(count, 4)),
        log_scales=rng.normal(math.log(size), 0.5, (count, 3)),
        logit_opacities=rng.normal(1.0, 2.0, count),
        sh=rng.normal(0.0, 0.3, (count, 9, 3)),
    )


def tiled(asset: Gaussians, count: int) -> Gaussians:
    """Exactly `count` real rows: copies of the asset side by side on its ground plane (x, z), the last one cut.

    Below one copy every n-th row is taken, so that rows keep their order in memory.
    """
    if count <= len(asset):
        rows = torch.linspace(0, len(asset) - 1, count).round().long()
        return replace(asset.keep(rows), ids=torch.arange(count))
    copies = math.ceil(count / len(asset))
    side = math.ceil(math.sqrt(copies))
    _, radius = center_and_radius(asset)
    places = [(2.0 * radius * (i % side), 0.0, 2.0 * radius * (i // side)) for i in range(copies)]
    parts = [asset.means + torch.tensor(place) for place in places]

    def repeated(rows: torch.Tensor) -> torch.Tensor:
        return rows.repeat(copies, *[1] * (rows.dim() - 1))[:count].contiguous()

    return Gaussians(
        ids=torch.arange(count),
        means=torch.cat(parts)[:count].contiguous(),
        quats=repeated(asset.quats),
        log_scales=repeated(asset.log_scales),
        logit_opacities=repeated(asset.logit_opacities),
        sh=repeated(asset.sh),
        antialiased=asset.antialiased,
    )


def splat_scene(asset: Gaussians) -> SplatScene:
    """The asset as the rasteriser takes it."""
    return SplatScene(asset.means, asset.quats, asset.scales, asset.opacities, asset.sh)


def center_and_radius(asset: Gaussians) -> tuple[np.ndarray, float]:
    """Median of the means [3], and the distance from it that holds 95 % of them."""
    means = asset.means.numpy()
    center = np.median(means, axis=0)
    return center, float(np.quantile(np.linalg.norm(means - center, axis=1), 0.95))


def camera(asset: Gaussians, distance: float, width: int, height: int) -> Camera:
    """An eye before the asset (on -z, looking along +z), `distance` radii away."""
    center, radius = center_and_radius(asset)
    eye = center - np.array([0.0, 0.0, distance * radius])
    return look_at(eye, center, np.array([0.0, -1.0, 0.0]), fov_y_radians=FOV_Y, width=width, height=height)
