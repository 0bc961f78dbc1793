"""Proves that the histogram counts every row once and says of each bin exactly what a cut keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.sundae.cuts import Spectrum, cut_counts, of_response, of_scores
from h3d.models.sundae.histogram import histogram_of

shares = st.floats(0.0, 1.0)


def spectra(kind: str, count: int) -> Spectrum:
    random = np.random.default_rng(0)
    values = {
        "wide": random.lognormal(0.0, 3.0, count),
        "even": random.uniform(5.0, 6.0, count),
        "negative": random.normal(0.0, 1.0, count),
        "equal": np.full(count, 2.0),
        "zeros": random.lognormal(0.0, 3.0, count) * (np.arange(count) % 2),
    }[kind]
    return of_response(values.astype(np.float32), 0)


@pytest.mark.parametrize("kind", ["wide", "even", "negative", "equal", "zeros"])
@pytest.mark.parametrize("count", [0, 1, 7, 500])
@given(keep=shares, ratio=shares)
def test_what_a_cut_keeps_of_each_bin_is_what_its_mask_keeps(kind: str, count: int, keep: float, ratio: float):
    spectrum = spectra(kind, count)
    histogram = histogram_of(spectrum)
    assert histogram.counts.sum() == count and (histogram.counts >= 0).all()
    mask = spectrum.mask(keep, ratio).numpy()
    order = np.argsort(spectrum.ranks.numpy())
    bins = np.searchsorted(histogram.firsts, np.arange(count), side="right") - 1
    expected = np.bincount(bins[mask[order]], minlength=len(histogram.counts))[: len(histogram.counts)]
    assert histogram.kept(*cut_counts(count, keep, ratio)).tolist() == expected.tolist()


def test_rows_lie_between_the_edges_of_their_bins():
    for kind, logarithmic in (("wide", True), ("even", False), ("negative", False)):
        spectrum = spectra(kind, 500)
        histogram = histogram_of(spectrum)
        assert histogram.logarithmic == logarithmic
        values = np.sort(spectrum.response.numpy())
        for k in range(1, len(histogram.counts) - 1):
            inside = values[histogram.firsts[k] : histogram.firsts[k + 1]]
            assert ((inside >= histogram.edges[k] - 1e-6) & (inside <= histogram.edges[k + 1] + 1e-6)).all()


def test_of_equal_scores_the_first_rows_stay():
    spectrum = of_scores(np.array([1.0, 3.0, 3.0, 3.0, 2.0]))
    assert spectrum.mask(0.4, 1.0).tolist() == [False, True, True, False, False]
    assert torch.equal(spectrum.mask(0.8, 1.0), torch.tensor([False, True, True, True, True]))
