"""Proves that neighbours are exact against brute force, that a point is never its own, and that they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clouds import CLOUDS, cloud
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.models import neighbours
from h3d.models.neighbours import Neighbours, curve_order, nearest


def brute_distances(points: np.ndarray, k: int) -> np.ndarray:  # -> [N, k]
    """The k smallest distances of each point to the others, one point after the other."""
    found = []
    for i, point in enumerate(points.astype(np.float64)):
        others = np.delete(points.astype(np.float64), i, axis=0)
        found.append(np.sort(np.linalg.norm(others - point, axis=1))[:k])
    return np.array(found)


def assert_nearest(points: np.ndarray, k: int, found: Neighbours) -> None:
    k = min(k, len(points) - 1)
    assert found.indices.shape == found.distances.shape == (len(points), k)
    assert found.indices.dtype == np.int32 and found.distances.dtype == np.float32
    assert sorted(found.order) == list(range(len(points)))
    expected = brute_distances(points, k)
    np.testing.assert_allclose(found.by_point(found.distances), expected, rtol=1e-6, atol=1e-12)
    mine = points[found.order].astype(np.float64)
    between = np.linalg.norm(mine[found.indices] - mine[:, None], axis=2)
    np.testing.assert_allclose(between, found.distances, rtol=1e-6, atol=1e-12)
    assert (found.indices != np.arange(len(points))[:, None]).all(), "no point is its own neighbour"
    assert all(len(set(row)) == k for row in found.indices.tolist()), "no neighbour is named twice"


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(CLOUDS), count=st.integers(2, 120), k=st.sampled_from([1, 3, 10, 16]), seed=st.integers(0, 99)
)
def test_neighbours_are_those_of_brute_force(kind: str, count: int, k: int, seed: int):
    points = cloud(kind, count, seed)
    assert_nearest(points, k, nearest(points, k))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_points_have_no_neighbours(count: int):
    found = nearest(np.zeros((count, 3)), 5)
    assert found.indices.shape == (count, 0) and found.order.tolist() == list(range(count))


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    points = cloud("crowded", 1000)
    whole = nearest(points, 7)
    monkeypatch.setattr(neighbours, "CHUNK", 64)
    parts = nearest(points, 7)
    assert np.array_equal(whole.indices, parts.indices) and np.array_equal(whole.distances, parts.distances)


def test_a_crowd_in_one_place_is_not_searched_through(monkeypatch: pytest.MonkeyPatch):
    """Else the nearest of each of its members would be looked for among all others: millions of distances."""
    searched, search = [], neighbours._search_tree

    def spied(places, rows, among, indices, distances) -> None:
        searched.append((len(rows), len(among)))
        search(places, rows, among, indices, distances)

    monkeypatch.setattr(neighbours, "_search_tree", spied)
    points = np.concatenate([cloud("even", 1000), np.full((2000, 3), 0.1), [[1e8, 0.0, 0.0]]]).astype(np.float32)
    found = nearest(points, 10)
    assert searched == [(1001, 1001 + 11)]
    assert_nearest(points, 10, found)


def test_many_points_are_kept_and_others_are_not_taken_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("H3D_CACHE", str(tmp_path))
    monkeypatch.setattr(neighbours, "CACHED_ROWS", 100)
    points = cloud("even", 300)
    first = nearest(points, 4)
    monkeypatch.setattr(neighbours, "_search", lambda points, k: pytest.fail("searched again"))
    again = nearest(points, 4)
    assert np.array_equal(first.indices, again.indices) and np.array_equal(first.distances, again.distances)
    for other, k in ((points, 5), (points[::-1], 4)):
        with pytest.raises(pytest.fail.Exception, match="searched again"):
            nearest(other, k)
    assert len(list(tmp_path.iterdir())) == 1


def test_coinciding_points_lie_side_by_side_in_a_crowded_cell():
    points = np.concatenate([cloud("crowded", 500), [[1e9, 0, 0]]]).astype(np.float32)
    order = curve_order(points, 4)
    at = np.flatnonzero((points[order] == 0.25).all(axis=1))
    assert len(at) > 150 and np.array_equal(at, np.arange(at[0], at[-1] + 1))


@pytest.mark.parametrize(
    ("points", "k", "sentence"),
    [
        (np.zeros((4, 2)), 3, r"points: their shape is \[4, 2\]; it must be \[N, 3\]"),
        (np.array([[0, 0, 0], [np.nan, 0, 0]]), 3, "points: 1 of 2 are not finite; leave them out"),
        (np.zeros((4, 3)), 0, "k: 0 neighbours; there must be at least 1"),
    ],
)
def test_wrong_input_is_a_sentence(points: np.ndarray, k: int, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        nearest(points, k)
