"""The things put together, lit, and turned into Gaussians."""

from __future__ import annotations

import logging
import math

import numpy as np
from scipy.spatial.transform import Rotation

from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers import harmonics
from h3d.renderers.cameras import Camera, look_at

from . import beetle, garden, pot, table, tree
from .bake import display, fitted_sh, radiance
from .light import gather
from .surfels import Surfels, joined

log = logging.getLogger(__name__)

# Modelling axes (+z up, front -y) to the world's (+y down, the default camera looks along +z).
TO_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
CENTER = np.array([0.0, 0.0, 0.62])  # what becomes the origin


def build(seed: int = 7, detail: float = 1.0, *, sh_degree: int = 3) -> Gaussians:
    """The scene as rows. `detail` scales the number of surfels, 1 for the shipped file; same seed, same bits."""
    surfels = model(seed, detail)
    log.info("%d surfels: %s", len(surfels), surfels.specular.max(axis=1).astype(bool).sum())
    fine = detail >= 0.5
    lighting = gather(surfels, cells=144 if fine else 64, sky_count=72 if fine else 24, key_count=12 if fine else 4)
    log.info("lit")
    sh = fitted_sh(surfels, lighting, TO_WORLD, degree=sh_degree, eyes=128 if fine else 64)
    log.info("fitted")
    return _rows(surfels, sh)


def model(seed: int, detail: float) -> Surfels:
    """All surfels, unlit, in modelling axes and centred. Each thing has its own random numbers."""
    rngs = [np.random.default_rng([seed, k]) for k in range(8)]
    wood, places, centers = tree.wood(rngs[0], detail)
    insect = beetle.beetle(rngs[3], detail).turned(Rotation.from_euler("z", 205, degrees=True).as_matrix())
    parts = [
        table.table(rngs[1], detail),
        pot.pot(rngs[2], detail),
        garden.garden(rngs[4], detail),
        wood,
        tree.flowers(rngs[5], places, centers, detail),
        tree.fallen(rngs[6], int(120 * detail) + 2, 0.0, 0.30, 0.76),
        tree.falling(rngs[7], int(26 * detail) + 1),
        insect.moved((0.30, -0.585, 0.0)),
    ]
    return joined(parts).moved(-CENTER)


def camera(width: int = 1280, height: int = 720) -> Camera:
    """The view that shows the scene best."""
    return look_at(
        np.array([0.35, -0.55, -2.75]),
        np.array([0.0, -0.02, 0.0]),
        np.array([0.0, -1.0, 0.0]),
        fov_y_radians=math.radians(40.0),
        width=width,
        height=height,
    )


def _rows(surfels: Surfels, sh: np.ndarray) -> Gaussians:  # [N, K, 3]
    axes = surfels.axes @ TO_WORLD.T  # rows are axes; a rotation's columns are
    xyzw = Rotation.from_matrix(np.swapaxes(axes, 1, 2)).as_quat()
    quats = np.roll(xyzw, 1, axis=1)
    return from_rows(
        means=surfels.position @ TO_WORLD.T,
        quats=np.where(quats[:, :1] < 0, -quats, quats),
        log_scales=np.log(surfels.sigma),
        logit_opacities=np.log(surfels.opacity / (1 - surfels.opacity)),
        sh=sh,
        remark="The demo scene: a flowering bonsai made by assets/make/demo_scene.",
    )
