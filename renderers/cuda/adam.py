"""Adam on a GPU in torch: the rules of `renderers/cpu/adam.h` for all rows at once.

The door, `renderers/adam.py`, has checked the arguments. N rows of F values.
"""

from __future__ import annotations

import torch

from h3d.renderers.adam import BETA1, EPSILON, AdamOptions, AdamRows


def adam_step(
    rows: AdamRows,
    gradient: torch.Tensor,  # [N, F]
    *,
    step: int,
    options: AdamOptions,
    live: torch.Tensor | None = None,  # [N] bool
    factors: torch.Tensor | None = None,  # [F]
) -> None:
    """One step in place."""
    moved = (gradient != 0).any(1) if options.skip_zero_rows else torch.ones_like(rows.counts, dtype=torch.bool)
    moved = moved if live is None else moved & live
    rows.counts.add_(moved.to(torch.int32))
    # Of rows that have not moved yet, which do not move now either, the factor is never used.
    made = rows.counts.clamp(min=1).double()
    debias = ((1.0 - options.beta2**made).sqrt() / (1.0 - BETA1**made)).float()
    kept = (options.decay ** (step - 1 - rows.last).double()).float()
    rows.last.copy_(torch.where(moved, step, rows.last))
    slope = gradient + options.l2 * rows.values
    first = torch.lerp(slope, rows.first, BETA1)
    second = torch.lerp(slope * slope, rows.second, options.beta2)
    rate = options.learning_rate * debias[:, None] * (1.0 if factors is None else factors)
    values = rows.values - rate * first / (second.sqrt() + EPSILON)
    changes = [(rows.first, first), (rows.second, second), (rows.values, values)]
    if rows.average.shape[1] > 0:
        # What the average missed while the row stood still, then this step.
        average = torch.lerp(rows.values, rows.average, kept[:, None])
        changes.append((rows.average, torch.lerp(values, average, options.decay)))
    for array, changed in changes:
        array.copy_(torch.where(moved[:, None], changed, array))
