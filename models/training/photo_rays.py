"""The pixels of a data set's photos as rays in NGP space with the colours they should have.

N photos, R rays. All pixels of the photos to train on are held as bytes (sRGB and straight alpha); cameras that are
alike but for their pose share one table of directions, so that lens distortion is undone once and not at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from h3d.models import datasets
from h3d.models.datasets import NgpSpace, PosedImage, PosedImages, camera_directions, image, pixel_grid

from .occupancy import View
from .shared_photos import Shared, photos_key

PIXEL_BYTES_LIMIT = 4 << 30


@dataclass(frozen=True)
class RayBatch:
    """R rays in NGP space and what was photographed along them."""

    origins: torch.Tensor  # [R, 3]
    directions: torch.Tensor  # [R, 3] unit
    rgb: torch.Tensor  # [R, 3] sRGB in [0, 1], not multiplied by alpha
    alpha: torch.Tensor  # [R] in [0, 1]
    photo: torch.Tensor  # [R] int64, which photo each ray is of, counted as in `PhotoRays`

    def first(self, count: int) -> RayBatch:
        """The rays before number `count`."""
        return RayBatch(**{f.name: getattr(self, f.name)[:count] for f in fields(self)})


@dataclass(frozen=True, eq=False)
class PhotoRays:
    """N photos, ready to draw rays from."""

    pixels: torch.Tensor  # [total, 3 or 4] uint8, photo after photo
    pixel_starts: torch.Tensor  # [N] int64, where each photo begins in `pixels`
    directions: torch.Tensor  # [table, 3] unit, in camera space, lens after lens
    direction_starts: torch.Tensor  # [N] int64, where each photo's lens begins in `directions`
    sizes: torch.Tensor  # [N] int64, pixels of each photo that may be learnt from
    known: torch.Tensor | None  # [sum of sizes] int32, which pixels of their photo those are; None = all
    poses: torch.Tensor  # [N, 3, 4] camera to NGP space

    def to(self, device: torch.device) -> PhotoRays:
        """All arrays on `device`; these ones where they are there already."""
        if self.pixels.device == device:
            return self
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: array.to(device) for name, array in arrays.items() if array is not None})

    def draw(self, count: int, generator: torch.Generator) -> RayBatch:
        """`count` rays: every photo, and every pixel within it, equally likely; drawn on the CPU for every device."""
        photo = torch.randint(self.sizes.shape[0], (count,), generator=generator).to(self.sizes.device)
        chance = torch.rand(count, generator=generator, dtype=torch.float64).to(self.sizes.device)
        pixel = (chance * self.sizes[photo]).long()
        if self.known is not None:
            pixel = self.known[(self.sizes.cumsum(0) - self.sizes)[photo] + pixel].long()
        poses = self.poses[photo]
        turned = torch.einsum("rij,rj->ri", poses[:, :, :3], self.directions[self.direction_starts[photo] + pixel])
        color = self.pixels[self.pixel_starts[photo] + pixel].float() / 255.0
        alpha = color[:, 3] if color.shape[1] == 4 else torch.ones(count, device=color.device)
        return RayBatch(poses[:, :, 3].contiguous(), turned, color[:, :3], alpha, photo)


_SHARED: Shared[PhotoRays] = Shared()


def photo_rays(dataset: PosedImages, indices: Sequence[int], downscale: int) -> PhotoRays:
    """The photos of these indices, reduced by `downscale`, in memory; once for all runs that learn from them.

    Raises:
        DatasetError: a photo or its mask cannot be decoded.
        ValueError: there is none, their pixels would fill more memory than 4 GiB, or masks hide a whole one.
    """
    photos = photos_to_hold(dataset, indices, downscale)
    key = (photos_key(photos, downscale), dataset.space)
    return _SHARED.get(key, lambda: _read(photos, dataset.space, downscale))


def _read(photos: Sequence[PosedImage], space: NgpSpace, downscale: int) -> PhotoRays:
    pictures = [as_bytes(image(photo, downscale)) for photo in photos]
    channels = max(picture.shape[2] for picture in pictures)
    rows = [_padded(picture, channels).reshape(-1, channels) for picture in pictures]
    lenses, direction_starts = _lenses(photos, downscale)
    counts = torch.tensor([len(row) for row in rows])
    known = _known_pixels(photos, rows, downscale)
    sizes = counts if known is None else torch.tensor([len(numbers) for numbers in known])
    poses = np.stack([space.pose_to_ngp(photo.camera_to_world)[:3] for photo in photos])
    return PhotoRays(
        pixels=torch.from_numpy(np.concatenate(rows)),
        pixel_starts=torch.cumsum(counts, 0) - counts,
        directions=lenses,
        direction_starts=direction_starts,
        sizes=sizes,
        known=None if known is None else torch.from_numpy(np.concatenate(known)),
        poses=torch.from_numpy(poses.astype(np.float32)),
    )


def photos_to_hold(dataset: PosedImages, indices: Sequence[int], downscale: int) -> list[PosedImage]:
    """The photos of these indices. Raises: ValueError where there is none, or where they would not fit the memory."""
    photos = [dataset.images[i] for i in indices]
    if len(photos) == 0:
        raise ValueError(f"{dataset.name}: there is no photo to train on; the data set needs at least one")
    needed = sum(4 * (photo.width // downscale) * (photo.height // downscale) for photo in photos)
    if needed > PIXEL_BYTES_LIMIT:
        raise ValueError(
            f"{dataset.name}: {len(photos)} photos at 1/{downscale} size hold {needed / 2**30:.1f} GiB of pixels, "
            f"{PIXEL_BYTES_LIMIT >> 30} GiB is the limit; use a larger --downscale"
        )
    return photos


def as_bytes(picture: np.ndarray) -> np.ndarray:  # [H, W, C] uint8 or float32 linear -> [H, W, C] uint8 sRGB
    """Linear light is clipped to [0, 1] and encoded: the field's colours are those that a screen shows."""
    if picture.dtype == np.uint8:
        return picture
    color = np.clip(np.nan_to_num(picture[..., :3]), 0.0, 1.0)
    encoded = np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055)
    straight = np.concatenate([encoded, np.clip(picture[..., 3:], 0.0, 1.0)], axis=2)
    return np.rint(255.0 * straight).astype(np.uint8)


