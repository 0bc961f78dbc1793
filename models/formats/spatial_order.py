"""Orders in which neighbours in space become neighbours in the file: what quantisation and compression live from."""

from __future__ import annotations

import numpy as np


def chunk_order(means: np.ndarray, chunk: int) -> np.ndarray:  # [N, 3] -> [N] int64
    """Rows so ordered that each run of `chunk` rows fills a small box.

    Space is halved along its longest side, at a multiple of `chunk` rows, until runs are that short. Boxes have no
    jumps as those of a space-filling curve have, and in a flat scene none is spent on the flat direction.
    """
    order = np.arange(len(means))
    pending = [(0, len(means))]
    while len(pending) > 0:
        start, stop = pending.pop()
        if stop - start <= chunk:
            continue
        rows = order[start:stop]
        box = means[rows]
        axis = int(np.argmax(box.max(axis=0).astype(np.float64) - box.min(axis=0)))
        half = -(-(stop - start) // (2 * chunk)) * chunk
        order[start:stop] = rows[np.argpartition(box[:, axis], half)]
        pending += [(start, start + half), (start + half, stop)]
    return order


def morton_order(means: np.ndarray) -> np.ndarray:  # [N, 3] -> [N] int64
    """Rows along a Z-order curve of 2^21 cells a side."""
    return np.argsort(morton_codes(means), kind="stable")


def morton_codes(means: np.ndarray) -> np.ndarray:  # [N, 3], N >= 1 -> [N] uint64
    """Numbers of the cells along the curve."""
    low = means.min(axis=0).astype(np.float64)
    extent = np.maximum(means.max(axis=0) - low, np.finfo(np.float32).tiny)
    codes = np.zeros(len(means), np.uint64)
    for axis in range(3):
        cell = ((means[:, axis] - low[axis]) / extent[axis] * ((1 << 21) - 1)).astype(np.uint64)
        codes |= _spread(cell) << np.uint64(axis)
    return codes


def _spread(cell: np.ndarray) -> np.ndarray:  # [N] uint64 below 2^21 -> [N] with two zero bits between bits
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        cell = (cell | cell << np.uint64(shift)) & np.uint64(mask)
    return cell
