"""Which rows stay: two cuts in the ranks of their responses, worked out once for every keep and ratio.

N rows. Source: arXiv 2405.00676, section 3.2.3: "keep" and the band-limited ratio gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How strongly each row stands out from its neighbours."""

    response: torch.Tensor  # [N] float32, 0 or more
    ranks: torch.Tensor  # [N] int32, 0 = the lowest response; equal ones in the order of the rows
    isolated: int
    """Rows without a neighbour in the graph."""

    def __len__(self) -> int:
        return len(self.response)

    def mask(self, keep: float, ratio: float) -> torch.Tensor:  # [N] bool
        """The rows that stay: exactly round(keep * N), of them round(ratio * kept) from the highest responses.

        Raises:
            ValueError: a share lies outside of 0 to 1.
        """
        low, high = cut_counts(len(self), keep, ratio)
        # Where the middle begins at 0, what is below it lies at the far end: one comparison instead of two.
        from_low = self.ranks.numpy().view(np.uint32) - np.uint32(low)
        return torch.from_numpy(from_low >= np.uint32(len(self) - low - high))


def of_scores(scores: np.ndarray) -> Spectrum:  # [N]
    """A spectrum of any scores, so that `mask(keep, 1)` keeps the highest, of equal ones the first."""
    order = np.argsort(-scores, kind="stable")
    ranks = np.empty(len(scores), np.int32)
    ranks[order] = np.arange(len(scores) - 1, -1, -1, dtype=np.int32)
    return Spectrum(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(ranks), 0)


def cut_counts(count: int, keep: float, ratio: float) -> tuple[int, int]:
    """How many rows stay of the lowest and of the highest responses.

    Raises:
        ValueError: a share lies outside of 0 to 1.
    """
    for name, value in (("keep", keep), ("ratio", ratio)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: {value}; it is a share and must be 0 to 1")
    kept = round(keep * count)
    high = round(ratio * kept)
    return kept - high, high


def of_response(response: np.ndarray, isolated: int) -> Spectrum:  # [N] float32
    """The spectrum of these responses."""
    order = np.argsort(response, kind="stable")
    ranks = np.empty(len(response), np.int32)
    ranks[order] = np.arange(len(response), dtype=np.int32)
    return Spectrum(torch.from_numpy(response), torch.from_numpy(ranks), isolated)
