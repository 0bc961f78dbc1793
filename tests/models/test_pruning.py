"""Proves every criterion against its formula row by row, and the laws of the masks: exact counts, ties, nesting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clouds import cloud
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.models.gaussians import Gaussians, from_rows
from h3d.models.pruning import Criterion, PruningOptions, keep_mask, scores
from h3d.models.sundae import SpectrumOptions, spectrum

WITHOUT_CAMERAS: tuple[Criterion, ...] = ("band_stop", "random", "opacity", "size", "opacity_volume", "density")


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
