"""Proves densification: who grows, splits, goes and moves; what a split covers; what a relocation conserves; seeds."""

from __future__ import annotations

from dataclasses import replace
from math import comb, sqrt
from typing import Any

import pytest
import torch
from learnt_rows import assert_moments_are_of_their_rows, generator, learnt, some_gaussians, step_info

from h3d.models.density import (
    Change,
    ContinuousPruning,
    DefaultStrategy,
    McmcStrategy,
    add_noise,
    relocated_shape,
    split_halves,
)
from h3d.models.gaussians import Gaussians
from h3d.models.sundae import band_stop
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians
from h3d.renderers.cameras import quat_to_rotation

PULLING, RESTING = 1e-3, 1e-5
SPLITTING = DefaultStrategy(grow_scale3d=0.0)


def pulled(state: TrainedGaussians, rows: list[int]) -> StepInfo:
    """A step at which these rows pulled, and the others did not."""
    gradients = torch.full((len(state),), RESTING)
    gradients[rows] = PULLING
    return step_info(state, gradients=gradients)


def exact(values: list[Any]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def with_values(gaussians: Gaussians, *, opacities: list[float], scales: list[float]) -> Gaussians:
    return replace(
        gaussians,
        logit_opacities=torch.tensor(opacities).logit(),
        log_scales=torch.tensor(scales).log()[:, None].expand(-1, 3).contiguous(),
    )


def test_small_rows_that_pull_are_cloned_and_wide_ones_split():
    gaussians = with_values(some_gaussians(5), opacities=[0.5] * 5, scales=[0.001, 0.001, 0.05, 0.05, 0.001])
    state = learnt(gaussians)
    change = DefaultStrategy().after_step(state, 600, pulled(state, [1, 3, 4]), generator())
    assert change == Change(cloned=2, split=1)
    # The split row has gone, its halves and the clones are new; clones lie where their rows do.
    assert state.ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert torch.equal(state.means[4:6], gaussians.means[[1, 4]])
    assert_moments_are_of_their_rows(state, known=5)
    torch.testing.assert_close(state.scales[6:], torch.full((2, 3), 0.05 / 1.6))


def test_nothing_grows_outside_the_steps_that_refine():
    for step in (400, 500, 650, 15_000, 15_100):
        state = learnt(some_gaussians(3))
        change = DefaultStrategy(reset_every=20_000).after_step(state, step, pulled(state, [0]), generator())
        assert not change and len(state) == 3


def test_the_gradient_is_the_mean_over_the_pictures_that_drew_the_row():
    strategy, state = DefaultStrategy(), learnt(some_gaussians(2, scale=0.001))
    seen = torch.tensor([True, False])
    # Row 0 pulls at every other picture, 1.5 of the threshold on average; row 1 is drawn once, and pulls then.
    for step, pull in ((597, 6e-4), (598, 0.0), (599, 6e-4)):
        strategy.after_step(state, step, step_info(state, gradients=torch.full((2,), pull), visible=seen), generator())
    info = step_info(state, gradients=torch.tensor([0.0, 1.9e-4]))
    assert strategy.after_step(state, 600, info, generator()).cloned == 1
    assert state.views.tolist() == [0, 0, 0]


def test_absgrad_has_a_threshold_of_its_own():
    for strategy, grown in ((DefaultStrategy(), 1), (DefaultStrategy(absgrad=True), 0)):
        state = learnt(some_gaussians(1, scale=0.001))
        info = step_info(state, gradients=torch.tensor([5e-4]))
        assert strategy.after_step(state, 600, info, generator()).cloned == grown


def test_faint_rows_are_pruned_and_huge_ones_only_after_the_first_reset():
    values = {"opacities": [0.004, 0.006, 0.9, 0.9], "scales": [0.01, 0.01, 0.2, 0.01]}
    for step, left in ((600, [1, 2, 3]), (3100, [1, 3])):
        state = learnt(with_values(some_gaussians(4), **values))
        change = DefaultStrategy().after_step(state, step, step_info(state), generator())
        assert state.ids.tolist() == left and change == Change(pruned=4 - len(left))
        assert_moments_are_of_their_rows(state, known=4)


def test_sizes_on_pictures_count_only_until_their_step():
    # Radii of 30 and 70 of 400 pixels: above 0.05 all split, and their halves, not yet seen, are not pruned for theirs.
    cases = [
        (DefaultStrategy(), Change()),
        (DefaultStrategy(scale2d_stop=1000), Change(split=2)),
        (DefaultStrategy(scale2d_stop=1000, grow_scale2d=1.0), Change(pruned=1)),
    ]
    for strategy, expected in cases:
        state = learnt(some_gaussians(3))
        info = step_info(state, radii=torch.tensor([1.0, 30.0, 70.0]))
        assert strategy.after_step(state, 600, info, generator()) == expected


def test_opacities_are_lowered_and_their_moments_forgotten_at_a_reset():
    state = learnt(with_values(some_gaussians(3), opacities=[0.9, 0.008, 0.5], scales=[0.01] * 3))
    change = DefaultStrategy(refine_every=7000).after_step(state, 3000, step_info(state), generator())
    assert change == Change(reset=True)
    torch.testing.assert_close(state.opacities, torch.tensor([0.01, 0.008, 0.01]))
    assert state.groups["logit_opacities"].counts.tolist() == [0, 0, 0]
    assert state.groups["means"].counts.tolist() == [0, 1, 2]


def test_refinement_rests_after_a_reset_where_asked():
    for pause, grown in ((0, 1), (101, 0)):
        state = learnt(some_gaussians(2, scale=0.001))
        strategy = DefaultStrategy(pause_after_reset=pause)
        assert strategy.after_step(state, 3100, pulled(state, [0]), generator()).cloned == grown


def test_at_the_cap_the_rows_that_pull_most_grow():
    state = learnt(some_gaussians(6, scale=0.001))
    info = step_info(state, gradients=torch.tensor([3.0, 1.0, 5.0, 2.0, 4.0, 0.0]) * PULLING)
    assert DefaultStrategy(cap_max=8).after_step(state, 600, info, generator()).cloned == 2
    assert sorted(map(tuple, state.means[6:].tolist())) == sorted(map(tuple, state.means[[2, 4]].tolist()))
    assert not DefaultStrategy(cap_max=8).after_step(state, 700, pulled(state, [0]), generator())


def test_rows_deleted_by_hand_neither_grow_nor_go_nor_change():
    for strategy, step in ((SPLITTING, 600), (DefaultStrategy(), 3000), (McmcStrategy(cap_max=20), 600)):
        state = learnt(with_values(some_gaussians(4), opacities=[0.5, 0.001, 0.5, 0.5], scales=[0.05] * 4))
        state.mark_deleted(torch.tensor([1, 2]), True)
        before = {name: group.values[1:3].clone() for name, group in state.groups.items()}
        strategy.after_step(state, step, replace(pulled(state, [2, 3]), means_rate=1.0), generator())
        rows = state.find(torch.tensor([1, 2]))
        assert bool((rows >= 0).all()) and bool(state.deleted[rows].all()) and int(state.deleted.sum()) == 2
        for name, group in state.groups.items():
            assert torch.equal(group.values[rows], before[name]) and group.counts[rows].tolist() == [1, 2]


def test_the_halves_of_a_split_cover_what_it_was():
    one = some_gaussians(1)
    one = replace(one, log_scales=torch.tensor([[0.3, 0.1, 0.02]]).log())
    many = one.keep(torch.zeros(20_000, dtype=torch.int64))
    halves = split_halves(TrainedGaussians.of(many).rows(torch.arange(20_000)), generator())
    rotation = torch.from_numpy(quat_to_rotation(one.quats[0].numpy())).float()
    local = (halves["means"] - one.means) @ rotation
    assert local.shape == (40_000, 3)
    # In the Gaussian's own axes: centred, spread as it was, and independent.
    torch.testing.assert_close(local.std(dim=0), one.scales[0], rtol=0.02, atol=0.0)
    assert bool((local.mean(dim=0).abs() < 0.02 * one.scales[0]).all())
    assert float((torch.corrcoef(local.T) - torch.eye(3)).abs().max()) < 0.02
    torch.testing.assert_close(halves["log_scales"].exp(), one.scales.expand(40_000, 3) / 1.6)


def test_halves_are_as_opaque_together_as_the_whole_where_revised():
    rows = TrainedGaussians.of(some_gaussians(3, opacity=0.8)).rows(torch.arange(3))
    opacities = split_halves(rows, generator(), revised_opacity=True)["logit_opacities"].sigmoid()
    torch.testing.assert_close(1.0 - (1.0 - opacities) ** 2, torch.full((6, 1), 0.8))


@pytest.mark.parametrize("opacity", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("count", [1, 2, 5, 51])
def test_relocated_gaussians_have_together_the_opacity_and_the_mass_of_the_one(opacity: float, count: int):
    opacities, scales = relocated_shape(exact([opacity]), exact([[0.2, 0.1, 0.4]]), torch.tensor([count]))
    assert float(1.0 - (1.0 - opacities) ** count) == pytest.approx(opacity, rel=1e-9)
    # Along a line through the middle, `count` of them over one another against the one: the integral of eq. 9.
    line = torch.linspace(-40.0, 40.0, 40_001, dtype=torch.float64)
    together = 1.0 - (1.0 - opacities * torch.exp(-0.5 * (line / (scales[0, 0] / 0.2)) ** 2)) ** count
    one = opacity * torch.exp(-0.5 * line**2)
    assert float(together.sum() / one.sum()) == pytest.approx(1.0, rel=1e-6)
    torch.testing.assert_close(scales[0] / scales[0, 0], exact([1.0, 0.5, 2.0]))


def test_the_single_sum_is_the_double_sum_of_the_paper():
    opacity, count = 0.7, 6
    after = 1.0 - (1.0 - opacity) ** (1.0 / count)
    double = sum(
        comb(i - 1, k) * (-1) ** k * after ** (k + 1) / sqrt(k + 1) for i in range(1, count + 1) for k in range(i)
    )
    scales = relocated_shape(exact([opacity]), exact([[1.0, 1.0, 1.0]]), torch.tensor([count]))[1]
    assert float(scales[0, 0]) == pytest.approx(opacity / double, rel=1e-9)


def test_mcmc_grows_by_a_twentieth_up_to_its_cap_and_stays_there():
    strategy, state, counts = McmcStrategy(cap_max=115), learnt(some_gaussians(100)), []
    for step in range(600, 1300, 100):
        strategy.after_step(state, step, step_info(state), generator(step))
        counts.append(len(state))
    assert counts == [105, 110, 115, 115, 115, 115, 115]
    assert len(set(state.ids.tolist())) == 115


def test_faint_rows_move_to_opaque_ones_under_new_ids_and_the_count_stays():
    opacities = [0.001, 0.9, 0.004, 0.8, 0.7]
    gaussians = with_values(some_gaussians(5), opacities=opacities, scales=[0.01] * 5)
    state = learnt(gaussians)
    change = McmcStrategy(cap_max=5).after_step(state, 600, step_info(state), generator(3))
    assert change == Change(relocated=2) and len(state) == 5
    assert state.ids[[1, 3, 4]].tolist() == [1, 3, 4] and sorted(state.ids[[0, 2]].tolist()) == [5, 6]
    places = {tuple(place) for place in gaussians.means[[1, 3, 4]].tolist()}
    assert all(tuple(place) in places for place in state.means[[0, 2]].tolist())
    # Who shared out begins anew too, and each place is as opaque as it was.
    for row in (1, 3, 4):
        at_place = (state.means == state.means[row]).all(dim=1)
        together = 1.0 - float((1.0 - state.opacities[at_place]).prod())
        assert together == pytest.approx(opacities[row], abs=1e-5)
        assert (state.groups["means"].counts[row] == 0) == (int(at_place.sum()) > 1)


def test_mcmc_refines_only_between_its_first_and_last_step():
    for step in (500, 650, 25_000):
        state = learnt(some_gaussians(40))
        assert not McmcStrategy().after_step(state, step, step_info(state), generator()) and len(state) == 40


def test_where_all_rows_are_faint_none_is_relocated():
    state = learnt(some_gaussians(4, opacity=0.001))
    assert not McmcStrategy(cap_max=4).after_step(state, 600, step_info(state), generator())


def test_continuous_pruning_leaves_the_band_stops_rows_with_all_that_is_theirs_at_its_steps_alone():
    gaussians = some_gaussians(50)
    strategy = ContinuousPruning(prune_every=30, prune_keep=0.4, prune_band_stop=0.25, prune_stop=90)
    for step in (29, 31, 90, 120):
        state = learnt(gaussians)
        assert strategy.after_step(state, step) == 0 and len(state) == 50
    state = learnt(gaussians)
    state.gradient_sum, state.views = state.ids.float(), state.ids.int()
    assert strategy.after_step(state, 60) == 30
    stays = band_stop(gaussians.means, keep=0.4, ratio=0.25)
    assert state.ids.tolist() == stays.nonzero()[:, 0].tolist() and len(state) == 20
    assert_moments_are_of_their_rows(state, known=50)
    assert state.gradient_sum.tolist() == state.views.tolist() == state.ids.tolist()
    assert ContinuousPruning().after_step(state, 60) == 0, "off by default"


def test_continuous_pruning_judges_neither_deleted_rows_nor_those_at_no_place_and_leaves_the_last():
    gaussians, strategy = some_gaussians(22), ContinuousPruning(prune_every=1, prune_keep=0.5)
    state = learnt(gaussians)
    state.mark_deleted(torch.tensor([3]), True)
    state.means[7] = float("nan")
    assert strategy.after_step(state, 1) == 10
    assert {3, 7} <= set(state.ids.tolist()) and len(state) == 12
    judged = torch.tensor([row for row in range(22) if row not in (3, 7)])
    stays = judged[band_stop(gaussians.means[judged], keep=0.5, ratio=0.5)]
    assert set(state.ids.tolist()) == {3, 7, *stays.tolist()}
    few = learnt(some_gaussians(6))
    assert strategy.after_step(few, 1) == 0 and len(few) == 6


def test_noise_has_the_shape_of_the_gaussian_and_leaves_opaque_ones_alone():
    one = some_gaussians(1, opacity=0.005)
    one = replace(one, log_scales=torch.tensor([[0.3, 0.1, 0.05]]).log())
    state = TrainedGaussians.of(one.keep(torch.zeros(20_000, dtype=torch.int64)))
    add_noise(state, 2.0, generator())
    rotation = torch.from_numpy(quat_to_rotation(one.quats[0].numpy())).float()
    local = (state.means - one.means) @ rotation
    # At the limit the fading is one half; the covariance stretches by squares.
    torch.testing.assert_close(local.std(dim=0), 2.0 * 0.5 * one.scales[0] ** 2, rtol=0.03, atol=0.0)
    opaque = TrainedGaussians.of(some_gaussians(10, opacity=0.9))
    before = opaque.means.clone()
    add_noise(opaque, 2.0, generator())
    assert torch.equal(opaque.means, before)


@pytest.mark.parametrize("strategy", [SPLITTING, McmcStrategy(cap_max=80)])
def test_the_same_seed_gives_the_same_rows_and_another_one_does_not(strategy: DefaultStrategy | McmcStrategy):
    means = []
    for seed in (1, 1, 2):
        draw, state = generator(seed), learnt(some_gaussians(50, opacity=0.01))
        for step in (600, 700, 800):
            strategy.after_step(state, step, replace(pulled(state, [0, 5, 7]), means_rate=1e-3), draw)
        means.append(state.means)
    assert torch.equal(means[0], means[1]) and not torch.equal(means[0], means[2])


@pytest.mark.parametrize(
    ("strategy", "knobs", "sentence"),
    [
        (DefaultStrategy, {"refine_every": 0}, "refine_every: 0; must be at least 1 step"),
        (DefaultStrategy, {"reset_every": -1}, "reset_every: -1; must be at least 1 step"),
        (DefaultStrategy, {"prune_opacity": 0.5}, "prune_opacity: 0.5; must be above 0 and below 0.5"),
        (McmcStrategy, {"refine_every": 0}, "refine_every: 0; must be at least 1 step"),
        (ContinuousPruning, {"prune_every": -1}, "prune_every: -1; must be 0 steps, which is never, or more"),
        (ContinuousPruning, {"prune_keep": 0.0}, "prune_keep: 0.0; must be above 0 and at most 1"),
        (ContinuousPruning, {"prune_band_stop": 1.5}, "prune_band_stop: 1.5; must be 0 to 1"),
        (McmcStrategy, {"min_opacity": 0.0}, "min_opacity: 0.0; must be above 0 and below 1"),
    ],
)
def test_knobs_that_cannot_be_are_named(strategy: Any, knobs: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        strategy(**knobs)
