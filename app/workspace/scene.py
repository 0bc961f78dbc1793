"""What stands in the scene: an ordered tuple of layers, each an asset with a place. Frozen values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from h3d.models.field_view import Field
from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import Camera, quat_to_rotation

Asset = Gaussians | Field


@dataclass(frozen=True)
class Home:
    """Where to look at a layer from, for those that know better than "all of it in view, up is -y"."""

    up: tuple[float, float, float]
    camera: Camera | None = None  # None = all of it in view
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the orbit, where there is a camera
    direction: tuple[float, float, float] | None = None  # from the scene to the eye, where there is no camera


def kind_of(asset: Asset) -> str:
    """What a person calls this kind of asset."""
    name = type(asset).__name__
    return {
        "HashGridField": "radiance field (hash grid)",
        "NerfstudioField": "radiance field (nerfstudio's instant-ngp)",
        "SignedDistanceField": "signed distance field",
        "ImageField": "image field",
        "PathTracedScene": "path-traced scene",
        "PhotoField": "photo",
    }.get(name, name)


@dataclass(frozen=True)
class Layer:
    """One asset in the scene: x_world = scale * R(wxyz) x_asset + position."""

    key: int  # stable while the program runs; names may repeat and change
    name: str
    asset: Asset
    path: Path | None = None  # the file or folder it was read from
    sha256: str = ""  # of that file (of a folder: of its files' hashes in name order); "" when made in memory
    visible: bool = True
    locked: bool = False
    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    hidden_rows: torch.Tensor | None = field(default=None, compare=False)  # [N] bool, true = not drawn; of Gaussians
    run: int | None = None  # key of the optimisation that it shows, which replaces its asset as it goes
    home: Home | None = field(default=None, compare=False)

    @property
    def asset_to_world(self) -> np.ndarray:
        """[4, 4] float64, a rotation times a uniform scale, and a translation."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * quat_to_rotation(np.array(self.wxyz))
        matrix[:3, 3] = self.position
        return matrix
