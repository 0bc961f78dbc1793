"""Which Gaussians stay when some must go: the criteria of the field side by side, each a score per row.

N rows. The rows with the highest scores stay; the band-stop alone keeps both ends. All are as before fine-tuning: the
rows that stay are not changed.

Without cameras:

    band_stop       response of the spectrum (SUNDAE, arXiv 2405.00676)
    random          one number each, by a seed
    opacity         opacity
    size            -(largest scale): the largest go (3DGS prunes those above 0.1 of the scene's extent)
    opacity_volume  opacity * s0 * s1 * s2 (the order in which .splat files are written)
    density         -(mean distance to the nearest neighbours): those that stand alone go

From what cameras see, alpha * T being what a row gives to a pixel:

    hit_count       pixels in which alpha * T is above 0 (LightGaussian's count)
    lightgaussian   sum of alpha * T * (V / V_90)^0.1, V = s0 * s1 * s2, V_90 the one at 90 % of the descending order
                    (Fan et al. 2023; their code sums opacity * T, without the fall-off from the centre)
    mini_splatting  sum of alpha * T; 0 where the row is no pixel's greatest (Fang and Wang 2024)
    radsplat        largest alpha * T (Niemeyer et al. 2024)
    sensitivity     sum over pixels of the squared slope of the colours by the row's value there (Speedy-Splat, Hanson
                    et al. 2025)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.renderers import Contributions

from .gaussians import Gaussians
from .neighbours import nearest
from .sundae import Spectrum, SpectrumOptions, cut_counts, spectrum_of
from .sundae.cuts import of_scores

Criterion = Literal[
    "band_stop",
    "random",
    "opacity",
    "size",
    "opacity_volume",
    "density",
    "hit_count",
    "lightgaussian",
    "mini_splatting",
    "radsplat",
    "sensitivity",
]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
WITH_CAMERAS: tuple[Criterion, ...] = ("hit_count", "lightgaussian", "mini_splatting", "radsplat", "sensitivity")
"""Those that need what cameras see of each row."""
VOLUME_POWER, VOLUME_PLACE = 0.1, 0.9


@dataclass(frozen=True)
class PruningOptions:
    """What the criteria leave open."""

    spectrum: SpectrumOptions = SpectrumOptions()
    """Of band_stop."""
    k: int = 10
    """Neighbours of density."""
    seed: int = 0
    """Of random."""


def scores(
    gaussians: Gaussians,
    criterion: Criterion,
    options: PruningOptions = PruningOptions(),
    seen: Contributions | None = None,
) -> torch.Tensor:  # [N] float32 or float64
    """How much each row is worth. `seen` is what cameras see of the rows (`h3d.models.viewpoints`).

    Raises:
        ValueError: `seen` is missing, an option is out of its range, or as `h3d.models.sundae.spectrum`.
    """
    gaussians = gaussians.to("cpu")
    if criterion == "band_stop":
        return spectrum_of(gaussians, options.spectrum).response
    if criterion == "random":
        return torch.rand(len(gaussians), generator=torch.Generator().manual_seed(options.seed))
    if criterion == "opacity":
        return gaussians.opacities
    if criterion == "size":
        return -gaussians.scales.amax(dim=1)
    if criterion == "opacity_volume":
        # As a logarithm, which orders alike: the product of three tiny scales would be 0.
        return torch.nn.functional.logsigmoid(gaussians.logit_opacities) + gaussians.log_scales.sum(dim=1)
    if criterion == "density":
        neighbours = nearest(gaussians.means.numpy(), options.k)
        alone = neighbours.distances.shape[1] == 0
        distances = np.zeros(len(gaussians), np.float32) if alone else neighbours.distances.mean(axis=1)
        return torch.from_numpy(-neighbours.by_point(distances))
    if seen is None or len(seen.total) != len(gaussians):
        of = "nothing" if seen is None else f"{len(seen.total):,} rows"
        rule = f"criterion {criterion}: needs what cameras see of all {len(gaussians):,} rows, {of} was given"
        raise ValueError(f"{rule}; see h3d.models.viewpoints.seen_from")
    return _seen_scores(gaussians, criterion, seen)


def _seen_scores(
    gaussians: Gaussians,
    criterion: Literal["hit_count", "lightgaussian", "mini_splatting", "radsplat", "sensitivity"],
    seen: Contributions,
) -> torch.Tensor:  # [N]
    if criterion == "hit_count":
        return seen.pixels.double()
    if criterion == "lightgaussian":
        return seen.total * _volume_factors(gaussians)
    if criterion == "mini_splatting":
        return torch.where(seen.top_pixels > 0, seen.total, 0.0)
    if criterion == "radsplat":
        return seen.greatest
    if criterion == "sensitivity":
        if seen.sensitivity is None:
            raise ValueError("criterion sensitivity: what cameras see was worked out without it; see seen_from")
        return seen.sensitivity
    assert_never(criterion)


def _volume_factors(gaussians: Gaussians) -> torch.Tensor:  # [N] float64
    """(V / V_90)^0.1; in logarithms, where the volume of tiny ones does not become 0."""
    volumes = gaussians.log_scales.double().sum(dim=1)
    if len(volumes) == 0:
        return volumes
    place = min(int(VOLUME_PLACE * len(volumes)), len(volumes) - 1)
    return (VOLUME_POWER * (volumes - volumes.sort(descending=True).values[place])).exp()


def ranking(
    gaussians: Gaussians,
    criterion: Criterion,
    options: PruningOptions = PruningOptions(),
    seen: Contributions | None = None,
    *,
    cached: bool = True,
) -> Spectrum:
    """All rows ranked once, for every cut after that; but for the band-stop, cuts keep the highest: ratio 1.

    `cached` is for band_stop: see `h3d.models.sundae.spectrum`. Raises: as `scores`.
    """
    if criterion == "band_stop":
        return spectrum_of(gaussians, options.spectrum, cached=cached)
    return of_scores(scores(gaussians, criterion, options, seen).numpy())


def keep_mask(
    gaussians: Gaussians,
    criterion: Criterion,
    *,
    keep: float,
    ratio: float = 0.5,
    options: PruningOptions = PruningOptions(),
    seen: Contributions | None = None,
) -> torch.Tensor:  # [N] bool
    """The rows that stay, exactly round(keep * N); `ratio` is for band_stop alone.

    Of rows with equal scores the first ones stay.

    Raises:
        ValueError: a share lies outside of 0 to 1, or as `scores`.
    """
    cut_counts(0, keep, ratio)
    found = ranking(gaussians, criterion, options, seen)
    return found.mask(keep, ratio if criterion == "band_stop" else 1.0)
