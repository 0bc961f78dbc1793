"""The door to Adam for arrays of which a batch touches a part, with a running average of the values for display.

N rows of F values. Differs from the textbook: every row counts its own steps, rows whose gradient is all zero can be
skipped whole (hash tables), and rows that are not live (Gaussians out of sight or deleted); L2 is added to the gradient
(networks). The average of a skipped row is made up for when the row is next touched or looked at: its value stood
still, so that the same numbers come out as with no row skipped. Rows come and go with all that is theirs.
Source: Kingma and Ba 2015; Mueller et al. 2022, section 4; betas and epsilon are Instant-NGP's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module

import torch

from . import backends
from .shapes import check

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-15
LARGEST = 1.8e19
"""Of a gradient: its square is still a float32."""


@dataclass(frozen=True)
class AdamOptions:
    """How one step is made."""

    learning_rate: float = 1e-2
    l2: float = 0.0
    """Pull towards zero, added to the gradient as this times the value."""
    decay: float = 0.95
    """Of the running average: the share of it that a step keeps."""
    skip_zero_rows: bool = False
    beta2: float = BETA2
    """Of the mean of squares: the share of it that a step keeps; Gaussians are trained with 0.999."""


@dataclass(frozen=True, eq=False)
class AdamRows:
    """One array and all that moves with it, contiguous, changed in place."""

    values: torch.Tensor  # [N, F] float32, what is optimised
    first: torch.Tensor  # [N, F] mean of the gradients
    second: torch.Tensor  # [N, F] mean of their squares
    average: torch.Tensor  # [N, F] running average of the values, as of the row's last step; [N, 0] where none is kept
    counts: torch.Tensor  # [N] int32, steps that the row has made
    last: torch.Tensor  # [N] int32, the run's step at which it last moved

    @staticmethod
    def of(values: torch.Tensor, *, averaged: bool = True) -> AdamRows:  # [N, F]
        """A copy of `values` before the first step; without a running average where nobody looks at one."""
        rows = torch.zeros(values.shape[0], dtype=torch.int32, device=values.device)
        zeros = torch.zeros_like(values)
        average = values.clone() if averaged else values[:, :0].clone()
        return AdamRows(values.clone(), zeros, zeros.clone(), average, rows, rows.clone())

    def __len__(self) -> int:
        return self.values.shape[0]

    def keep(self, rows: torch.Tensor) -> AdamRows:
        """The rows where the boolean mask [N] is true, or at the integer indices, in that order, moments and all."""
        places = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        return AdamRows(**{field.name: getattr(self, field.name).index_select(0, places) for field in fields(self)})

    def append(self, values: torch.Tensor) -> AdamRows:  # [M, F]
        """These rows, and after them `values` before their first step."""
        other = AdamRows.of(values, averaged=self.average.shape[1] > 0)
        joined = {
            field.name: torch.cat([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self)
        }
        return AdamRows(**joined)

    def widen(self, width: int) -> AdamRows:
        """These rows with F numbers each up to `width`: zeros at the end, of no gradient so far."""
        more = width - self.values.shape[1]
        if more <= 0:
            return self
        wide = {name: torch.nn.functional.pad(getattr(self, name), (0, more)) for name in ("values", "first", "second")}
        average = torch.nn.functional.pad(self.average, (0, more)) if self.average.shape[1] > 0 else self.average
        return replace(self, average=average, **wide)

    def restart(self, rows: torch.Tensor, values: torch.Tensor) -> None:  # [M] indices or [N] mask, [M, F]
        """Puts `values` into `rows`, in place, as before their first step."""
        self.values[rows] = values
        if self.average.shape[1] > 0:
            self.average[rows] = values
        for array in (self.first, self.second, self.counts, self.last):
            array[rows] = 0

    def to(self, device: torch.device) -> AdamRows:
        """The arrays on `device`; those that lie there already are not copied."""
        return AdamRows(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def averaged(self, step: int, decay: float) -> torch.Tensor:  # [N, F]
        """The running average as of the run's step `step`, a new array; the values where none is kept."""
        if self.average.shape[1] == 0:
            return self.values.clone()
        missed = (step - self.last).float()
        return torch.lerp(self.values, self.average, (decay**missed)[:, None])

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        return {f"{name}.{field.name}": getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_tensors(name: str, tensors: Mapping[str, torch.Tensor]) -> AdamRows:
        """Raises: KeyError for an array that is missing, ValueError for one of another shape or type."""
        rows = AdamRows(**{field.name: tensors[f"{name}.{field.name}"].clone() for field in fields(AdamRows)})
        _check(rows, rows.values)
        return rows


def adam_step(
    rows: AdamRows,
    gradient: torch.Tensor,  # [N, F]
    *,
    step: int,
    options: AdamOptions,
    live: torch.Tensor | None = None,  # [N] bool
    factors: torch.Tensor | None = None,  # [F] float32
) -> None:
    """One step in place, on the device of the rows; `step` counts the run's steps from 1.

    Rows that are not `live` stand still, moments and count too; None = all are live. `factors` of the
    learning rate are those of each column, None = all one: so what is read as one array may be learnt at two rates.

    On the CPU the same bits at every number of threads.

    Raises:
        ValueError: an array has a wrong shape or type; the sentence says which.
    """
    _check(rows, gradient)
    if live is not None:
        check(live, "[N]", "live", {"N": len(rows)})
        if live.dtype != torch.bool or live.device != gradient.device:
            raise ValueError(f"live: it is {live.dtype} on {live.device}; must be torch.bool on {gradient.device}")
    if factors is not None:
        check(factors, "[F]", "factors", {"F": rows.values.shape[1]})
        if factors.dtype != torch.float32 or factors.device != gradient.device:
            raise ValueError(
                f"factors: it is {factors.dtype} on {factors.device}; must be torch.float32 on {gradient.device}"
            )
    if gradient.device != rows.values.device:
        raise ValueError(f"gradient: it is on {gradient.device}, the rows are on {rows.values.device}; must be on one")
    if backends.for_device("auto", rows.values.device) == "cuda":
        import_module("h3d.renderers.cuda.adam").adam_step(
            rows, gradient, step=step, options=options, live=live, factors=factors
        )
        return
    backends.kernels().adam_step(
        *(getattr(rows, field.name).numpy() for field in fields(rows)),
        gradient.contiguous().numpy(),
        None if live is None else live.contiguous().view(torch.uint8).numpy(),
        None if factors is None else factors.contiguous().numpy(),
        step,
        options.learning_rate,
        options.l2,
        options.decay,
        options.beta2,
        options.skip_zero_rows,
    )


def wild_rows(gradient: torch.Tensor) -> int:  # [N, F]
    """How many rows Adam must not be given: they hold what is no number, is infinite, or has a square that is.

    A NaN would stay in both means for good; so would an infinite square, and its value would never move again.
    """
    if gradient.numel() == 0:
        return 0
    # One pass without a copy; a NaN comes through it.
    low, high = gradient.aminmax()
    if -LARGEST <= float(low) and float(high) <= LARGEST:
        return 0
    return int((~(gradient.abs() <= LARGEST)).any(dim=1).sum())


def _check(rows: AdamRows, gradient: torch.Tensor) -> None:
    sizes: dict[str, int] = {}
    for name in ("values", "first", "second"):
        check(getattr(rows, name), "[N, F]", name, sizes)
    check(rows.average, "[N, 0]" if rows.average.shape[-1] == 0 else "[N, F]", "average", sizes)
    check(rows.counts, "[N]", "counts", sizes)
    check(rows.last, "[N]", "last", sizes)
    check(gradient, "[N, F]", "gradient", sizes)
    for name, dtype in (("values", torch.float32), ("counts", torch.int32), ("last", torch.int32)):
        if getattr(rows, name).dtype != dtype:
            raise ValueError(f"{name}: it is {getattr(rows, name).dtype}; must be {dtype}")
