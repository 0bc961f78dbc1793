"""The things put together, lit, and turned into Gaussians."""

from __future__ import annotations

import logging
import math

import numpy as np
from scipy.spatial.transform import Rotation

from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers.cameras import Camera, look_at

from .bake import fitted_sh
from .beetle import beetle
from .blossoms import fallen, falling, flowers
from .garden import garden
from .light import gather
from .pot import pot
from .surfels import Surfels, joined
from .table import table
from .tree import wood

log = logging.getLogger(__name__)

# Modelling axes (+z up, front -y) to the world's (+y down, the default camera looks along +z).
TO_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
CENTER = np.array([0.0, 0.0, 0.62])  # what becomes the origin
SHIPPED_SEED = 7


def build(seed: int = SHIPPED_SEED, detail: float = 1.0) -> Gaussians:
    """The scene as rows. `detail` scales the number of surfels, 1 for the shipped file; same seed, same bits."""
    surfels = model(seed, detail)
    log.info("%d surfels", len(surfels))
    fine = detail >= 0.5
    lighting = gather(surfels, cells=144 if fine else 48, sky_count=72 if fine else 12, key_count=12 if fine else 2)
    log.info("lit")
    sh = fitted_sh(surfels, lighting, TO_WORLD, eyes=128 if fine else 48)
    log.info("colours fitted")
    return _rows(surfels, sh)


def model(seed: int, detail: float) -> Surfels:
    """All surfels, unlit, in modelling axes and centred. Each thing has its own random numbers."""
    rngs = [np.random.default_rng([seed, k]) for k in range(6)]
    branches, places, centers = wood(rngs[0], detail)
    parts = [
        table(detail),
        pot(rngs[1], detail),
        garden(rngs[2], detail),
        branches,
        flowers(rngs[3], places, centers, detail),
        fallen(rngs[4], int(120 * detail) + 2, 0.30, 0.76),
        falling(rngs[5], int(26 * detail) + 1),
        beetle(detail).turned(Rotation.from_euler("z", 205, degrees=True).as_matrix()).moved((0.30, -0.585, 0.0)),
    ]
    return joined(parts).moved(-CENTER)


def camera(width: int = 1280, height: int = 720) -> Camera:
    """The view that shows the scene best."""
    azimuth, elevation, distance = math.radians(-12), math.radians(11), 2.78
    target = np.array([0.0, 0.075, 0.0])
    flat = math.cos(elevation) * np.array([math.sin(azimuth), 0.0, -math.cos(azimuth)])
    position = target + distance * (flat + math.sin(elevation) * np.array([0.0, -1.0, 0.0]))
    up = np.array([0.0, -1.0, 0.0])
    return look_at(position, target, up, fov_y_radians=math.radians(40), width=width, height=height)


def _rows(surfels: Surfels, sh: np.ndarray) -> Gaussians:  # [N, K, 3]
    axes = surfels.axes @ TO_WORLD.T
    # The rows of `axes` are the Gaussian's axes, a rotation matrix has them as columns.
    xyzw = Rotation.from_matrix(np.swapaxes(axes, 1, 2)).as_quat()
    quats = np.roll(xyzw, 1, axis=1)
    return from_rows(
        means=surfels.position @ TO_WORLD.T,
        quats=np.where(quats[:, :1] < 0, -quats, quats),
        log_scales=np.log(surfels.sigma),
        logit_opacities=np.log(surfels.opacity / (1 - surfels.opacity)),
        sh=sh,
        remark="The demo scene, made by assets/make/demo_scene.",
    )
