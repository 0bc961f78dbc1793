"""Dropping the largest component of a quaternion and restoring it gives the same rotation."""

from __future__ import annotations

import numpy as np

from h3d.models.formats.smallest_three import drop_largest, restore_largest


def test_restoring_what_was_dropped_gives_the_same_rotation():
    quats = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    back = restore_largest(*drop_largest(quats))
    signs = np.sign((quats * back).sum(axis=1, keepdims=True))
    assert np.abs(quats - signs * back).max() < 1e-6


def test_the_component_left_out_is_the_largest_and_comes_back_positive():
    largest, rest = drop_largest(np.array([[0.1, -0.9, 0.2, 0.3], [2.0, 0.0, 0.0, 0.0]]))
    assert largest.tolist() == [1, 0]
    assert (restore_largest(largest, rest)[np.arange(2), largest] > 0).all()
    assert np.abs(rest).max() <= 0.5**0.5
