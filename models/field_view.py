"""How a field is looked at: what the Field panel changes and every field's `render` takes.

A field is any asset but Gaussians: radiance, distance, picture, path-traced scene. Each has

    bounds                                      [2, 3] float64, the box in its own axes that should be in view
    nbytes, remark, save(path)                  as `h3d.models.gaussians` has them
    render(origins, directions, *, view, cancel) -> RenderedRays

where origins and unit directions are [R, 3] in the asset's axes, rgb is over black (premultiplied by alpha), depth is
the distance along the ray in the asset's units. A kind of field leaves alone what it has no use for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["x", "y", "z"]
ALL_LEVELS = (1 << 32) - 1


@dataclass(frozen=True)
class FieldView:
    """The settings of one look at a field."""

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
    """Whether the picture needs normals [R, 3]: unit, in the asset's axes, towards the eye's side; weighted by alpha."""
    quick: bool = False
    """While the camera moves: a little less exact where that is much quicker."""

    def __post_init__(self) -> None:
        if any(not 0.0 <= low < high <= 1.0 for low, high in zip(self.crop_low, self.crop_high, strict=True)):
            raise ValueError(f"crop {self.crop_low} to {self.crop_high}: must be 0 <= low < high <= 1 along each axis")
        if not 0.0 <= self.slice_at <= 1.0:
            raise ValueError(f"slice_at {self.slice_at}: must be 0 to 1")
        if not 0.0 <= self.density_threshold < float("inf"):
            raise ValueError(f"density_threshold {self.density_threshold}: must be finite and 0 or more")
