"""Posed images: photos with the cameras that took them, split into those to train on and those to test with.

Poses are camera to world in OpenCV axes (+x right, +y down, +z forward), in the data set's own world. Pixels are
measured from the picture's upper left corner, so that the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .errors import DatasetError
from .ngp_space import NgpSpace


@dataclass(frozen=True)
class Distortion:
    """How a lens bends what a pinhole would see. See `lenses` for the formulas."""

    model: Literal["radial", "fisheye"]
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    """Tangential, of the radial model only."""
    p2: float = 0.0


@dataclass(frozen=True, eq=False)
class PosedImage:
    """One photo and its camera. The pixels stay in the file until `image` is asked for them."""

    path: Path
    camera_to_world: np.ndarray  # [4, 4] float64, OpenCV axes, a rigid motion
    K: np.ndarray  # [3, 3] float64, without skew
    width: int
    height: int
    distortion: Distortion | None = None
    has_alpha: bool = False
    copies: tuple[tuple[int, Path], ...] = ()
    """Reduced copies beside it, such as those of images_4, each with its factor."""
    mask_path: Path | None = None
    """A picture of the same size that is 0 where the photo is not to be learnt from."""

    @property
    def position(self) -> np.ndarray:  # [3]
        return self.camera_to_world[:3, 3]

    @property
    def forward(self) -> np.ndarray:  # [3], unit
        return self.camera_to_world[:3, 2]

    @property
    def is_linear(self) -> bool:
        """Whether its colours are linear light and may exceed 1 (EXR); all other photos are sRGB."""
        return self.path.suffix.lower() == ".exr"


@dataclass(frozen=True, eq=False)
class PosedImages:
    """A data set: its photos in natural order of their names, and what is known of the space around them."""

    name: str
    path: Path
    """What was opened: a folder, or a .json."""
    images: tuple[PosedImage, ...]
    train: tuple[int, ...]
    """Indices into `images`."""
    test: tuple[int, ...]
    """Indices into `images`; none of them is in `train`, unless the files say so."""
    space: NgpSpace = NgpSpace()
    aabb_scale: int = 1
    """Side of the cube about (0.5, 0.5, 0.5) in NGP unit space that holds the scene, a power of two."""
    points: np.ndarray | None = None  # [M, 3] float32, in the data set's own world
    point_colors: np.ndarray | None = None  # [M, 3] uint8
    skipped: tuple[str, ...] = ()
    """What was left out or put right while reading, one sentence each."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def scale(self) -> float:
        return self.space.scale

    @property
    def offset(self) -> tuple[float, float, float]:
        return self.space.offset

    @property
    def up(self) -> np.ndarray:  # [3], unit
        """The direction that is up in most photos, in the data set's own world."""
        mean = -np.mean([image.camera_to_world[:3, 1] for image in self.images], axis=0)
        length = float(np.linalg.norm(mean))
        return mean / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])

    @property
    def has_alpha(self) -> bool:
        """Whether any photo comes with transparency."""
        return any(image.has_alpha for image in self.images)

    def common_size(self) -> tuple[int, int]:
        """Width and height, for what needs the photos to be of one size.

        Raises: DatasetError when they are not.
        """
        first = self.images[0]
        for other in self.images:
            if (other.width, other.height) != (first.width, first.height):
                rule = (
                    f"{other.path.name} is {other.width} x {other.height}, {first.path.name} is "
                    f"{first.width} x {first.height}; all must have one size here"
                )
                raise DatasetError(self.path, "photos", rule, "crop or resize them to one size")
        return first.width, first.height
