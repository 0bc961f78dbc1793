"""Proves every criterion against its formula row by row, and the laws of the masks: exact counts, ties, nesting."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from balls import ball
from clouds import cloud
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.models.gaussians import Gaussians, from_rows
from h3d.models.pruning import CRITERIA, WITH_CAMERAS, Criterion, PruningOptions, keep_mask, scores
from h3d.models.sundae import SpectrumOptions, spectrum
from h3d.models.viewpoints import all_around, seen_from
from h3d.renderers import Contributions

WITHOUT_CAMERAS = tuple(criterion for criterion in CRITERIA if criterion not in WITH_CAMERAS)


def gaussians(count: int = 120, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    return from_rows(
        means=cloud("clustered", count, seed),
        quats=rng.normal(size=(count, 4)),
        log_scales=rng.normal(-3.0, 1.0, (count, 3)),
        logit_opacities=rng.normal(0.0, 2.0, count),
        sh=rng.normal(size=(count, 1, 3)),
    )


def test_scores_are_their_formulas():
    rows = gaussians()
    opacities = 1 / (1 + np.exp(-rows.logit_opacities.double().numpy()))
    scales = np.exp(rows.log_scales.double().numpy())
    np.testing.assert_allclose(scores(rows, "opacity"), opacities, rtol=1e-5)
    np.testing.assert_allclose(scores(rows, "size"), -scales.max(axis=1), rtol=1e-5)
    volumes = opacities * scales.prod(axis=1)
    np.testing.assert_allclose(scores(rows, "opacity_volume").double().exp(), volumes, rtol=1e-4)
    means = rows.means.double().numpy()
    for i, found in enumerate(scores(rows, "density", PruningOptions(k=4)).tolist()):
        near = sorted(math.dist(means[i], other) for j, other in enumerate(means) if j != i)[:4]
        assert found == pytest.approx(-np.mean(near), rel=1e-5)


def test_the_order_of_opacity_times_volume_holds_where_the_product_is_too_small_for_float32():
    rows = gaussians(4)
    rows.log_scales[:] = torch.tensor([-40.0, -39.0, -60.0, -50.0])[:, None]
    rows.logit_opacities[:] = torch.tensor([0.0, 0.0, 0.0, 0.0])
    assert keep_mask(rows, "opacity_volume", keep=0.5).tolist() == [True, True, False, False]


@pytest.mark.parametrize("criterion", WITHOUT_CAMERAS)
@settings(max_examples=10, deadline=None)
@given(keep=st.floats(0.0, 1.0), count=st.sampled_from([0, 1, 2, 37]))
def test_exactly_the_rounded_share_stays_and_scores_decide(criterion: Criterion, keep: float, count: int):
    rows = gaussians(count)
    mask = keep_mask(rows, criterion, keep=keep, ratio=0.5)
    assert mask.dtype == torch.bool and mask.shape == (count,) and int(mask.sum()) == round(keep * count)
    if criterion != "band_stop" and bool(mask.any()) and not bool(mask.all()):
        found = scores(rows, criterion)
        assert found[mask].min() >= found[~mask].max()


@pytest.mark.parametrize("criterion", WITHOUT_CAMERAS)
def test_less_is_a_part_of_more(criterion: Criterion):
    rows = gaussians()
    masks = [keep_mask(rows, criterion, keep=keep) for keep in (0.1, 0.3, 0.31, 0.9)]
    assert all(not bool((a & ~b).any()) for a, b in zip(masks, masks[1:], strict=False))


def test_of_equal_rows_the_first_stay():
    rows = gaussians(6)
    rows.logit_opacities[:] = 1.0
    assert keep_mask(rows, "opacity", keep=0.5).tolist() == [True] * 3 + [False] * 3


def test_random_is_its_seed():
    rows = gaussians()
    one, again, other = (keep_mask(rows, "random", keep=0.5, options=PruningOptions(seed=s)) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_band_stop_uses_the_spectrum_that_was_asked_for():
    rows = gaussians()
    options = PruningOptions(spectrum=SpectrumOptions(variant="official"))
    expected = spectrum(rows.means, variant="official")
    assert torch.equal(keep_mask(rows, "band_stop", keep=0.4, ratio=0.7, options=options), expected.mask(0.4, 0.7))
    assert torch.equal(scores(rows, "band_stop", options), expected.response)


@pytest.mark.parametrize("criterion", ["band_stop", "opacity"])
def test_a_share_outside_of_0_to_1_is_a_sentence(criterion: Criterion):
    with pytest.raises(ValueError, match=r"keep: 1.5; it is a share and must be 0 to 1"):
        keep_mask(gaussians(), criterion, keep=1.5)


def made_up(count: int, seed: int = 0) -> Contributions:
    """What cameras may have seen, half of the rows never in front."""
    rng = np.random.default_rng(seed)
    total, greatest = rng.uniform(0.0, 50.0, count), rng.uniform(0.0, 1.0, count)
    pixels, tops = rng.integers(1, 500, count), rng.integers(0, 100, count) * rng.integers(0, 2, count)
    slopes = rng.uniform(0.0, 9.0, count)
    return Contributions(*(torch.from_numpy(a) for a in (total, greatest, pixels, tops, slopes)))


def test_scores_of_what_cameras_see_are_their_formulas():
    rows, seen = gaussians(), made_up(120)
    volumes = np.exp(rows.log_scales.double().numpy()).prod(axis=1)
    v90 = sorted(volumes, reverse=True)[int(0.9 * 120)]
    for i in range(120):
        assert scores(rows, "hit_count", seen=seen)[i] == seen.pixels[i]
        assert scores(rows, "radsplat", seen=seen)[i] == seen.greatest[i]
        assert seen.sensitivity is not None and scores(rows, "sensitivity", seen=seen)[i] == seen.sensitivity[i]
        assert scores(rows, "mini_splatting", seen=seen)[i] == (seen.total[i] if seen.top_pixels[i] > 0 else 0.0)
        expected = float(seen.total[i]) * (volumes[i] / v90) ** 0.1
        assert float(scores(rows, "lightgaussian", seen=seen)[i]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("criterion", WITH_CAMERAS)
def test_what_lies_inside_of_a_solid_goes_first(criterion: Criterion):
    """An opaque ball with as many Gaussians again in its middle, where no camera sees them."""
    shell = ball((0.9, 0.1, 0.1), count=1500)
    rows = shell.concat(ball((0.1, 0.9, 0.1), radius=0.3, count=1500))
    seen = seen_from(all_around(rows, count=12, side=96), rows, sensitivity=criterion == "sensitivity")
    mask = keep_mask(rows, criterion, keep=0.4, seen=seen)
    assert int(mask[:1500].sum()) > 0.95 * 1200


@pytest.mark.parametrize("criterion", WITH_CAMERAS)
@pytest.mark.parametrize("count", [0, 1, 37])
def test_the_rounded_share_stays_of_what_cameras_see(criterion: Criterion, count: int):
    mask = keep_mask(gaussians(count), criterion, keep=0.5, seen=made_up(count))
    assert int(mask.sum()) == round(0.5 * count)


@pytest.mark.parametrize(("seen", "given"), [(None, "nothing"), (made_up(3), "3 rows")])
def test_criteria_of_cameras_say_what_they_need(seen: Contributions | None, given: str):
    rule = f"criterion radsplat: needs what cameras see of all 120 rows, {given} was given; see h3d.models.viewpoints"
    with pytest.raises(ValueError, match=rule):
        scores(gaussians(), "radsplat", seen=seen)


def test_sensitivity_says_where_it_was_not_worked_out():
    with pytest.raises(ValueError, match="criterion sensitivity: what cameras see was worked out without it"):
        scores(gaussians(), "sensitivity", seen=replace(made_up(120), sensitivity=None))
