"""Proves that the colour maps are even, clamp, and keep one colour per key."""

import numpy as np
import pytest

from h3d.app.figures import colormaps


def test_the_sequential_maps_rise_in_lightness_all_the_way():
    for table in (colormaps.SEQUENTIAL, colormaps.HEAT):
        lightness = colormaps._oklab(table.astype(np.float64))[:, 0]
        assert (np.diff(lightness) > -1e-3).all()
        assert lightness[-1] - lightness[0] > 0.5


@pytest.mark.parametrize("table", [colormaps.SEQUENTIAL, colormaps.HEAT, colormaps.DIVERGING])
def test_steps_look_equal(table):
    steps = np.linalg.norm(np.diff(colormaps._oklab(table.astype(np.float64)), axis=0), axis=1)
    assert steps.max() < 1.35 * steps.mean()


def test_the_diverging_map_is_neutral_in_the_middle_and_even_to_both_sides():
    assert np.ptp(colormaps.DIVERGING[127:129]) < 0.03
    lightness = colormaps._oklab(colormaps.DIVERGING.astype(np.float64))[:, 0]
    assert np.abs(lightness - lightness[::-1]).max() < 0.12


def test_oklab_and_srgb_are_inverses():
    colors = np.random.default_rng(0).random((100, 3))
    assert np.abs(colormaps._srgb(colormaps._oklab(colors)) - colors).max() < 1e-6


def test_values_outside_the_range_and_nan_go_to_the_ends():
    got = colormaps.indices(np.array([-5.0, 0.0, 0.5, 1.0, np.inf, -np.inf, np.nan]), 0.0, 1.0)
    assert got.tolist() == [0, 0, 128, 255, 255, 0, 0]
    assert colormaps.indices(np.array([3.0]), 1.0, 1.0).tolist() == [0]


def test_a_key_keeps_its_colour_and_neighbours_differ():
    keys = np.arange(1000)
    colors = colormaps.distinct(keys)
    assert np.array_equal(colors[::7], colormaps.distinct(keys[::7]))
    assert np.median(np.linalg.norm(np.diff(colors, axis=0), axis=1)) > 0.2
    assert colors.max(axis=1).min() > 0.3
