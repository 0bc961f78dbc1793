"""Who trains and who tests: the files decide where they speak, else every 8th photo tests, and nobody does both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.datasets.splits import by_labels, every_eighth


@pytest.mark.parametrize(
    ("count", "test"), [(1, ()), (2, (0,)), (8, (0,)), (9, (0, 8)), (50, (0, 8, 16, 24, 32, 40, 48))]
)
def test_every_eighth_tests_and_a_single_photo_trains(count, test):
    train, found = every_eighth(count)
    assert found == test
    assert sorted(train + found) == list(range(count))


@given(st.lists(st.sampled_from(["train", "val", "test", None]), min_size=1, max_size=40))
def test_nobody_trains_and_tests_and_somebody_trains(labels):
    train, test = by_labels(labels)
    assert len(train) > 0
    assert set(train).isdisjoint(test)


@pytest.mark.parametrize(
    ("labels", "train", "test"),
    [
        (["train", "test", "val", None], (0,), (1,)),
        (["train", "val", None], (0,), (1,)),
        (["train", None, "train"], (0, 2), (1,)),
        (["test", None, None], (1, 2), (0,)),
        (["train"] * 3, (1, 2), (0,)),
    ],
)
def test_labels_are_heeded_in_their_order(labels, train, test):
    assert by_labels(labels) == (train, test)
