"""k-means for SOG: codebooks of 256 numbers, and palettes of SH rows within bounded time.

Source: Lloyd 1982. A codebook's values are sorted once and then each round costs a few hundred look-ups; a palette
is found in two levels (rows into about sqrt(size) cells, each cell into its share), since a flat search over 65,536
rows would take minutes.
"""

from __future__ import annotations

import numpy as np
import torch

BOOK = 256
BOOK_ROUNDS = 30
PALETTE_ROUNDS = 6
SAMPLE = 1 << 16


def codebook(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, C] -> [256] float32, [N, C] uint8
    """256 rising numbers and, for each value, the index of the nearest."""
    ordered = np.sort(values.reshape(-1).astype(np.float64))
    book = _first_book(ordered)
    totals = np.concatenate([[0], np.cumsum(ordered)])
    for _ in range(BOOK_ROUNDS):
        edges = np.searchsorted(ordered, (book[:-1] + book[1:]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        sizes = np.diff(edges)
        means = np.diff(totals[edges]) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, np.clip(means, ordered[0], ordered[-1]), book)
        if np.array_equal(moved, book):
            break
        book = np.maximum.accumulate(moved)
    book = book.astype(np.float32)
    middles = (book[:-1].astype(np.float64) + book[1:]) / 2
    return book, np.searchsorted(middles, values).astype(np.uint8)


def palette(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:  # [N, D] -> [size', D], [N] int64
    """At most `size` rows and, for each row given, the index of a near one; as many as there are when they fit."""
    if len(rows) <= size:
        return rows, np.arange(len(rows))
    data = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
    generator = torch.Generator().manual_seed(0)
    cells = max(1, round(size**0.5))
    centres = _lloyd(data[torch.randperm(len(data), generator=generator)[:SAMPLE]], cells, generator)
    cell_of = _nearest(data, centres)
    centroids, labels = [], torch.empty(len(data), dtype=torch.int64)
    order = torch.argsort(cell_of, stable=True)
    sizes = torch.bincount(cell_of, minlength=len(centres)).tolist()
    shares = _shares(data, cell_of, centres, size)
    start = found = 0
    for members, share in zip(sizes, shares, strict=True):
        if members == 0:
            continue
        chosen = order[start : start + members]
        start += members
        near = _lloyd(data[chosen], share, generator)
        labels[chosen] = found + _nearest(data[chosen], near)
        centroids.append(near)
        found += len(near)
    return torch.cat(centroids).numpy(), labels.numpy()


def _first_book(ordered: np.ndarray) -> np.ndarray:  # [n] rising -> [256] rising
    """Half of the numbers by rank, half evenly between the extremes: dense where values are, and no tail forgotten."""
    by_rank = np.quantile(ordered, np.linspace(0, 1, BOOK // 2))
    evenly = np.linspace(ordered[0], ordered[-1], BOOK // 2)
    return np.sort(np.concatenate([by_rank, evenly]))


def _shares(data: torch.Tensor, cell_of: torch.Tensor, centres: torch.Tensor, size: int) -> list[int]:
    """Palette rows for each cell, by its summed distance to its centre (square root of energy times members)."""
    members = torch.bincount(cell_of, minlength=len(centres))
    errors = (data - centres[cell_of]).norm(dim=1)
    weight = torch.bincount(cell_of, errors, minlength=len(centres)) + 1e-9 * members
    share = torch.floor(weight / weight.sum() * (size - len(centres))).long() + 1
    return torch.minimum(share, members.clamp_min(1)).tolist()


def _lloyd(data: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:  # [n, D] -> [<= size, D]
    if size >= len(data):
        return data
    centres = data[torch.randperm(len(data), generator=generator)[:size]].clone()
    for _ in range(PALETTE_ROUNDS):
        nearest = _nearest(data, centres)
        members = torch.bincount(nearest, minlength=size)
        sums = torch.zeros_like(centres).scatter_add_(0, nearest[:, None].expand_as(data), data)
        centres = torch.where(members[:, None] > 0, sums / members.clamp_min(1)[:, None], centres)
    return centres


def _nearest(data: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:  # [n, D], [k, D] -> [n] int64
    half_norms = 0.5 * centres.square().sum(dim=1)
    block = max(1, (1 << 24) // max(1, len(centres)))
    return torch.cat([(half_norms - rows @ centres.T).argmin(dim=1) for rows in data.split(block)])
