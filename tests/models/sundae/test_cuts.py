"""Laws of the masks: exact counts, both ends of the ranks, nesting, ties in the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.sundae import Spectrum, cut_counts
from h3d.models.sundae.cuts import of_response

SHARES = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
RESPONSES = st.lists(st.one_of(st.floats(0.0, 10.0, width=32), st.sampled_from([0.0, 1.0])), max_size=40)


def of(values: list[float]) -> Spectrum:
    return of_response(np.array(values, np.float32), 0)


def slow_mask(values: list[float], keep: float, ratio: float) -> list[bool]:
    """The rows sorted, and a choice from either end."""
    order = sorted(range(len(values)), key=lambda i: (np.float32(values[i]), i))
    kept = round(keep * len(values))
    high = round(ratio * kept)
    chosen = set(order[: kept - high]) | set(order[len(values) - high :])
    return [i in chosen for i in range(len(values))]


@given(values=RESPONSES, keep=SHARES, ratio=SHARES)
def test_the_mask_is_both_ends_of_the_sorted_rows(values: list[float], keep: float, ratio: float):
    mask = of(values).mask(keep, ratio)
    assert mask.dtype == torch.bool and mask.tolist() == slow_mask(values, keep, ratio)
    assert int(mask.sum()) == round(keep * len(values))


@given(values=RESPONSES, keeps=st.tuples(SHARES, SHARES), ratio=SHARES)
def test_what_stays_of_less_stays_of_more(values: list[float], keeps: tuple[float, float], ratio: float):
    spectrum = of(values)
    less, more = (spectrum.mask(keep, ratio) for keep in sorted(keeps))
    assert not bool((less & ~more).any())


def test_ratio_0_keeps_the_lowest_and_1_the_highest():
    spectrum = of([3.0, 1.0, 2.0, 5.0, 4.0])
    assert spectrum.mask(0.4, 0.0).tolist() == [False, True, True, False, False]
    assert spectrum.mask(0.4, 1.0).tolist() == [False, False, False, True, True]
    assert spectrum.mask(0.4, 0.5).tolist() == [False, True, False, True, False]


def test_equal_responses_are_cut_in_the_order_of_the_rows():
    spectrum = of([1.0] * 6)
    assert spectrum.ranks.tolist() == [0, 1, 2, 3, 4, 5]
    assert spectrum.mask(0.5, 1 / 3).tolist() == [True, True, False, False, False, True]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_nothing_and_everything_can_stay(count: int, ratio: float):
    spectrum = of([2.0] * count)
    assert not bool(spectrum.mask(0.0, ratio).any())
    assert bool(spectrum.mask(1.0, ratio).all())


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_share_outside_of_0_to_1_is_a_sentence(value: float):
    with pytest.raises(ValueError, match=f"keep: {value}; it is a share and must be 0 to 1"):
        cut_counts(10, value, 0.5)
    with pytest.raises(ValueError, match=f"ratio: {value}; it is a share"):
        of([1.0]).mask(0.5, value)
