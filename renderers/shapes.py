"""Checks arrays against the shapes that the comments speak: `check(means, "[N, 3]", "means", sizes)`.

A letter stands for a size that is free at its first use and fixed from then on, within one `sizes` dict; a number must
be met. The sentence of the error names the argument, its shape and the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Shaped(Protocol):
    """Anything with a shape: a torch tensor, a numpy array."""

    @property
    def shape(self) -> Sequence[int]: ...


def check(array: Shaped, rule: str, name: str, sizes: dict[str, int]) -> None:
    """Checks `array` against `rule`, such as "[N, K, 3]", and notes the letters' sizes in `sizes`.

    Raises:
        ValueError: the number of axes, a number or an already fixed letter does not fit.
    """
    axes = [axis.strip() for axis in rule.strip("[]").split(",") if axis.strip()]
    shape = [int(size) for size in array.shape]
    known = ", ".join(f"{axis} = {sizes[axis]}" for axis in axes if axis in sizes)
    where = f" with {known}" if known else ""
    fits = len(shape) == len(axes)
    for axis, size in zip(axes, shape, strict=False):
        fits = fits and size == (int(axis) if axis.isdigit() else sizes.get(axis, size))
    if not fits:
        raise ValueError(f"{name}: its shape is {shape}; it must be {rule}{where}")
    for axis, size in zip(axes, shape, strict=True):
        if not axis.isdigit():
            sizes[axis] = size
