"""Proves retrieval against its formulas in double precision: softmax over squared distance, over distance, nearest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.hash3d.retrieval import blended, cosines, squared_distances, weights

counts = st.integers(1, 5)


@given(counts, st.integers(0, 1000))
def test_softmax_over_negative_squared_distance(count: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, others = torch.randn(3, generator=generator), torch.randn(count, 3, generator=generator)
    squared = [sum((float(a) - float(b)) ** 2 for a, b in zip(x, other, strict=True)) for other in others]
    for weighting, power in (("softmax", 1.0), ("softmax_unsquared", 0.5)):
        exact = [math.exp(-(d**power)) for d in squared]
        expected = [e / sum(exact) for e in exact]
        found = weights(squared_distances(x, list(others)), weighting)  # type: ignore[arg-type]
        assert found == pytest.approx(expected, abs=1e-5)
    nearest = weights(squared_distances(x, list(others)), "nearest")
    assert nearest == [float(i == squared.index(min(squared))) for i in range(count)]


def test_far_latents_leave_the_nearest_alone_and_unchanged():
    values = [torch.randn(4), torch.randn(4)]
    shares = weights(torch.tensor([8000.0, 7000.0]), "softmax")
    assert blended(values, shares) is values[1]


def test_blending_is_the_weighted_sum_in_the_precision_of_the_values():
    values = [torch.tensor([1.0, 3.0]).half(), torch.tensor([2.0, 5.0]).half()]
    mixed = blended(values, [0.25, 0.75])
    assert mixed.dtype == torch.float16
    assert mixed.tolist() == [1.75, 4.5]


def test_cosines():
    assert cosines(torch.tensor([1.0, 0.0]), [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])]) == [1.0, 0.0]
    assert cosines(torch.ones(2), []) == []
    assert cosines(torch.zeros(2), [torch.ones(2)]) == [0.0]
