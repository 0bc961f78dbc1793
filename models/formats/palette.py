"""k-means for SOG: codebooks of 256 numbers, and palettes of SH rows within bounded time.

N rows of D numbers. A codebook's values are sorted once, and then each round costs a few hundred look-ups. A palette is
found in two levels (rows into about sqrt(size) cells, each cell into its share), since a flat search over 65,536 rows
would take minutes; cells of like size go through the matrix product together.
Source: Lloyd 1982, "Least squares quantization in PCM".
"""

from __future__ import annotations

import numpy as np
import torch

BOOK = 256
BOOK_ROUNDS = 30
PALETTE_ROUNDS = 6
SAMPLE = 1 << 16
LARGEST_SHARE = 1024
"""Most palette rows in one cell: the bound on time when most rows fall into few cells."""
PRODUCTS = 1 << 24
"""Distances held at once."""


def codebook(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, C] -> [256] float32, [N, C] uint8
    """256 rising numbers and, for each value, the index of the nearest."""
    ordered = np.sort(values.reshape(-1).astype(np.float64))
    # Half by rank and half evenly between the extremes: dense where values are, and no tail forgotten.
    by_rank = np.quantile(ordered, np.linspace(0, 1, BOOK // 2))
    book = np.sort(np.concatenate([by_rank, np.linspace(ordered[0], ordered[-1], BOOK // 2)]))
    totals = np.concatenate([[0], np.cumsum(ordered)])
    for _ in range(BOOK_ROUNDS):
        inner = np.searchsorted(ordered, (book[:-1] + book[1:]) / 2)
        edges = np.concatenate([[0], inner, [len(ordered)]])
        sizes = np.diff(edges)
        means = np.diff(totals[edges]) / np.maximum(sizes, 1)
        moved = np.maximum.accumulate(np.where(sizes > 0, np.clip(means, ordered[0], ordered[-1]), book))
        if np.array_equal(moved, book):
            break
        book = moved
    book = book.astype(np.float32)
    middles = (book[:-1].astype(np.float64) + book[1:]) / 2
    return book, np.searchsorted(middles, values).astype(np.uint8)


def palette(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:  # [N, D] -> [size', D], [N] int64
    """At most `size` rows and, for each row given, the index of a near one; the rows themselves when they fit."""
    if len(rows) <= size:
        return rows, np.arange(len(rows))
    data = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
    sample = data[:: max(1, len(data) // SAMPLE)][None]
    count = torch.tensor([max(1, round(size**0.5))])
    centres = _centres(sample, torch.tensor([sample.shape[1]]), count)
    cell_of = _nearest(data[None], centres, count)[0]
    members = torch.bincount(cell_of, minlength=len(centres[0]))
    shares = _shares(data, cell_of, centres[0], members, size)
    starts = torch.cumsum(members, 0) - members
    firsts = torch.cumsum(shares, 0) - shares
    order = torch.argsort(cell_of, stable=True)
    found = torch.empty(int(shares.sum()), data.shape[1])
    labels = torch.empty(len(data), dtype=torch.int64)
    for cells in _groups(members, shares):
        most = int(members[cells].max())
        slots = torch.arange(most)[None]
        used = slots < members[cells, None]
        chosen = order[(starts[cells, None] + torch.where(used, slots, 0)).clamp_max(len(data) - 1)]
        near = _centres(data[chosen], members[cells], shares[cells])
        label = _nearest(data[chosen], near, shares[cells])
        labels[chosen[used]] = (firsts[cells, None] + label)[used]
        kept = torch.arange(near.shape[1])[None] < shares[cells, None]
        found[(firsts[cells, None] + torch.arange(near.shape[1])[None])[kept]] = near[kept]
    return found.numpy(), labels.numpy()


def _shares(
    data: torch.Tensor,  # [N, D]
    cell_of: torch.Tensor,  # [N]
    centres: torch.Tensor,  # [cells, D]
    members: torch.Tensor,  # [cells]
    size: int,
) -> torch.Tensor:
    """Palette rows for each cell, by the summed distance to its centre; never more than it has members."""
    errors = (data - centres[cell_of]).norm(dim=1)
    weight = torch.bincount(cell_of, errors.double(), minlength=len(centres)) + 1e-9
    share = torch.floor(weight / weight.sum() * (size - len(centres))).long() + 1
    return torch.minimum(share.clamp_max(LARGEST_SHARE), members)


def _groups(members: torch.Tensor, shares: torch.Tensor) -> list[torch.Tensor]:
    """Cells by falling size, cut so that the padded products of a group stay within bounds; empty cells left out."""
    groups: list[list[int]] = []
    room = most = 0
    for cell in torch.argsort(members, descending=True).tolist():
        if members[cell] == 0:
            break
        most = max(most, int(shares[cell]))
        if len(groups) == 0 or (len(groups[-1]) + 1) * room * most > PRODUCTS or 2 * int(members[cell]) < room:
            groups.append([])
            room, most = int(members[cell]), int(shares[cell])
        groups[-1].append(cell)
    return [torch.tensor(group) for group in groups]


def _centres(data: torch.Tensor, members: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """k-means of G sets at once: data [G, n, D] with `members` [G] rows each, `shares` [G] centres -> [G, k, D]."""
    sets, _, width = data.shape
    most = int(shares.max())
    slots = torch.arange(most)[None]
    # Rows come in no order of their values, so evenly spaced ones are as good a start as random ones.
    first = (slots * members[:, None] // shares[:, None]).clamp(max=data.shape[1] - 1)
    centres = torch.gather(data, 1, first[..., None].expand(-1, -1, width))
    used = torch.arange(data.shape[1])[None] < members[:, None]
    if bool((shares >= members).all()):
        return centres
    rows = data[used]
    for _ in range(PALETTE_ROUNDS):
        label = (_nearest(data, centres, shares) + most * torch.arange(sets)[:, None])[used]
        count = torch.bincount(label, minlength=sets * most)[:, None]
        sums = torch.zeros(sets * most, width).scatter_add_(0, label[:, None].expand_as(rows), rows)
        centres = torch.where(count > 0, sums / count.clamp_min(1), centres.reshape(-1, width)).reshape_as(centres)
    return centres


def _nearest(data: torch.Tensor, centres: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Index of the nearest of the first `shares` [G] centres [G, k, D], for every row [G, n, D] -> [G, n] int64."""
    half_norms = 0.5 * centres.square().sum(dim=-1)
    unused = torch.arange(centres.shape[1])[None] >= shares[:, None]
    half_norms = half_norms.masked_fill(unused, torch.inf)[:, None]
    block = max(1, PRODUCTS // (len(centres) * centres.shape[1]))
    turned = -centres.transpose(1, 2)
    return torch.cat([torch.baddbmm(half_norms, rows, turned).argmin(dim=-1) for rows in data.split(block, dim=1)], 1)
