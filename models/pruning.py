"""Which Gaussians stay when some must go: the criteria of the field side by side, each a score per row.

N rows. The rows with the highest scores stay; the band-stop alone keeps both ends. `scores` needs no camera for the
first six, and what cameras see of each row (`contributions`) for the others. All are as before fine-tuning: the rows
that stay are not changed. alpha * T is what a row gives to a pixel.

    band_stop       response of the spectrum (SUNDAE, arXiv 2405.00676)
    random          one number each, by a seed
    opacity         opacity
    size            -(largest scale): the largest go (3DGS prunes those above 0.1 of the scene's extent)
    opacity_volume  opacity * s0 * s1 * s2 (the order in which .splat files are written)
    density         -(mean distance to the nearest neighbours): those that stand alone go
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from typing_extensions import assert_never

from .gaussians import Gaussians
from .neighbours import nearest
from .sundae import SpectrumOptions, cut_counts, spectrum_of

Criterion = Literal["band_stop", "random", "opacity", "size", "opacity_volume", "density"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)


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
    gaussians: Gaussians, criterion: Criterion, options: PruningOptions = PruningOptions()
) -> torch.Tensor:  # [N] float32
    """How much each row is worth.

    Raises:
        ValueError: an option is out of its range, or as `h3d.models.sundae.spectrum`.
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
    assert_never(criterion)


def keep_mask(
    gaussians: Gaussians,
    criterion: Criterion,
    *,
    keep: float,
    ratio: float = 0.5,
    options: PruningOptions = PruningOptions(),
) -> torch.Tensor:  # [N] bool
    """The rows that stay, exactly round(keep * N); `ratio` is for band_stop alone.

    Of rows with equal scores the first ones stay.

    Raises:
        ValueError: a share lies outside of 0 to 1, or as `scores`.
    """
    if criterion == "band_stop":
        cut_counts(len(gaussians), keep, ratio)
        return spectrum_of(gaussians, options.spectrum).mask(keep, ratio)
    kept, _ = cut_counts(len(gaussians), keep, 0.0)
    order = torch.argsort(scores(gaussians, criterion, options), descending=True, stable=True)
    mask = torch.zeros(len(gaussians), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask
