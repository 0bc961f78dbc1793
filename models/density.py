"""How many Gaussians there are, and where: what is cloned, split, pruned or relocated between steps of learning.

A strategy is a frozen set of knobs, which may change from step to step; all that runs is in `TrainedGaussians`, and all
that is random comes from the generator that is passed in. Steps count from 1. Rows deleted by hand take no part.
Defaults are those that gsplat documents. Sources: Kerbl et al. 2023, section 5 (`DefaultStrategy`), Ye et al. 2024
(absgrad), Rota Bulo et al. 2024 (revised opacity); Kheradmand et al. 2024 (`McmcStrategy`); Yang et al. 2024, SUNDAE,
arXiv 2405.00676, section 3.4 (`ContinuousPruning`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated

import torch

from .knobs import Setting, Turn
from .sundae import cut_counts, spectrum
from .trained_gaussians import Rows, StepInfo, TrainedGaussians

SPLIT_SHRINK = 1.6
MOST_COPIES = 51
"""Of one Gaussian that a relocation shares out; more are treated as so many."""
GROWTH = 1.05
"""Of the count, from one refinement of MCMC to the next."""
NOISE_SHARPNESS, NOISE_OPACITY = 100.0, 0.005
"""Noise fades out above this opacity, so sharply."""

FEWEST = 4
"""Rows that continuous pruning leaves: as many as a run needs to start."""

DENSITY = "density"
Steps = Annotated[int, Turn(DENSITY, 0, 1_000_000)]
Interval = Annotated[int, Turn(DENSITY, 1, 100_000)]


@dataclass(frozen=True)
class Change:
    """What a strategy did after a step: numbers of rows."""

    cloned: int = 0
    split: int = 0  # each into two
    pruned: int = 0
    relocated: int = 0
    added: int = 0
    thinned: int = 0  # by `ContinuousPruning`
    reset: bool = False  # whether opacities were lowered

    def __bool__(self) -> bool:
        return self != Change()

    @property
    def noted(self) -> dict[str, Setting]:
        """What it did, without what it did not."""
        done = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in done.items() if value}


@dataclass(frozen=True)
class DefaultStrategy:
    """3DGS: clones and splits rows that still pull, prunes faint and huge ones, lowers opacities now and then."""

    refine_start: Steps = 500
    """Step after which rows are cloned, split and pruned."""
    refine_stop: Steps = 15_000
    """Step at which that ends."""
    refine_every: Interval = 100
    """Steps from one refinement to the next."""
    absgrad: Annotated[bool, Turn(DENSITY)] = False
    """Whether gradients are sums of absolute values over pixels, which do not cancel out."""
    grow_grad2d: Annotated[float, Turn(DENSITY, 1e-5, 1e-2, logarithmic=True)] = 2e-4
    """Mean gradient on the picture above which a row grows."""
    grow_absgrad2d: Annotated[float, Turn(DENSITY, 1e-5, 1e-2, logarithmic=True)] = 8e-4
    """The same for absgrad."""
    grow_scale3d: Annotated[float, Turn(DENSITY, 1e-4, 1.0, logarithmic=True)] = 0.01
    """Share of the scene's extent up to which a row is cloned; wider ones are split."""
    grow_scale2d: Annotated[float, Turn(DENSITY, 0.0, 1.0)] = 0.05
    """Share of the picture's longest side above which a row is split, until `scale2d_stop`."""
    prune_opacity: Annotated[float, Turn(DENSITY, 1e-4, 0.1, logarithmic=True)] = 0.005
    """Opacity below which a row is pruned."""
    prune_scale3d: Annotated[float, Turn(DENSITY, 1e-3, 10.0, logarithmic=True)] = 0.1
    """Share of the scene's extent above which a row is pruned, once opacities were reset."""
    prune_scale2d: Annotated[float, Turn(DENSITY, 0.0, 1.0)] = 0.15
    """Share of the picture's longest side above which a row is pruned, until `scale2d_stop`."""
    scale2d_stop: Steps = 0
    """Step until which sizes on pictures count; 0 = never."""
    reset_every: Interval = 3000
    """Steps after which opacities are lowered to twice `prune_opacity`."""
    pause_after_reset: int = 0
    """Steps without refinement after a reset; the number of photos is a good choice."""
    revised_opacity: Annotated[bool, Turn(DENSITY)] = False
    """Whether halves of a split are as opaque together as it was."""
    cap_max: int = 1_000_000
    """Rows at most; the ones that pull most grow first."""

    def __post_init__(self) -> None:
        _check_positive(refine_every=self.refine_every, reset_every=self.reset_every)
        if not 0.0 < self.prune_opacity < 0.5:
            raise ValueError(f"prune_opacity: {self.prune_opacity}; must be above 0 and below 0.5")

    def after_step(self, state: TrainedGaussians, step: int, info: StepInfo, generator: torch.Generator) -> Change:
        """To be called after every step's update of the parameters."""
        if step >= self.refine_stop:
            return Change()
        state.observe(info)
        cloned = split = pruned = 0
        rested = step % self.reset_every >= self.pause_after_reset
        if step > self.refine_start and step % self.refine_every == 0 and rested:
            cloned, split = self._grow(state, step, info, generator)
            pruned = self._prune(state, step, info)
            state.forget()
        reset = step % self.reset_every == 0
        if reset:
            self._reset_opacities(state)
        return Change(cloned=cloned, split=split, pruned=pruned, reset=reset)

    def _grow(self, state: TrainedGaussians, step: int, info: StepInfo, generator: torch.Generator) -> tuple[int, int]:
        pull = state.gradient_sum / state.views.clamp(min=1)
        high = pull > (self.grow_absgrad2d if self.absgrad else self.grow_grad2d)
        wide = state.scales.amax(dim=1) > self.grow_scale3d * info.extent
        large = (state.largest_radius > self.grow_scale2d) & (step < self.scale2d_stop)
        growing = _at_most((high | large) & state.live, pull, self.cap_max - int(state.live.sum()))
        splitting = growing & ((high & wide) | large)
        cloning = growing & ~splitting
        clones, halves = state.rows(cloning), split_halves(state.rows(splitting), generator, self.revised_opacity)
        state.keep(~splitting)
        state.append({name: torch.cat([clones[name], halves[name]]) for name in clones})
        return int(cloning.sum()), int(splitting.sum())

    def _prune(self, state: TrainedGaussians, step: int, info: StepInfo) -> int:
        pruned = state.opacities < self.prune_opacity
        if step > self.reset_every:
            pruned |= state.scales.amax(dim=1) > self.prune_scale3d * info.extent
        if step < self.scale2d_stop:
            pruned |= state.largest_radius > self.prune_scale2d
        pruned &= state.live
        state.keep(~pruned)
        return int(pruned.sum())

    def _reset_opacities(self, state: TrainedGaussians) -> None:
        rows = state.live.nonzero()[:, 0]
        lowered = state.values("logit_opacities")[rows].clamp(max=_logit(2.0 * self.prune_opacity))
        state.restart(rows, {"logit_opacities": lowered})


@dataclass(frozen=True)
class McmcStrategy:
    """MCMC: as many rows as wanted; faint ones move to where much is, and noise lets them explore."""

    cap_max: int = 1_000_000
    """Rows that the run grows to."""
    refine_start: Steps = 500
    """Step after which rows are relocated and added."""
    refine_stop: Steps = 25_000
    """Step at which that ends."""
    refine_every: Interval = 100
    """Steps from one refinement to the next."""
    min_opacity: Annotated[float, Turn(DENSITY, 1e-4, 0.5, logarithmic=True)] = 0.005
    """Rows that are fainter are relocated."""
    noise_rate: Annotated[float, Turn(DENSITY, 1e3, 1e7, logarithmic=True)] = 5e5
    """Noise on places, times the learning rate of the means."""

    def __post_init__(self) -> None:
        _check_positive(refine_every=self.refine_every)
        if not 0.0 < self.min_opacity < 1.0:
            raise ValueError(f"min_opacity: {self.min_opacity}; must be above 0 and below 1")

    def after_step(self, state: TrainedGaussians, step: int, info: StepInfo, generator: torch.Generator) -> Change:
        """To be called after every step's update of the parameters."""
        relocated = added = 0
        if self.refine_start < step < self.refine_stop and step % self.refine_every == 0:
            relocated = self._relocate(state, generator)
            added = self._add(state, generator)
        add_noise(state, self.noise_rate * info.means_rate, generator)
        return Change(relocated=relocated, added=added)

    def _relocate(self, state: TrainedGaussians, generator: torch.Generator) -> int:
        faint = state.opacities <= self.min_opacity
        dead, alive = ((mask & state.live).nonzero()[:, 0] for mask in (faint, ~faint))
        if len(dead) == 0 or len(alive) == 0:
            return 0
        state.replace(dead, self._shared_out(state, alive, len(dead), generator))
        return len(dead)

    def _add(self, state: TrainedGaussians, generator: torch.Generator) -> int:
        live = state.live.nonzero()[:, 0]
        count = min(self.cap_max, int(GROWTH * len(live))) - len(live)
        if count <= 0:
            return 0
        state.append(self._shared_out(state, live, count, generator))
        return count

    def _shared_out(self, state: TrainedGaussians, rows: torch.Tensor, count: int, generator: torch.Generator) -> Rows:
        """`count` copies of `rows`, drawn by opacity, what there was being shared among a row and its copies."""
        weights = state.opacities[rows].cpu()
        drawn = rows[torch.multinomial(weights, count, replacement=True, generator=generator).to(rows.device)]
        sources, copy_of, copies = drawn.unique(return_inverse=True, return_counts=True)
        opacities, scales = relocated_shape(state.opacities[sources], state.scales[sources], copies + 1)
        # Not below the limit: what was just relocated would be dead at once.
        opacities = opacities.clamp(self.min_opacity, 1.0 - torch.finfo(torch.float32).eps)
        changed = state.rows(sources)
        changed["logit_opacities"], changed["log_scales"] = opacities.logit()[:, None], scales.log()
        state.restart(sources, changed)
        return {name: array[copy_of] for name, array in changed.items()}


Strategy = DefaultStrategy | McmcStrategy


@dataclass(frozen=True)
class ContinuousPruning:
    """SUNDAE while it learns, beside any strategy: now and then the band-stop takes a share of the rows away."""

    prune_every: Annotated[int, Turn(DENSITY, 0, 100_000)] = 0
    """Steps from one pruning by the band-stop to the next, which keeps the peak count low; 0 = never."""
    prune_keep: Annotated[float, Turn(DENSITY, 0.01, 1.0)] = 0.9
    """Share of the rows that such a pruning leaves."""
    prune_band_stop: Annotated[float, Turn(DENSITY, 0.0, 1.0)] = 0.5
    """Of what it leaves, the share with the highest responses; the rest has the lowest."""
    prune_stop: Steps = 15_000
    """Step at which that ends."""

    def __post_init__(self) -> None:
        if self.prune_every < 0:
            raise ValueError(f"prune_every: {self.prune_every}; must be 0 steps, which is never, or more")
        if not 0.0 < self.prune_keep <= 1.0:
            raise ValueError(f"prune_keep: {self.prune_keep}; must be above 0 and at most 1")
        if not 0.0 <= self.prune_band_stop <= 1.0:
            raise ValueError(f"prune_band_stop: {self.prune_band_stop}; must be 0 to 1")

    def after_step(self, state: TrainedGaussians, step: int) -> int:
        """To be called after the strategy's; returns how many rows went. The last ones stay: of few, none goes."""
        if self.prune_every == 0 or step % self.prune_every != 0 or step >= self.prune_stop:
            return 0
        # A row whose place is no number has no neighbours; `training.soundness` drops it.
        judged = (state.live & state.means.isfinite().all(dim=1)).nonzero()[:, 0]
        if sum(cut_counts(len(judged), self.prune_keep, self.prune_band_stop)) < FEWEST:
            return 0
        stays = spectrum(state.means[judged], cached=False).mask(self.prune_keep, self.prune_band_stop)
        gone = judged[~stays.to(judged.device)]
        kept = torch.ones(len(state), dtype=torch.bool, device=judged.device)
        kept[gone] = False
        state.keep(kept)
        return len(gone)


def split_halves(rows: Rows, generator: torch.Generator, revised_opacity: bool = False) -> Rows:
    """Two rows for each: smaller, at places drawn from the Gaussian that it was."""
    halves = {name: torch.cat([array, array]) for name, array in rows.items()}
    scales = halves["log_scales"].exp()
    halves["means"] = halves["means"] + _turned(halves["quats"], scales * _normal(scales, generator))
    halves["log_scales"] = halves["log_scales"] - math.log(SPLIT_SHRINK)
    if revised_opacity:
        opacities = halves["logit_opacities"].sigmoid()
        halves["logit_opacities"] = (1.0 - (1.0 - opacities).sqrt()).logit()
    return halves


def relocated_shape(
    opacities: torch.Tensor,  # [M]
    scales: torch.Tensor,  # [M, 3]
    counts: torch.Tensor,  # [M] int, how many Gaussians take the place of one
) -> tuple[torch.Tensor, torch.Tensor]:  # [M], [M, 3]
    """What each of `counts` Gaussians at one place must be to look together as the one did.

    Source: Kheradmand et al. 2024, eq. 9. Its double sum over i and k <= i is one over k: the binomials of a column
    of Pascal's triangle sum to the next.
    """
    counts = counts.clamp(1, MOST_COPIES)
    before = opacities.double()
    after = 1.0 - (1.0 - before) ** (1.0 / counts.double())
    orders = torch.arange(1, MOST_COPIES + 1, dtype=torch.float64, device=counts.device)
    weights = _binomials().to(counts.device)[counts] * (-1.0) ** (orders - 1) / orders.sqrt()
    mass = (weights * after[:, None] ** orders).sum(dim=1)
    return after.to(opacities), scales * (before / mass).to(scales)[:, None]


def add_noise(state: TrainedGaussians, amount: float, generator: torch.Generator) -> None:
    """Moves live rows at random, in their own shape, the fainter the more. Source: the same, eq. 8."""
    faintness = torch.sigmoid(-NOISE_SHARPNESS * (state.opacities - NOISE_OPACITY))
    faintness = torch.where(state.live, amount * faintness, 0.0)
    noise = _normal(state.means, generator)
    # The covariance times the noise: into the Gaussian's own axes, stretched twice, and back.
    inward = state.quats * torch.tensor([1.0, -1.0, -1.0, -1.0], device=state.quats.device)
    moves = _turned(state.quats, state.scales.square() * _turned(inward, noise))
    state.means.add_(moves * faintness[:, None])


def _check_positive(**steps: int) -> None:
    for name, value in steps.items():
        if value < 1:
            raise ValueError(f"{name}: {value}; must be at least 1 step")


def _at_most(mask: torch.Tensor, rank: torch.Tensor, count: int) -> torch.Tensor:  # [N] bool, [N] -> [N] bool
    """The rows of a mask, or `count` of highest rank where there are more."""
    rows = mask.nonzero()[:, 0]
    if len(rows) <= count:
        return mask
    best = rank[rows].sort(descending=True, stable=True).indices[: max(count, 0)]
    kept = torch.zeros_like(mask)
    kept[rows[best]] = True
    return kept


def _turned(quats: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:  # [M, 4] wxyz of any length, [M, 3] -> [M, 3]
    unit = quats / quats.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    w, axis = unit[:, :1], unit[:, 1:]
    twice = 2.0 * torch.linalg.cross(axis, vectors)
    return vectors + w * twice + torch.linalg.cross(axis, twice)


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Drawn where the generator is, so that devices see the same."""
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def _logit(opacity: float) -> float:
    return math.log(opacity / (1.0 - opacity))


@cache
def _binomials() -> torch.Tensor:  # [MOST_COPIES + 1, MOST_COPIES]: n over k for k from 1
    table = [[math.comb(n, k) for k in range(1, MOST_COPIES + 1)] for n in range(MOST_COPIES + 1)]
    return torch.tensor(table, dtype=torch.float64)
