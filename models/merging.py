"""Fewer Gaussians by merging instead of leaving out: two that lie together become one with their moments.

Leaving rows out loses what they covered, most of all where many faint rows make one surface. Here, round by round, each
row looks for the neighbour that costs the least to merge with; pairs that choose each other are merged, the cheapest
first, until exactly as many rows are left as were asked for. Letters: N rows, P pairs, w a row's cover: opacity times
area, the area being a third of the sum of the products of two scales, as of an ellipsoid seen from all around.

A merged row has the mean, the covariance and the colour of its two, weighted by w, and the sum of their covers as far
as an opacity can hold it. What it costs is min(w) (d^2 / (tr A + tr B) + c |rgb_a - rgb_b|^2): how far apart the two
are for their size, how unlike, and how little of the picture is changed. Ours; in the spirit of splat-transform's
decimation and of Runnalls 2007, "Kullback-Leibler approach to Gaussian mixture reduction" (moment-preserving merge).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from h3d.renderers import harmonics
from h3d.renderers.cancel import CancelFlag, Cancelled

from .gaussians import ROW_FIELDS, Gaussians
from .neighbours import nearest
from .sundae.cuts import cut_counts

NEIGHBOURS = 8
COLOR_WEIGHT = 16.0
MOST_OPAQUE = 0.99
SMALLEST = 1e-12
"""Variance below which a direction is as flat as it gets; scene units squared."""


def merged(
    gaussians: Gaussians,
    keep: float,
    *,
    progress: Callable[[float], object] | None = None,
    cancel: CancelFlag | None = None,
) -> Gaussians:
    """Exactly round(keep * N) rows, at least one where there are any; what nothing was merged into stays as it is.

    Merged rows get new ids. Deterministic. `progress` is told the share that is done.

    Raises:
        ValueError: keep lies outside of 0 to 1.
        Cancelled: the flag was set.
    """
    target = max(cut_counts(len(gaussians), keep, 0.0)[0], min(len(gaussians), 1))
    rows = gaussians.to("cpu")
    while len(rows) > target:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        first, second = _pairs(rows, len(rows) - target)
        rows = _merge(rows, first, second)
        if progress is not None:
            progress((len(gaussians) - len(rows)) / (len(gaussians) - target))
    return rows.to(gaussians.means.device)


def _pairs(rows: Gaussians, most: int) -> tuple[torch.Tensor, torch.Tensor]:  # [P] int64 twice
    """Disjoint pairs of rows, the cheapest first, one at least."""
    found = nearest(rows.means.numpy(), NEIGHBOURS, cached=False)
    order = torch.from_numpy(found.order.astype(np.int64))
    others = torch.empty(found.indices.shape, dtype=torch.int64)
    others[order] = order[torch.from_numpy(found.indices.astype(np.int64))]
    cost = _costs(rows, others)
    best = cost.argmin(dim=1, keepdim=True)
    lowest, partner = cost.gather(1, best)[:, 0], others.gather(1, best)[:, 0]
    index = torch.arange(len(rows))
    mutual = (partner[partner] == index) & (index < partner)
    chosen = mutual.nonzero()[:, 0]
    if len(chosen) == 0:  # Rings of equal costs: the cheapest row of all is merged by itself.
        chosen = lowest.argmin()[None]
    chosen = chosen[torch.argsort(lowest[chosen], stable=True)[:most]]
    return chosen, partner[chosen]


def _costs(rows: Gaussians, others: torch.Tensor) -> torch.Tensor:  # [N, k] int64 -> [N, k] float32
    cover, spread = _cover(rows), rows.scales.square().sum(dim=1)
    rgb = harmonics.dc_to_rgb(rows.sh[:, 0])
    apart = (rows.means[others] - rows.means[:, None]).square().sum(dim=2)
    unlike = (rgb[others] - rgb[:, None]).square().sum(dim=2)
    size = (spread[others] + spread[:, None]).clamp(min=SMALLEST)
    return torch.minimum(cover[others], cover[:, None]) * (apart / size + COLOR_WEIGHT * unlike)


def _merge(rows: Gaussians, first: torch.Tensor, second: torch.Tensor) -> Gaussians:  # [P], [P]
    """The rows without the pairs, and one row for each pair."""
    a, b = rows.keep(first), rows.keep(second)
    cover_a, cover_b = _cover(a).double(), _cover(b).double()
    total = cover_a + cover_b
    share = torch.where(total > 0, cover_a / total.clamp(min=1e-300), 0.5)[:, None]
    means = share * a.means.double() + (1.0 - share) * b.means.double()
    covariance = share[..., None] * _covariance(a, means) + (1.0 - share[..., None]) * _covariance(b, means)
    quats, scales = _axes(covariance)
    area = _area(scales)
    opacity = (total / area.clamp(min=1e-300)).clamp(1e-6, MOST_OPAQUE)
    left = torch.ones(len(rows), dtype=torch.bool)
    left[first] = left[second] = False
    made = replace(
        a,
        ids=torch.arange(len(first)) + int(rows.ids.max()) + 1,
        means=means.float(),
        quats=quats.float(),
        log_scales=scales.log().float(),
        logit_opacities=opacity.logit().float(),
        sh=(share[..., None] * a.sh.double() + (1.0 - share[..., None]) * b.sh.double()).float(),
    )
    stay = rows.keep(left)
    values = {name: torch.cat([getattr(stay, name), getattr(made, name)]) for name in ROW_FIELDS}
    return replace(stay.uncompensated, **values)


def _cover(rows: Gaussians) -> torch.Tensor:  # [N]
    return rows.opacities * _area(rows.scales)


def _area(scales: torch.Tensor) -> torch.Tensor:  # [N, 3] -> [N]
    x, y, z = scales.unbind(dim=1)
    return (x * y + x * z + y * z) / 3.0


def _covariance(rows: Gaussians, about: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P, 3, 3] float64
    """Second moments about other points."""
    half = _rotations(rows.quats.double()) * rows.scales.double()[:, None]
    away = rows.means.double() - about
    return half @ half.transpose(1, 2) + away[:, :, None] * away[:, None]


def _rotations(quats: torch.Tensor) -> torch.Tensor:  # [P, 4] wxyz -> [P, 3, 3]
    from scipy.spatial.transform import Rotation

    return torch.from_numpy(Rotation.from_quat(quats.numpy()[:, [1, 2, 3, 0]]).as_matrix().reshape(-1, 3, 3))


def _axes(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # [P, 3, 3] -> [P, 4] wxyz, [P, 3]
    """The rotation and the standard deviations whose covariance this is."""
    from scipy.spatial.transform import Rotation

    variances, vectors = np.linalg.eigh(covariance.numpy())
    vectors[..., 0] *= np.sign(np.linalg.det(vectors))[:, None]  # A mirror is no rotation.
    quats = Rotation.from_matrix(vectors).as_quat().reshape(-1, 4)[:, [3, 0, 1, 2]]
    return torch.from_numpy(quats), torch.from_numpy(np.sqrt(np.maximum(variances, SMALLEST)))
