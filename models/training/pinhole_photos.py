"""Photos as a rasteriser can learn from them: lens distortion undone, so that a pinhole camera has taken them.

N photos, all in memory as bytes, sRGB with straight alpha, once for all runs that learn from them. A pixel that the
photo does not cover, where its lens has seen less than the pinhole would or a mask hides it, is not known and teaches
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from h3d.models import datasets
from h3d.models.datasets import PosedImage, PosedImages, camera_to_pixels, image
from h3d.models.photo_field import bilinear
from h3d.renderers.gaussians import Rect

from .photo_rays import as_bytes, photos_to_hold
from .shared_photos import Shared, photo_key


@dataclass(frozen=True, eq=False)
class PinholePhoto:
    """One photo and its camera."""

    viewmat: torch.Tensor  # [4, 4] float32, world to camera
    K: torch.Tensor  # [3, 3] float32
    pixels: torch.Tensor  # [H, W, 3 or 4] uint8
    known: torch.Tensor | None  # [H, W] bool; None = all are

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[0])

    def to(self, device: torch.device) -> PinholePhoto:
        """Its pixels on `device`, itself if they are there; the camera stays on the CPU, where it is checked."""
        if self.pixels.device == device:
            return self
        known = None if self.known is None else self.known.to(device)
        return replace(self, pixels=self.pixels.to(device), known=known)

    def part(self, rect: Rect | None) -> PinholePhoto:
        """Its pixels in a rectangle (None: all), from x0, y0 to x1, y1; the camera stays that of the whole."""
        if rect is None:
            return self
        x0, y0, x1, y1 = rect
        known = None if self.known is None else self.known[y0:y1, x0:x1]
        return replace(self, pixels=self.pixels[y0:y1, x0:x1], known=known)

    def over(self, background: torch.Tensor) -> torch.Tensor:  # [3] -> [H, W, 3]
        """The photo in [0, 1] with its transparent parts on a background."""
        values = self.pixels.float() * (1.0 / 255.0)
        if values.shape[2] == 3:
            return values
        alpha = values[..., 3:]
        return values[..., :3] * alpha + background * (1.0 - alpha)


_SHARED: Shared[PinholePhoto] = Shared()


def pinhole_photos(dataset: PosedImages, indices: Sequence[int], downscale: int) -> tuple[PinholePhoto, ...]:
    """The photos of these indices, reduced by `downscale`.

    Raises:
        DatasetError: a photo cannot be decoded.
        ValueError: there is none, or their pixels would fill more memory than 4 GiB.
    """
    photos = photos_to_hold(dataset, indices, downscale)
    return tuple(pinhole_photo(photo, downscale) for photo in photos)


def pinhole_photo(posed: PosedImage, downscale: int) -> PinholePhoto:
    """The photo as a pinhole of the same focal lengths and size sees it, from memory where another run holds it.

    Raises: DatasetError when the file is gone or cannot be decoded.
    """
    key = photo_key(posed, downscale)
    return _SHARED.get(key, lambda: _read(posed, downscale))


def _read(posed: PosedImage, downscale: int) -> PinholePhoto:
    pixels = as_bytes(image(posed, downscale))
    K = posed.K.copy()
    K[:2] /= downscale
    known = datasets.known(posed, downscale)
    if posed.distortion is not None:
        pixels, known = _straightened(posed, pixels, known, K, downscale)
    return PinholePhoto(
        viewmat=torch.from_numpy(np.linalg.inv(posed.camera_to_world).astype(np.float32)),
        K=torch.from_numpy(K.astype(np.float32)),
        pixels=torch.from_numpy(np.array(pixels)),
        known=None if known is None or bool(known.all()) else torch.from_numpy(known),
    )


def _straightened(
    posed: PosedImage, pixels: np.ndarray, unmasked: np.ndarray | None, K: np.ndarray, downscale: int
) -> tuple[np.ndarray, np.ndarray]:  # [H, W, C], [H, W]
    """What the pinhole sees, between the photo's pixels, and where it sees any of it."""
    height, width = pixels.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    at = camera_to_pixels(posed, local.reshape(-1, 3)).reshape(height, width, 2) / downscale - 0.5
    known = ((at > -0.5) & (at < np.array([width, height]) - 0.5)).all(axis=-1)
    if unmasked is not None:
        # A value between pixels needs all four of them.
        shown = bilinear(unmasked[..., None].astype(np.float32), np.nan_to_num(at).reshape(-1, 2))
        known &= shown.reshape(height, width) > 1.0 - 1e-4
    seen = bilinear(pixels.astype(np.float32), np.nan_to_num(at).reshape(-1, 2)).reshape(height, width, -1)
    return np.rint(np.clip(seen, 0.0, 255.0)).astype(np.uint8), np.asarray(known)
