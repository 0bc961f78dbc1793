"""Proves similarities: inverses, composition, cameras that move along, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.similarity import IDENTITY, Similarity
from h3d.renderers.cameras import look_at

numbers = st.floats(-5.0, 5.0)
turns = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: sum(v * v for v in q) > 1e-2)
similarities = st.builds(Similarity, turns, st.tuples(numbers, numbers, numbers), st.floats(0.05, 20.0))


@given(similarities, similarities)
def test_inverses_and_compositions_are_those_of_their_matrices(a: Similarity, b: Similarity):
    np.testing.assert_allclose(Similarity.of(a.matrix).matrix, a.matrix, atol=1e-9)
    np.testing.assert_allclose(a.after(b).matrix, a.matrix @ b.matrix, atol=1e-8 * max(1.0, a.scale * b.scale))
    np.testing.assert_allclose(a.inverse.after(a).matrix, np.eye(4), atol=1e-6)
    assert a.after(IDENTITY) is a and IDENTITY.after(a) is a
    assert Similarity.from_json(a.to_json()) == a


@given(similarities)
def test_a_camera_that_moves_with_the_points_sees_them_where_they_were(place: Similarity):
    camera = look_at(np.array([2.0, -1.0, 3.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]))
    point = (0.3, 0.2, -0.4)
    before = camera.viewmat @ [*point, 1.0]
    after = np.linalg.inv(place.pose(camera.camera_to_world)) @ [*place.point(point), 1.0]
    np.testing.assert_allclose(after[:3], place.scale * before[:3], atol=1e-7 * max(1.0, place.scale))


def test_what_is_no_similarity_gets_a_sentence():
    with pytest.raises(ValueError, match="must not be all 0, and above 0"):
        Similarity(scale=0.0)
    with pytest.raises(ValueError, match="finite numbers"):
        Similarity(position=(float("nan"), 0.0, 0.0))
    with pytest.raises(ValueError, match="must have wxyz, position and scale"):
        Similarity.from_json({"wxyz": [1, 0, 0, 0]})
