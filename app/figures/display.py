"""How a picture is made from a scene, apart from the camera: the settings of the Display panel and of `h3d render`.

The docstring under a field is the tooltip of its control and the help of its flag; `RANGES` holds the sliders' ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from h3d.models.field_view import FieldView

Mode = Literal["rgb", "depth", "alpha", "normals", "contribution", "top_id", "cost"]
Shape = Literal["splats", "points", "ellipsoids", "rings"]

RANGES: dict[str, tuple[float, float, float]] = {  # minimum, maximum, step
    "sh_degree": (0, 3, 1),
    "splat_scale": (0.05, 3.0, 0.05),
    "point_size": (1.0, 12.0, 0.5),
    "near_plane": (0.001, 10.0, 0.001),
    "far_plane": (1.0, 10000.0, 1.0),
    "exposure": (-5.0, 5.0, 0.1),
    "path_seconds": (0.2, 60.0, 0.2),
}


@dataclass(frozen=True)
class Display:
    """The settings of one picture."""

    mode: Mode = "rgb"
    """What a pixel shows: colour, expected depth, alpha, normals; of Gaussians alone the contribution heat and the one
    that contributes most; of fields alone the cost in samples."""
    shape: Shape = "splats"
    """How a Gaussian is drawn: as itself, as a point, as a shaded ellipsoid, or as the ring of its outline."""
    sh_degree: int = 3
    """Highest degree of view-dependent colour; 0 shows the constant colour."""
    splat_scale: float = 1.0
    """Factor on every standard deviation."""
    point_size: float = 3.0
    """Diameter of a point in pixels (shape "points")."""
    antialiased: bool = False
    """Keep the energy of Gaussians smaller than a pixel (mip mode); files trained with it look right only with it."""
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Colour behind the scene, sRGB in [0, 1]."""
    near_plane: float = 0.01
    """Gaussians nearer than this, in scene units along the view, are not drawn."""
    far_plane: float = 10000.0
    """Gaussians farther than this are not drawn."""
    exposure: float = 0.0
    """Brightens (or darkens) colours by this many stops."""
    path_seconds: float = 4.0
    """Time that a picture of a path-traced scene gets; in a comparison, each side's. More is less noise."""
    compensated: bool = True
    """Let Gaussians that have a compensation network show what it makes of still pictures (mode "rgb"); off: the raw
    picture."""
    field: FieldView = FieldView()
    """How fields are looked at; see the Field panel."""

    def __post_init__(self) -> None:
        if not 0.0 < self.near_plane < self.far_plane:
            raise ValueError(
                f"near_plane {self.near_plane} and far_plane {self.far_plane}: must be 0 < near_plane < far_plane"
            )
        if not 0.0 <= self.path_seconds < float("inf"):
            raise ValueError(f"path_seconds {self.path_seconds}: must be finite and 0 or more")
