"""What stands in the scene: an ordered tuple of layers, each an asset with a place. Frozen values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import quat_to_rotation


@dataclass(frozen=True)
class Layer:
    """One asset in the scene: x_world = scale * R(wxyz) x_asset + position."""

    key: int  # stable while the program runs; names may repeat and change
    name: str
    asset: Gaussians
    path: Path | None = None  # the file or folder it was read from
    sha256: str = ""  # of that file (of a folder: of its files' hashes in name order); "" when made in memory
    visible: bool = True
    locked: bool = False
    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    hidden_rows: torch.Tensor | None = field(default=None, compare=False)  # [N] bool, true = not drawn

    @property
    def asset_to_world(self) -> np.ndarray:
        """[4, 4] float64, a rotation times a uniform scale, and a translation."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * quat_to_rotation(np.array(self.wxyz))
        matrix[:3, 3] = self.position
        return matrix
