"""What a training step of an image field learns from: pixels, and means of squares of pixels for views from afar.

Of a picture in memory: pixels spread evenly (one drawn in each cell of a grid over it), and some of every level of its
pyramid. Of a picture on the disk: pixels of some tiles, each read once for many of them, and of a few further tiles
their means. Everything is drawn from the run's generator. P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from h3d.models.light import code_of
from h3d.models.pictures import HeldPicture, PixelSource, TiledPicture
from h3d.models.pictures.source import as_floats, pyramid

SHARE_A_LEVEL = 2.0**-0.25
"""Samples of a reduced level for one of the level before it, which has four times its pixels."""
COARSE_CROWD = 4
"""Times as many samples come from a tile that is reduced, which takes time, as from one that is not."""


@dataclass(frozen=True)
class PixelBatch:
    """Points of a picture and what is to be learnt there."""

    positions: torch.Tensor  # [P, 2] x and y as shares of the picture's longer side
    footprints: torch.Tensor  # [P] pixels
    codes: torch.Tensor  # [P, 3] sRGB, or for HDR the codes of `light`


@dataclass(frozen=True)
class Drawn:
    """Pixels of one level of one pyramid."""

    rows: torch.Tensor  # [P] of the level, within the array
    columns: torch.Tensor  # [P]
    values: np.ndarray  # [P, 3] as the file has them
    scale: int  # the level: a pixel of it is a square of 2^scale pixels
    corner: tuple[int, int] = (0, 0)  # x and y of the array in the picture


@dataclass(frozen=True)
class Sampling:
    """How a batch is drawn."""

    samples: int
    tiles: int
    coarse_share: float


def draw(source: PixelSource, sampling: Sampling, generator: torch.Generator) -> PixelBatch:
    """The next batch. Raises: FormatError for a picture on the disk that is lost."""
    if isinstance(source, HeldPicture):
        return _joined(source, _from_memory(source, sampling, generator))
    assert isinstance(source, TiledPicture)
    return _joined(source, _from_tiles(source, sampling, generator))


def coarsest_of(source: PixelSource, coarse_share: float) -> int:
    """The coarsest scale that batches have."""
    if coarse_share <= 0.0:
        return 0
    sides = [source.width, source.height]
    if isinstance(source, TiledPicture):
        sides += [source.tiles.tile_width, source.tiles.tile_height]
    return min(sides).bit_length() - 1


def _from_memory(picture: HeldPicture, sampling: Sampling, generator: torch.Generator) -> list[Drawn]:
    count = min(sampling.samples, picture.width * picture.height)
    coarse = round(count * sampling.coarse_share)
    rows, columns = _stratified(picture.height, picture.width, count - coarse, generator)
    flat = (rows * picture.width + columns).numpy()
    drawn = [Drawn(rows, columns, picture.values.reshape(-1, 3)[flat], 0)]
    if coarse > 0:
        drawn += _coarse(picture.pyramid, coarse, generator)
    return drawn


def _from_tiles(picture: TiledPicture, sampling: Sampling, generator: torch.Generator) -> list[Drawn]:
    """Tiles are drawn by their area, so that all pixels are as likely."""
    tiles = picture.tiles
    share = torch.rand(sampling.tiles, 2, generator=generator, dtype=torch.float64)
    rows = (share[:, 0] * picture.height).long() // tiles.tile_height
    columns = (share[:, 1] * picture.width).long() // tiles.tile_width
    each = max(1, sampling.samples // sampling.tiles)
    coarse = 0
    if sampling.coarse_share > 0.0:
        coarse = max(1, round(sampling.tiles * sampling.coarse_share / COARSE_CROWD))
    drawn: list[Drawn] = []
    for index, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        values = tiles.read(row, column)
        corner = (column * tiles.tile_width, row * tiles.tile_height)
        if index < coarse:
            drawn += _coarse(pyramid(values), COARSE_CROWD * each, generator, corner)
        else:
            drawn.append(_drawn(values, 0, each, generator, corner))
    return drawn


def _coarse(
    levels: tuple[np.ndarray, ...], count: int, generator: torch.Generator, corner: tuple[int, int] = (0, 0)
) -> list[Drawn]:
    """About `count` pixels of the reduced levels together, of the finer ones more: there is more to be learnt."""
    shares = SHARE_A_LEVEL ** np.arange(1, len(levels))
    counts = np.maximum(np.rint(count * shares / max(shares.sum(), 1e-9)), 1).astype(int).tolist()
    return [_drawn(levels[scale], scale, counts[scale - 1], generator, corner) for scale in range(1, len(levels))]


def _stratified(
    height: int, width: int, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:  # [P], [P]
    """One pixel in each cell of a grid of about `count` square cells."""
    across = int(min(max(round((count * width / height) ** 0.5), 1), count))
    down = count // across
    jitter = torch.rand(down, across, 2, generator=generator, dtype=torch.float64)
    rows = (torch.arange(down)[:, None] + jitter[..., 0]) * (height / down)
    columns = (torch.arange(across) + jitter[..., 1]) * (width / across)
    return rows.long().clamp_(max=height - 1).reshape(-1), columns.long().clamp_(max=width - 1).reshape(-1)


def _drawn(
    level: np.ndarray, scale: int, count: int, generator: torch.Generator, corner: tuple[int, int] = (0, 0)
) -> Drawn:
    """`count` pixels of a level, all of them where there are no more."""
    height, width = level.shape[:2]
    total = height * width
    chosen = torch.arange(total) if total <= count else torch.randint(total, (count,), generator=generator)
    return Drawn(chosen // width, chosen % width, level.reshape(-1, 3)[chosen.numpy()], scale, corner)


def _joined(source: PixelSource, parts: list[Drawn]) -> PixelBatch:
    side = max(source.width, source.height)
    places, footprints = [], []
    for part in parts:
        width = float(1 << part.scale)
        at = torch.stack([part.columns, part.rows], dim=1).double()
        places.append((torch.tensor(part.corner) + width * (at + 0.5)) / side)
        footprints.append(torch.full((len(at),), width))
    codes = torch.from_numpy(as_floats(np.concatenate([part.values for part in parts])))
    codes = code_of(codes) if source.hdr else codes
    return PixelBatch(torch.cat(places).float(), torch.cat(footprints), codes)