def views(dataset: PosedImages, indices: Sequence[int]) -> list[View]:
    """What the cameras of these photos see, in NGP space; a lens's border directions bound it."""
    found = []
    for photo in (dataset.images[i] for i in indices):
        directions = camera_directions(photo, _border(photo))
        # A lens that sees beside and behind itself is bounded by no pyramid: call it one that sees all before it.
        x, y = (directions[:, :2] / np.maximum(directions[:, 2:], 1e-2)).T
        pose = torch.from_numpy(np.linalg.inv(dataset.space.pose_to_ngp(photo.camera_to_world)))
        found.append(View(pose, (float(x.min()), float(x.max()), float(y.min()), float(y.max()))))
    return found


def _border(photo: PosedImage) -> np.ndarray:  # [P, 2]
    along = np.linspace(0.0, 1.0, 17)
    zero, one = np.zeros_like(along), np.ones_like(along)
    sides = [(along, zero), (along, one), (zero, along), (one, along)]
    return np.concatenate([np.stack(side, axis=1) for side in sides]) * [photo.width, photo.height]


def _padded(picture: np.ndarray, channels: int) -> np.ndarray:  # [H, W, C] -> [H, W, channels]
    """Photos without alpha among some that have it are opaque."""
    missing = channels - picture.shape[2]
    return picture if missing == 0 else np.pad(picture, ((0, 0), (0, 0), (0, missing)), constant_values=255)


def _known_pixels(
    photos: Sequence[PosedImage], rows: Sequence[np.ndarray], downscale: int
) -> list[np.ndarray] | None:  # [pixels] int32 of each photo
    """The pixels that no mask hides, where there are masks at all."""
    if all(photo.mask_path is None for photo in photos):
        return None
    found = []
    for photo, row in zip(photos, rows, strict=True):
        shown = datasets.known(photo, downscale)
        numbers = np.arange(len(row)) if shown is None else np.flatnonzero(shown)
        found.append(numbers.astype(np.int32))
        if len(found[-1]) == 0:
            raise ValueError(f"{photo.mask_path}: the mask hides all of its photo; leave that photo out")
    return found


def _lenses(photos: Sequence[PosedImage], downscale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The directions of each different lens, and where each photo's begin."""
    starts: dict[object, int] = {}
    tables: list[np.ndarray] = []
    total, found = 0, []
    for photo in photos:
        key = (photo.width, photo.height, photo.K.tobytes(), photo.distortion)
        if key not in starts:
            starts[key] = total
            fixed = replace(photo, camera_to_world=np.eye(4))
            tables.append(camera_directions(fixed, pixel_grid(fixed, downscale)).astype(np.float32))
            total += len(tables[-1])
        found.append(starts[key])
    return torch.from_numpy(np.concatenate(tables)), torch.tensor(found)
