"""What every field is, whatever it is a field of, and how it is looked at.

A field is any asset but Gaussians: radiance, distance, picture, path-traced scene, photo. R rays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays

Axis = Literal["x", "y", "z"]
ALL_LEVELS = (1 << 32) - 1


@dataclass(frozen=True)
class Pixels:
    """The pixels of a pinhole camera: one is `width` wide at distance 1 along `forward`."""

    forward: tuple[float, float, float]  # unit, in the field's own axes
    width: float  # 1 / focal length in pixels


@dataclass(frozen=True)
class FieldView:
    """The settings of one look at a field. A kind of field leaves alone what it has no use for."""

    level_mask: int = ALL_LEVELS
    """Bit l set: level l of the hash grid takes part; the features of the others are 0."""
    crop_low: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Low corner of what is drawn, as a share of the field's bounds."""
    crop_high: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """High corner of what is drawn, as a share of the field's bounds."""
    slice_axis: Axis | None = None
    """Show what the field holds on a plane across this axis alone; none = the whole field."""
    slice_at: float = 0.5
    """Where that plane stands, as a share of the field's bounds."""
    density_threshold: float = 0.0
    """Density below this, per unit of the asset's length, counts as none."""
    max_samples_per_ray: int = 1024
    """Fewer are quicker and end the ray early."""
    stop_transmittance: float = 1e-4
    """A ray that lets less than this through is finished."""
    normals: bool = False
    """Whether the picture needs normals [R, 3]: unit vectors in the asset's axes times alpha."""
    pixels: Pixels | None = None
    """How wide a pixel sees, for fields that show its mean; none = judged by the rays and their order."""
    quick: bool = False
    """While the camera moves: a little less exact where that is much quicker."""
    cached: bool = True
    """Whether a path-traced scene asks its radiance cache; off = its paths are traced to their ends."""
    sample: int = 0
    """Number of the pass, for fields whose looks are noisy and whose picture is the mean of many."""

    def __post_init__(self) -> None:
        if any(not 0.0 <= low < high <= 1.0 for low, high in zip(self.crop_low, self.crop_high, strict=True)):
            raise ValueError(f"crop {self.crop_low} to {self.crop_high}: must be 0 <= low < high <= 1 along each axis")
        if not 0.0 <= self.slice_at <= 1.0:
            raise ValueError(f"slice_at {self.slice_at}: must be 0 to 1")
        if not 0.0 <= self.density_threshold < float("inf"):
            raise ValueError(f"density_threshold {self.density_threshold}: must be finite and 0 or more")


WHOLE = FieldView()
"""The whole field as it is."""


class Field(Protocol):
    """An asset that is looked at by rays."""

    @property
    def bounds(self) -> np.ndarray:
        """[2, 3] float64, low and high corner of the box, in the field's own axes, that should be in view."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        ...

    @property
    def facts(self) -> dict[str, str]:
        """What a person may want to know of its make, by name: `h3d info` and the Layers panel show it."""
        ...

    @property
    def remark(self) -> str:
        """What a person should know of where it came from, one sentence or nothing."""
        ...

    def save(self, path: Path) -> None:
        """Writes it as one file, whole or not at all."""
        ...

    def render(
        self,
        origins: torch.Tensor,  # [R, 3] in the field's own axes
        directions: torch.Tensor,  # [R, 3] unit
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """What the rays see: rgb over black (premultiplied by alpha), depth as the distance in the field's units.

        Raises: Cancelled.
        """
        ...
