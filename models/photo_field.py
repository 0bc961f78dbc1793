"""A photo as a field, so that it can be compared with what was learnt from it: what its camera saw, in every direction.

A ray gets the colour of the pixel that its direction has in the photo, through the photo's own lens: seen from where it
was taken, any camera shows the photo without its distortion, and nothing beyond its border. R rays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from h3d.models.datasets import PosedImage, camera_to_pixels, image
from h3d.models.formats.tensors import file_sha256
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays

from .field_view import WHOLE, FieldView

NEAR = 1e-3
"""Depth of all of a photo: it lies over whatever else is drawn."""


@dataclass(frozen=True, eq=False)
class PhotoField:
    """One photo of a data set, reduced by `downscale`. A `Field`; there is no file of it but the photo's own."""

    posed: PosedImage
    downscale: int = 1
    opacity: float = 1.0
    data: Path | None = None
    """Where its data set was opened, so that it can be found again."""

    @cached_property
    def sha256(self) -> str:
        """What tells it from others: the hash of its file, its pose and its lens, wherever these lie."""
        posed = self.posed
        numbers = np.concatenate([posed.camera_to_world.ravel(), posed.K.ravel()]).round(9) + 0.0
        text = f"{file_sha256(posed.path)} {posed.width} {posed.height} {posed.distortion} {numbers.tolist()}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def remark(self) -> str:
        return f"photo {self.posed.path.name}"

    @property
    def facts(self) -> dict[str, str]:
        return {"size": f"{self.posed.width} x {self.posed.height}, reduced by {self.downscale}"}

    @property
    def nbytes(self) -> int:
        return self._pixels.nbytes

    @property
    def bounds(self) -> np.ndarray:  # [2, 3]
        """Where the camera stands: a photo has no extent of its own."""
        return np.stack([self.posed.position, self.posed.position])

    def save(self, path: Path) -> None:
        """Raises: ValueError; the photo's own file is what there is."""
        raise ValueError(f"{path}: a photo is not saved again; its file is {self.posed.path.name}")

    @cached_property
    def _pixels(self) -> np.ndarray:  # [h, w, 4] float32, sRGB, premultiplied by alpha
        from h3d.models.training.photo_rays import as_bytes

        pixels = as_bytes(image(self.posed, self.downscale)).astype(np.float32) / 255.0
        alpha = pixels[..., 3:] if pixels.shape[2] == 4 else np.ones_like(pixels[..., :1])
        return np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)

    def render(
        self,
        origins: torch.Tensor,  # [R, 3]
        directions: torch.Tensor,  # [R, 3]
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        """See `Field`; the origins are taken to be where the photo was taken."""
        del view, cancel
        rays = len(origins)
        local = directions.numpy().astype(np.float64) @ self.posed.camera_to_world[:3, :3]
        seen = np.zeros((rays, 4), np.float32)
        ahead = np.flatnonzero(local[:, 2] > 1e-3)
        height, width = self._pixels.shape[:2]
        at = camera_to_pixels(self.posed, local[ahead]) / self.downscale - 0.5
        inside = ((at > -0.5) & (at < np.array([width, height]) - 0.5)).all(axis=1)
        seen[ahead[inside]] = bilinear(self._pixels, at[inside]) * np.float32(self.opacity)
        values = torch.from_numpy(seen)
        depth = torch.where(values[:, 3] > 0, NEAR, 0.0)
        return RenderedRays(values[:, :3], values[:, 3], depth, torch.zeros(rays, dtype=torch.int32))


def bilinear(pixels: np.ndarray, at: np.ndarray) -> np.ndarray:  # [h, w, C], [P, 2] x and y -> [P, C]
    """Between the centres of pixels; the border's go on beyond it."""
    low = np.floor(at).astype(np.int64)
    x, y = (at - low).astype(np.float32).T[..., None]
    height, width = pixels.shape[:2]
    left, top = np.clip(low.T, 0, [[width - 1], [height - 1]])
    right, bottom = np.clip(low.T + 1, 0, [[width - 1], [height - 1]])
    upper = pixels[top, left] * (1 - x) + pixels[top, right] * x
    return upper * (1 - y) + (pixels[bottom, left] * (1 - x) + pixels[bottom, right] * x) * y
