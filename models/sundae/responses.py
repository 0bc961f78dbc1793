"""The doors: from points, or from Gaussians, to their spectrum; and a mask at once.

N rows, F numbers of a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.models.array_cache import key_of, remembered
from h3d.models.gaussians import Gaussians
from h3d.models.neighbours import CACHED_ROWS, checked_points, nearest

from . import local
from .cuts import Spectrum, of_response
from .radius_graph import official_graph, paper_graph
from .signals import SIGNALS, Signal, signal_of

VERSION = 1

Variant = Literal["local", "paper", "official"]

HighPass = Callable[[np.ndarray], np.ndarray]
"""From a signal [N, F] float64 to the lengths of the responses [N] float32."""


@dataclass(frozen=True)
class SpectrumOptions:
    """Which graph, and what is looked at on it."""

    variant: Variant = "local"
    """local: k neighbours, each row on its own scale; paper: the radius graph of arXiv 2405.00676; official: what the
    paper's code does."""
    k: int = 10
    """Neighbours of a row, for the variant local."""
    signals: tuple[Signal, ...] = ("means",)
    """What is looked at; of several, each counts as much as the others."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k: {self.k} neighbours; there must be at least 1")
        unknown = [signal for signal in self.signals if signal not in SIGNALS]
        if len(self.signals) == 0 or unknown:
            raise ValueError(f"signals: {list(self.signals)}; name at least one of {', '.join(SIGNALS)}")


def spectrum(
    means,  # [N, 3]
    *,
    variant: Variant = "local",
    k: int = 10,
    signals: Sequence[np.ndarray | torch.Tensor] | None = None,  # each [N, F]; None = the means
    cached: bool = True,
) -> Spectrum:
    """How strongly each row stands out from its neighbours, tensors or numpy arrays.

    `cached`: results of many points are kept on the disk (`h3d.models.cache_folder`).

    Raises:
        ValueError: the means or a signal have a wrong shape or are not finite, or a radius graph has too many edges.
    """
    options = SpectrumOptions(variant=variant, k=k)
    points = checked_points(_array(means, np.float32))
    given = [] if signals is None else [_checked(signal, len(points)) for signal in signals]
    looked_at = given if given else [points.astype(np.float64)]
    if not cached or len(points) < CACHED_ROWS:
        return of_response(*_respond(points, looked_at, options, cached))
    name = f"spectrum-{key_of(points, *given, f'{VERSION}:{variant}:{k}')}"
    layout = {"response": ((len(points),), "float32"), "ranks": ((len(points),), "int32"), "isolated": ((), "int64")}

    def work_out() -> dict[str, np.ndarray]:
        found = of_response(*_respond(points, looked_at, options, cached))
        ranks = found.ranks.numpy()
        return {"response": found.response.numpy(), "ranks": ranks, "isolated": np.array(found.isolated, np.int64)}

    arrays = remembered(name, layout, work_out)
    response, ranks = (torch.from_numpy(arrays[name]) for name in ("response", "ranks"))
    return Spectrum(response, ranks, int(arrays["isolated"]))


def spectrum_of(gaussians: Gaussians, options: SpectrumOptions = SpectrumOptions(), *, cached: bool = True) -> Spectrum:
    """The spectrum of Gaussians. Raises: as `spectrum`."""
    gaussians = gaussians.to("cpu")
    plain = options.signals == ("means",)
    signals = None if plain else [signal_of(gaussians, signal) for signal in options.signals]
    return spectrum(gaussians.means, variant=options.variant, k=options.k, signals=signals, cached=cached)


def band_stop(means, *, keep: float, ratio: float) -> torch.Tensor:  # [N, 3] -> [N] bool
    """The rows that stay: round(keep * N), the share `ratio` of them from the highest responses, the rest the lowest.

    Raises:
        ValueError: a share lies outside of 0 to 1, or as `spectrum`.
    """
    return spectrum(means).mask(keep, ratio)


def _respond(
    points: np.ndarray, signals: list[np.ndarray], options: SpectrumOptions, cached: bool
) -> tuple[np.ndarray, int]:
    """Responses [N] float32, and how many rows are isolated."""
    high_pass, isolated = _filter(points, options, cached)
    responses = [high_pass(signal) for signal in signals]
    if len(responses) == 1:
        return responses[0], isolated
    # Metres and colours have no common unit: each signal is measured by what is usual of it here.
    squares = [np.square(response, dtype=np.float64) for response in responses]
    usual = [float(square.mean()) if len(square) > 0 else 0.0 for square in squares]
    total = sum(
        (square / mean for square, mean in zip(squares, usual, strict=True) if mean > 0.0), np.zeros(len(points))
    )
    return np.sqrt(total).astype(np.float32), isolated


def _filter(points: np.ndarray, options: SpectrumOptions, cached: bool) -> tuple[HighPass, int]:
    if options.variant == "local":
        neighbours = nearest(points, options.k, cached=cached)
        alone = len(points) if neighbours.indices.shape[1] == 0 else 0
        return lambda signal: local.high_pass(neighbours, signal), alone
    if options.variant == "paper":
        graph = paper_graph(points, cached=cached)
        return graph.high_pass, int((graph.degrees == 0).sum())
    if options.variant == "official":
        graph = official_graph(points, cached=cached)
        return graph.high_pass, int((graph.degrees == 0).sum())
    assert_never(options.variant)


def _array(values, dtype: type) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype)


def _checked(signal, count: int) -> np.ndarray:  # [N, F] -> [N, F] float64
    values = _array(signal, np.float64)
    if values.ndim != 2 or len(values) != count:
        raise ValueError(f"signals: the shape of one is {list(values.shape)}; it must be [{count}, F], a row a mean")
    if not np.isfinite(values).all():
        raise ValueError("signals: a value is not finite; leave its row out")
    return values
