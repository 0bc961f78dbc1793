"""The density of 3D Gaussians at any point: opacity times exp(-d^2 / 2) summed over the rows, d in deviations.

Rows count within `REACH` deviations. They are listed by the cells of an even grid that they reach into, and a point
asks the rows of its cell alone. What a point gets depends on nothing but the point: blocks that meet in it agree bit
for bit. N rows, P points, C cells, B blocks, R rows of a cell.
Source: Tang et al. 2023 (DreamGaussian), section 3.2, whose density this is; theirs has no cells, and takes of each
block the rows with a mean near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gaussians import Gaussians

THRESHOLD = 0.25
"""The density of the surface, where none is asked for: the outlines of meshes are then those of pictures, cut at half
cover (they share 0.96 of distilled objects). DreamGaussian's 1 lies within: its outlines share 0.77."""
REACH = 3.0
"""Deviations, beyond which a row counts for nothing: it has a ninetieth of its opacity there."""
FAINT = 0.05
"""Rows of less opacity do not decide how large the box is."""
STRAYS, MARGIN = 0.01, 0.25
"""The share of rows at either end of an axis that may be strays or too large, and the share of what the others span by
which rows may reach beyond those and still belong."""
SIDE, MAX_PAIRS = 24, 1 << 26
"""Cells along the longest side; fewer where rows are so large that the lists would become longer than this."""
SLACK = 1e-3
"""Of a cell: how far points may be outside of the one that they are counted to."""
AT_ONCE = 1 << 18
"""Pairs of a row and a point, or a cell."""


