"""Cameras to judge Gaussians from: those of a data set, else some all around; and what they see of each Gaussian.

V views, N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from h3d.renderers import Contributions, RasterOptions, SplatScene, contributions, sensitivities
from h3d.renderers.cameras import look_at
from h3d.renderers.cancel import CancelFlag

from . import datasets
from .gaussians import Gaussians
from .similarity import IDENTITY, Similarity

LONGEST_SIDE = 640
AROUND, AROUND_SIDE = 32, 512
FOV_Y_RADIANS = math.radians(50.0)
INNER_SHARE = 0.95
"""Of the means, what the ball holds that cameras all around look at: captures have floaters far out."""


@dataclass(frozen=True, eq=False)
class View:
    """One camera of pixels without lens."""

    camera_to_world: np.ndarray  # [4, 4] float64
    K: np.ndarray  # [3, 3] float64
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Viewpoints:
    """Several cameras, and which they are."""

    views: tuple[View, ...]
    description: str
    """For a person: which cameras these are."""


def of_dataset(path: Path, *, frame: Similarity = IDENTITY, longest_side: int = LONGEST_SIDE) -> Viewpoints:
    """The cameras that took a data set's photos to learn from; what their lenses bend is left out.

    `frame` is that of the Gaussians, who may have been moved since they were learnt.

    Raises:
        DatasetError: there is no data set, or it is damaged.
    """
    found = datasets.read(path)
    chosen = found.train if len(found.train) > 0 else found.test
    views = [_reduced(found.images[i], frame, longest_side) for i in chosen]
    return Viewpoints(tuple(views), f"{len(views)} cameras of {found.name}")


def _reduced(posed: datasets.PosedImage, frame: Similarity, longest_side: int) -> View:
    factor = min(1.0, longest_side / max(posed.width, posed.height))
    width, height = (max(1, round(side * factor)) for side in (posed.width, posed.height))
    K = posed.K.copy()
    K[0] *= width / posed.width
    K[1] *= height / posed.height
    return View(frame.pose(posed.camera_to_world), K, width, height)


def all_around(gaussians: Gaussians, *, count: int = AROUND, side: int = AROUND_SIDE) -> Viewpoints:
    """Synthetic cameras evenly on a sphere, by the golden angle, that see the ball with most of the means.

    Raises:
        ValueError: there is no Gaussian to look at.
    """
    if len(gaussians) == 0:
        raise ValueError("cameras all around: there are 0 Gaussians; nothing can be looked at")
    means = gaussians.means.double().cpu().numpy()
    middle = np.median(means, axis=0)
    radius = max(float(np.quantile(np.linalg.norm(means - middle, axis=1), INNER_SHARE)), 1e-6)
    away = radius / math.sin(0.5 * FOV_Y_RADIANS)
    heights = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angles = np.arange(count) * math.pi * (3.0 - math.sqrt(5.0))
    across = np.sqrt(1.0 - heights**2)
    views = []
    for x, y, z in zip(across * np.cos(angles), -heights, across * np.sin(angles), strict=True):
        position, up = middle + away * np.array([x, y, z]), np.array([0.0, -1.0, 0.0])
        camera = look_at(position, middle, up, fov_y_radians=FOV_Y_RADIANS, width=side, height=side)
        views.append(View(camera.camera_to_world, camera.K, side, side))
    return Viewpoints(tuple(views), f"{count} synthetic cameras all around, none of a data set")


def seen_from(
    viewpoints: Viewpoints,
    gaussians: Gaussians,
    *,
    sensitivity: bool = False,
    progress: Callable[[float], None] | None = None,
    cancel: CancelFlag | None = None,
) -> Contributions:
    """What each row gives to the pictures of all views, on request with how much they hang on it. Raises: Cancelled."""
    gaussians = gaussians.to("cpu")
    scene = SplatScene(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    options = RasterOptions(antialiased=gaussians.antialiased)
    found = Contributions.none(len(gaussians), sensitivity=sensitivity)
    for done, view in enumerate(viewpoints.views):
        if progress is not None:
            progress(done / len(viewpoints.views))
        camera = (np.linalg.inv(view.camera_to_world)[None], view.K[None], view.width, view.height)
        given = contributions([scene], *camera, options=options, cancel=cancel)
        if sensitivity:
            given = replace(given, sensitivity=sensitivities(scene, *camera, options=options, cancel=cancel))
        found = found.plus(given)
    return found
