"""What a step of Gaussians must be to be taken, and rows that nothing can be learnt from.

A step with a gradient that is no number is left out whole, before anything has been changed: the state is that of the
step before, so that there is nothing to restore. Gradients that are numbers leave numbers behind (Adam divides by
roots of squares that `wild_rows` knows to be finite). A row can go bad all the same: widths that grow until their
exponential overflows, places that something else than a gradient moves. The rasteriser does not draw such a row and it
gets no gradient, but it would stay for ever and spoil every mean over all rows: it is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from h3d.models.trained_gaussians import TrainedGaussians
from h3d.renderers.adam import wild_rows

INTERVAL = 100
"""Steps from one search for bad rows to the next."""
LARGEST = torch.finfo(torch.float32).max
WIDEST = math.log(LARGEST)
"""Of log_scales: the exponential is a float."""


def wild_gradients(gradients: Mapping[str, torch.Tensor]) -> str:  # [N, ...] of each group
    """Which groups have gradients that Adam must not be given, as a person reads it; empty where none has."""
    found = {name: wild_rows(array.reshape(array.shape[0], -1)) for name, array in gradients.items()}
    texts = [f"{name}: {_rows(count)} with gradients that are no numbers" for name, count in found.items() if count > 0]
    return ", ".join(texts)


def drop_bad_rows(rows: TrainedGaussians) -> str:
    """Drops rows that hold what is no number; returns how many of which group, as a person reads it.

    Raises:
        RuntimeError: no row is left.
    """
    good = torch.ones(len(rows), dtype=torch.bool, device=rows.ids.device)
    texts = []
    for name, group in rows.groups.items():
        fine = (group.values.isfinite() & (group.values <= (WIDEST if name == "log_scales" else LARGEST))).all(dim=1)
        if count := int((~fine).sum()):
            texts.append(f"{name}: {_rows(count)} with values that are no numbers")
        good &= fine
    if not texts:
        return ""
    if not bool(good.any()):
        raise RuntimeError(f"training: {', '.join(texts)}, and no row is left; go on from the last checkpoint")
    rows.keep(good)
    return f"{', '.join(texts)}, dropped"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
