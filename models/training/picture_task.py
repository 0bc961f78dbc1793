"""The task of learning a picture as an image field, judged on the picture itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.models.image_field import ImageField
from h3d.models.knobs import known_settings
from h3d.models.light import code_of
from h3d.models.pictures import PixelSource, TiledPicture, open_picture
from h3d.models.pictures.source import as_floats, pyramid
from h3d.renderers.cancel import CancelFlag, Cancelled

from . import Judgement, Progress, Step
from .image import ImageTraining, train

QUICK_POINTS = 1 << 15
JUDGED_POINTS = 1 << 20
SHOWN_SIDE = 512
"""Longest side of a part of the judged picture, in pixels."""
ROWS_AT_ONCE = 1 << 18  # points compared at once


@dataclass(frozen=True)
class ImageTask:
    """A `Task`: one picture to an image field."""

    source: PixelSource
    config: ImageTraining
    remarks: tuple[str, ...] = ()
    model: str = "image"
    metrics: tuple[str, ...] = ("psnr",)

    @staticmethod
    def open(path: Path, settings: Mapping[str, Any], progress: Progress | None = None) -> ImageTask:
        """The task of a picture; `settings` are fields of `ImageTraining`. A huge file is converted to tiles first.

        `progress` is told how far that is.

        Raises:
            FormatError: it is no picture, or it is damaged.
            OSError: the tiles cannot be written.
        """
        if path.is_dir():
            raise ValueError(f"{path}: it is a folder; an image field is learnt from one picture file")
        config = ImageTraining(**known_settings(ImageTraining, settings))
        source = open_picture(path, progress=progress)
        remarks: tuple[str, ...] = ()
        if isinstance(source, TiledPicture) and source.tiles.path != path:
            size = source.tiles.path.stat().st_size / 2**30
            remarks = (f"its pixels lie in a tile cache of {size:.1f} GiB, {source.tiles.path}",)
        return ImageTask(source, config, remarks)

    @property
    def name(self) -> str:
        return self.source.name

    def train(self, *, resume: Path | None = None) -> Iterator[Step[ImageField]]:
        """See `Task`."""
        return train(self.source, self.config, resume=resume)

    def judge(
        self,
        asset: ImageField,
        *,
        quick: bool = False,
        progress: Progress | None = None,
        cancel: CancelFlag | None = None,
    ) -> Judgement:
        """PSNR in sRGB clipped to [0, 1], over all pixels or, of large pictures, over a million spread evenly.

        Quickly: over some thousand of them, always the same.
        """
        pixels = self.source.width * self.source.height
        rows, columns = (self._quick_points if quick else self._points) if pixels > QUICK_POINTS else self._all
        errors: list[torch.Tensor] = []
        for first in range(0, len(rows), ROWS_AT_ONCE):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            part = slice(first, first + ROWS_AT_ONCE)
            errors.append(self._squared_errors(asset, rows[part], columns[part], known=quick))
            if progress is not None:
                progress(f"{min(first + ROWS_AT_ONCE, len(rows)):,} of {len(rows):,} pixels compared")
        error = float(torch.cat(errors).double().mean())
        metrics = {"psnr": float(-10.0 * np.log10(max(error, 1e-12)))}
        subject = f"all {len(rows):,} pixels" if len(rows) == pixels else f"{len(rows):,} of {pixels:,} pixels"
        return Judgement(metrics, subject, None if quick else self._picture(asset, cancel))

    def _squared_errors(self, asset: ImageField, rows: np.ndarray, columns: np.ndarray, *, known: bool) -> torch.Tensor:
        """[P] means over the channels."""
        places = torch.from_numpy(np.stack([columns, rows], axis=1) + 0.5)
        found = _shown(asset.colors(places, torch.ones(len(places))), asset.hdr)
        wanted = self._quick_colors if known and len(rows) == QUICK_POINTS else self._colors(rows, columns)
        return (found - wanted).square().mean(dim=1)

    def _colors(self, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:  # [P, 3] sRGB
        return _shown(torch.from_numpy(self.source.at(rows, columns)), self.source.hdr)

    @property
    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        return _spread(self.source.width * self.source.height, self.source)

    @property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        held = not isinstance(self.source, TiledPicture) and self.source.width * self.source.height <= 4 * JUDGED_POINTS
        return self._all if held else _spread(JUDGED_POINTS, self.source)

    @cached_property
    def _quick_points(self) -> tuple[np.ndarray, np.ndarray]:
        return _spread(QUICK_POINTS, self.source)

    # A curve is judged every few seconds; the pixels of a picture on the disk are read for the first point alone.
    @cached_property
    def _quick_colors(self) -> torch.Tensor:
        return self._colors(*self._quick_points)

    def _picture(self, asset: ImageField, cancel: CancelFlag | None) -> torch.Tensor:  # [H, W, 3]
        """The picture beside what was learnt; of one larger than that, its middle pixel by pixel below."""
        width, height = self.source.width, self.source.height
        scale = max(0, int(np.ceil(np.log2(max(width, height) / SHOWN_SIDE))))
        small = _reduced(self.source, scale, cancel)
        tall, wide = small.shape[:2]
        learnt = asset.pixels(0, 0, min(wide << scale, width), min(tall << scale, height), wide, tall, cancel=cancel)
        pair = torch.cat([_shown(small, self.source.hdr), _shown(learnt, asset.hdr)], dim=1)
        if scale == 0:
            return pair
        x, y = (width - wide) // 2, (height - tall) // 2
        detail = torch.from_numpy(self.source.pixels(x, y, x + wide, y + tall))
        close = asset.pixels(x, y, x + wide, y + tall, cancel=cancel)
        below = torch.cat([_shown(detail, self.source.hdr), _shown(close, asset.hdr)], dim=1)
        return torch.cat([pair, below])


def _shown(colors: torch.Tensor, hdr: bool) -> torch.Tensor:  # [..., 3] -> [..., 3]
    """sRGB in [0, 1], as a screen shows it."""
    return (code_of(colors) if hdr else colors).clamp(0.0, 1.0)


def _spread(count: int, source: PixelSource) -> tuple[np.ndarray, np.ndarray]:  # [P], [P]
    """Rows and columns of `count` pixels in equal steps of the picture, the same at each call; all where it is all."""
    total = source.width * source.height
    if count >= total:
        flat = np.arange(total)
        return flat // source.width, flat % source.width
    across = max(1, min(source.width, round((count * source.width / source.height) ** 0.5)))
    down = max(1, min(source.height, count // across))
    jitter = np.random.default_rng(0).random((2, down, across))
    rows = ((np.arange(down)[:, None] + jitter[0]) * (source.height / down)).astype(np.int64)
    columns = ((np.arange(across) + jitter[1]) * (source.width / across)).astype(np.int64)
    return rows.reshape(-1), columns.reshape(-1)


def _reduced(source: PixelSource, scale: int, cancel: CancelFlag | None) -> torch.Tensor:  # [H >> scale, W >> scale, 3]
    """Means over squares of 2^scale pixels, read square by square so that no more than a tile is held."""
    block = max(256, 1 << scale)
    out = torch.zeros(max(1, source.height >> scale), max(1, source.width >> scale), 3)
    for top in range(0, source.height, block):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        for left in range(0, source.width, block):
            part = source.pixels(left, top, min(left + block, source.width), min(top + block, source.height))
            levels = pyramid(part)
            if scale < len(levels):
                y, x = top >> scale, left >> scale
                level = torch.from_numpy(as_floats(levels[scale]))[: out.shape[0] - y, : out.shape[1] - x]
                out[y : y + level.shape[0], x : x + level.shape[1]] = level
    return out
