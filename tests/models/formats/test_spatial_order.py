"""Orders keep every row and put neighbours together; chunks by splitting are tighter than along a Z curve."""

from __future__ import annotations

import numpy as np
import pytest
from splat_files import real_data

from h3d.models import formats
from h3d.models.formats.spatial_order import chunk_order, morton_order


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 511, 512, 513, 3000])
@pytest.mark.parametrize("order", [morton_order, lambda means: chunk_order(means, 256)])
def test_orders_are_permutations(count, order):
    means = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    assert np.array_equal(np.sort(order(means)), np.arange(count))


def test_orders_take_points_at_one_place():
    means = np.zeros((1000, 3), np.float32)
    assert len(set(chunk_order(means, 256))) == 1000
    assert len(set(morton_order(means))) == 1000


def test_the_morton_order_of_the_corners_of_a_cube_counts_x_then_y_then_z():
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], np.float32)
    shuffled = np.random.default_rng(0).permutation(8)
    assert np.array_equal(shuffled[morton_order(corners[shuffled])], np.arange(8))


def box_sides(means: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Mean over chunks of 256 of the sum of the sides of their boxes."""
    starts = np.arange(0, len(means), 256)
    ordered = means[order]
    return (np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts)).sum(axis=1).mean()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 0.001), (100, 1, 1)])
def test_chunks_of_cubes_plates_and_rods_are_tighter_than_along_a_z_curve(shape):
    means = (np.random.default_rng(1).uniform(size=(20_000, 3)) * shape).astype(np.float32)
    assert box_sides(means, chunk_order(means, 256)) < 0.8 * box_sides(means, morton_order(means))


def test_chunks_of_a_real_capture_are_tighter_than_along_a_z_curve():
    means = formats.read(real_data("biker.compressed.ply")).means.numpy()
    assert box_sides(means, chunk_order(means, 256)) < 0.8 * box_sides(means, morton_order(means))
