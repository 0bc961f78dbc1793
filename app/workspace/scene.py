"""What stands in the scene: an ordered tuple of layers, each an asset with a place. Frozen values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.models.field_view import Field
from h3d.models.gaussians import Gaussians
from h3d.models.similarity import Similarity
from h3d.renderers.cameras import Camera

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
    def place(self) -> Similarity:
        return Similarity(self.wxyz, self.position, self.scale)

    @property
    def asset_to_world(self) -> np.ndarray:
        """[4, 4] float64, a rotation times a uniform scale, and a translation."""
        return self.place.matrix

    @property
    def data_place(self) -> Similarity:
        """Where the world of the data that the asset was learnt from lies, its photos' cameras included."""
        return self.place.after(self.asset.frame) if isinstance(self.asset, Gaussians) else self.place

    @property
    def shown_rows(self) -> torch.Tensor | None:
        """[N] bool, the rows that are not hidden; None = all are shown."""
        return None if self.hidden_rows is None else ~self.hidden_rows


def placed(place: Similarity) -> dict[str, Any]:
    """The fields of a layer that stands there; `Layer.place` is the inverse."""
    return {"wxyz": place.wxyz, "position": place.position, "scale": place.scale}