@dataclass(frozen=True, eq=False)
class GaussianDensity:
    """Rows ready to be asked, and the cells' lists of them."""

    means: np.ndarray  # [N, 3] float32
    whiten: np.ndarray  # [N, 6] float32: upper triangle, by rows, of U with U^T U = inverse covariance
    opacities: np.ndarray  # [N] float32
    box: np.ndarray  # [2, 3] float64
    cell: float
    shape: tuple[int, int, int]  # cells along x, y, z
    starts: np.ndarray  # [C + 1] where each cell's rows begin in `listed`
    listed: np.ndarray  # int32, rows in rising order within a cell
    most: np.ndarray  # [x, y, z] float32, no point of the cell is denser
    """Cells are numbered with z the fastest."""

    @staticmethod
    def of(gaussians: Gaussians) -> GaussianDensity:
        """Raises: ValueError where no row is opaque enough to have a surface."""
        means, scales, axes, opacities = _in_order(gaussians)
        reach = REACH * np.linalg.norm(axes * scales[:, None, :], axis=2)  # [N, 3] half the box about each row
        box = _bounds(means, reach, opacities)
        sides, longest = box[1] - box[0], float((box[1] - box[0]).max())
        number = SIDE
        while number > 1 and _pairs(means, reach, box, longest / number) > MAX_PAIRS:
            number //= 2
        cell = longest / number
        nx, ny, nz = (max(int(np.ceil(side / cell - 1e-6)), 1) for side in sides)
        cells, rows = _listed(means, scales, axes, reach, box[0], cell, (nx, ny, nz))
        order = np.lexsort((rows, cells))
        cells, rows = cells[order], rows[order]
        starts = np.searchsorted(cells, np.arange(nx * ny * nz + 1))
        most = np.bincount(cells, opacities[rows], minlength=nx * ny * nz).reshape(nx, ny, nz)
        upper = np.linalg.qr(np.swapaxes(axes, 1, 2) / scales[:, :, None])[1]
        return GaussianDensity(
            means.astype(np.float32),
            upper[(slice(None), *np.triu_indices(3))].astype(np.float32),
            opacities.astype(np.float32),
            box,
            cell,
            (nx, ny, nz),
            starts,
            rows,
            most,
        )

    def at(self, points: np.ndarray) -> np.ndarray:  # [P, 3] -> [P] float32
        """The density; 0 beyond the box."""
        # Points on the faces of the box belong to its cells, though rounding may have put them outside.
        along = (points - self.box[0]) / self.cell
        inside = ((along > -SLACK) & (along < np.array(self.shape) + SLACK)).all(axis=1)
        place = np.clip(np.floor(along).astype(np.int64), 0, np.array(self.shape) - 1)
        number = np.where(inside, np.ravel_multi_index(place.T, self.shape), -1)
        order = np.argsort(number, kind="stable")
        cells, firsts = np.unique(number[order], return_index=True)
        found = np.zeros(len(points), np.float32)
        for cell, part in zip(cells, np.split(order, firsts[1:]), strict=True):
            rows = self.listed[self.starts[cell] : self.starts[cell + 1]] if cell >= 0 else ()
            if len(rows) == 0:
                continue
            step = max(AT_ONCE // len(rows), 1)
            for start in range(0, len(part), step):
                some = part[start : start + step]
                found[some] = self._summed(points[some], rows)
        return found

    def may_reach(self, lows: np.ndarray, highs: np.ndarray, density: float) -> np.ndarray:  # [B, 3] twice -> [B] bool
        """Whether a block can hold a point of that density: never false where it does."""
        first = np.clip(np.floor((lows - self.box[0]) / self.cell - SLACK).astype(int), 0, np.array(self.shape) - 1)
        last = np.clip(np.ceil((highs - self.box[0]) / self.cell + SLACK).astype(int), 1, self.shape)
        found = [self.most[a:d, b:e, c:f].max() for (a, b, c), (d, e, f) in zip(first, last, strict=True)]
        return np.array(found) >= density

    def _summed(self, points: np.ndarray, rows: np.ndarray) -> np.ndarray:  # [P, 3], [R] -> [P]
        """Plain sums and products, no matrix product: that would round differently with the number of points."""
        x, y, z = (points[:, k, None].astype(np.float32) - self.means[rows, k] for k in range(3))
        xx, xy, xz, yy, yz, zz = self.whiten[rows].T
        square = (xx * x + xy * y + xz * z) ** 2 + (yy * y + yz * z) ** 2 + (zz * z) ** 2
        weight = np.exp(-0.5 * square) * self.opacities[rows]
        return np.where(square <= REACH**2, weight, np.float32(0.0)).sum(axis=1)


def _in_order(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means [N, 3], scales [N, 3], axes as columns [N, 3, 3] and opacities [N], in an order that is not the file's."""
    from scipy.spatial.transform import Rotation

    means, log_scales, quats, logits = (
        array.detach().cpu().double().numpy()
        for array in (gaussians.means, gaussians.log_scales, gaussians.quats, gaussians.logit_opacities)
    )
    # Not the activated forms of the asset: torch rounds the last few rows of an array differently from the others.
    with np.errstate(over="ignore"):
        scales, opacities = np.exp(log_scales), 1.0 / (1.0 + np.exp(-logits))
    finite = np.isfinite(means).all(axis=1) & np.isfinite(scales).all(axis=1) & np.isfinite(opacities)
    kept = np.flatnonzero(finite & (opacities > 0.0))
    kept = kept[np.lexsort((*means[kept].T, *scales[kept].T, opacities[kept]))]
    # A row that is flat to the last bit would have no inverse.
    scales = np.maximum(scales[kept], 1e-6 * scales[kept].max(axis=1, keepdims=True, initial=0.0) + 1e-30)
    axes = Rotation.from_quat(quats[kept][:, [1, 2, 3, 0]]).as_matrix()
    return means[kept], scales, axes, opacities[kept]


def _bounds(means: np.ndarray, reach: np.ndarray, opacities: np.ndarray) -> np.ndarray:  # -> [2, 3]
    """All that the rows reach that belong together: strays far from the others would make its cells coarse."""
    solid = opacities >= FAINT
    if not solid.any():
        raise ValueError(
            f"the Gaussians: none of {len(means):,} has an opacity of {FAINT} or more, so that there is no surface; "
            "train them further, or choose others"
        )
    lows, highs = means - reach, means + reach
    low, high = np.quantile(lows[solid], STRAYS, axis=0), np.quantile(highs[solid], 1.0 - STRAYS, axis=0)
    low, high = low - MARGIN * (high - low).max(), high + MARGIN * (high - low).max()
    solid &= ((means >= low) & (means <= high)).all(axis=1)
    return np.clip(np.stack([lows[solid].min(axis=0), highs[solid].max(axis=0)]), low, high)


def _spans(means: np.ndarray, reach: np.ndarray, low: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last cell along each axis [N, 3] that the boxes about the rows reach into."""
    first, last = (means - reach - low) / cell - SLACK, (means + reach - low) / cell + SLACK
    return np.floor(first).astype(np.int64), np.ceil(last).astype(np.int64)


def _pairs(means: np.ndarray, reach: np.ndarray, box: np.ndarray, cell: float) -> float:
    number = np.ceil((box[1] - box[0]) / cell)
    first, last = _spans(means, reach, box[0], cell)
    return float((np.clip(last, 0, number) - np.clip(first, 0, number)).prod(axis=1).sum())


def _listed(
    means: np.ndarray,
    scales: np.ndarray,
    axes: np.ndarray,
    reach: np.ndarray,
    low: np.ndarray,
    cell: float,
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a cell and a row that reaches into it, as two arrays: a box of axes' reach, a little more than its
    ellipsoid, meets the cell."""
    first, last = _spans(means, reach, low, cell)
    first, last = np.clip(first, 0, shape), np.clip(last, 0, shape)
    cells, rows = [], []
    counts = (last - first).prod(axis=1)
    for part in np.array_split(np.arange(len(means)), int(counts.sum()) // AT_ONCE + 1):
        row = np.repeat(part, counts[part])
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        size = (last - first)[row]
        place = np.stack([place // (size[:, 1] * size[:, 2]), place // size[:, 2] % size[:, 1], place % size[:, 2]], 1)
        place += first[row]
        off = low + (place + 0.5) * cell - means[row]  # [pairs, 3]
        along = np.abs(np.einsum("pj,pjk->pk", off, axes[row]))
        half = (0.5 + SLACK) * cell * np.abs(axes[row]).sum(axis=1)
        met = (along <= REACH * scales[row] + half).all(axis=1)
        cells.append(np.ravel_multi_index(place[met].T, shape).astype(np.int32))
        rows.append(row[met].astype(np.int32))
    return np.concatenate(cells), np.concatenate(rows)
