"""Passes of noisy fields added up: how a path-traced picture gets better while it is looked at.

On a screen a tab
keeps the sums of its last picture and adds to them for as long as nothing changes (`GrowingPasses`): both sides of a
comparison get the same time, whatever a pass of theirs costs. A picture for a file has a fixed number of passes,
measured to take the time that the display allows (`FixedPasses`). R rays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch

from h3d.renderers.fields import RenderedRays

Look = Callable[[int], RenderedRays]
"""One pass, by its number."""

SLICE_SECONDS = 0.2
"""Time that a sum gets more with every picture."""
MOST_PASSES = 1 << 16


@dataclass(eq=False)
class PassSum:
    """The passes of one field in one rectangle so far."""

    total: RenderedRays | None = None
    passes: int = 0
    seconds: float = 0.0

    def add(self, look: Look) -> None:
        """One more pass. Raises `Cancelled`, and then it is as it was."""
        began = time.perf_counter()
        seen = look(self.passes)
        self.total = _weighted(seen) if self.total is None else _added(self.total, seen)
        self.passes += 1
        self.seconds += time.perf_counter() - began

    @property
    def mean(self) -> RenderedRays:
        """The picture so far; needs a pass."""
        assert self.total is not None
        share, alpha = 1.0 / self.passes, self.total.alpha
        return RenderedRays(
            rgb=self.total.rgb * share,
            alpha=alpha * share,
            depth=torch.where(alpha > 0, self.total.depth / alpha.clamp(min=1e-12), 0.0),
            counts=self.total.counts,
            normals=None if self.total.normals is None else self.total.normals * share,
        )


@dataclass(frozen=True)
class FixedPasses:
    """The same number of passes for every rectangle, nothing kept between them."""

    count: int = 1

    def of_larger(self, samples: int) -> FixedPasses:
        """As many looks at a pixel in all when the picture is drawn at `samples` times its size."""
        return FixedPasses(max(1, self.count // (samples * samples)))

    def mean(self, key: Hashable, share: float, look: Look) -> RenderedRays:
        """What the passes show on average. Raises `Cancelled`."""
        del key, share
        found = PassSum()
        for _ in range(self.count):
            found.add(look)
        return found.mean


class GrowingPasses:
    """The sums behind one tab's picture. Used by the tab's render loop alone, `begin` before every picture."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, tuple[PassSum, int]] = {}  # and how many pictures it has been in
        self._used: dict[Hashable, tuple[PassSum, int]] = {}
        self._seconds = 0.0

    def begin(self, seconds: float) -> None:
        """A new picture, whose sums get `seconds` at most; those that the last one had no use for are forgotten."""
        self._sums, self._used, self._seconds = self._used, {}, seconds

    def mean(self, key: Hashable, share: float, look: Look) -> RenderedRays:
        """What the passes show on average: one pass for a new key, else those that fit one more slice of time.

        `share` is the rectangle's of its whole picture: half a picture gets half the time. Raises `Cancelled`.
        """
        found, pictures = self._sums.get(key, (PassSum(), 0))
        self._used[key] = found, pictures  # Also where it is cancelled: what it has is kept.
        if found.passes == 0:
            found.add(look)
        allowed = share * min(pictures * SLICE_SECONDS, self._seconds)
        while found.seconds * (1.0 + 0.5 / found.passes) < allowed and found.passes < MOST_PASSES:
            found.add(look)
        self._used[key] = found, pictures + 1
        return found.mean

    @property
    def refines(self) -> bool:
        """Whether the picture goes on with sums of the one before: what it took says little of what one costs."""
        return any(key in self._sums for key in self._used)

    @property
    def unfinished(self) -> bool:
        """Whether a sum of the picture has not had all its time."""
        return any((pictures - 1) * SLICE_SECONDS < self._seconds for _, pictures in self._used.values())

    @property
    def report(self) -> list[tuple[int, float]]:
        """Passes and seconds of each sum in the picture, in the order drawn."""
        return [(found.passes, found.seconds) for found, _ in self._used.values()]


Passes = FixedPasses | GrowingPasses
ONE_PASS = FixedPasses(1)


def offset(number: int) -> tuple[float, float]:
    """Where in its pixel a pass looks, from the centre: Halton's points, the first in the middle."""
    if number == 0:
        return 0.0, 0.0
    return _radical_inverse(number, 2) - 0.5, _radical_inverse(number, 3) - 0.5


def _radical_inverse(number: int, base: int) -> float:
    """The digits of a number mirrored at the point. Source: Halton 1960."""
    value, place = 0.0, 1.0 / base
    while number > 0:
        number, digit = divmod(number, base)
        value, place = value + digit * place, place / base
    return value


def _weighted(seen: RenderedRays) -> RenderedRays:
    """Depths by their alpha, so that rays that meet nothing do not count."""
    return replace(seen, depth=seen.depth * seen.alpha)


def _added(total: RenderedRays, seen: RenderedRays) -> RenderedRays:
    total.rgb.add_(seen.rgb)
    total.alpha.add_(seen.alpha)
    total.depth.addcmul_(seen.depth, seen.alpha)
    total.counts.add_(seen.counts)
    if total.normals is not None and seen.normals is not None:
        total.normals.add_(seen.normals)
    return total
