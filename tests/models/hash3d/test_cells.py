"""Proves cells: every key lies in the bounds of its cell, azimuth wraps, poles have a cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h3d.models.hash3d import Grid
from h3d.models.hash3d.cells import normalised

sizes = st.floats(0.05, 400.0)
grids = st.builds(Grid, sizes, sizes, st.floats(0.01, 10.0), st.floats(0.5, 1500.0))
azimuths = st.floats(-1e4, 1e4)
elevations = st.floats(-90.0, 90.0)
keys = st.tuples(azimuths, elevations, st.floats(0.0, 100.0), st.floats(0.0, 1000.0))


@given(grids, keys)
@example(Grid(0.1, 0.1, 0.1, 0.1), (0.3, 0.7, 0.6, 0.7))
@example(Grid(), (-1e-20, 90.0, 0.0, 0.0))
def test_a_key_lies_within_the_bounds_of_its_cell(grid: Grid, key: tuple[float, float, float, float]):
    cell = grid.cell(key)
    lower, upper = grid.bounds([cell])[0].T
    normal = normalised([key])[0]
    assert (lower <= normal).all()
    assert (normal < upper)[[0, 2, 3]].all()
    assert normal[1] < upper[1] or normal[1] == upper[1] == 90.0


@given(grids, keys)
def test_cells_are_numbered_around_and_have_the_size_that_was_asked(grid: Grid, key):
    cell = grid.cell(key)
    lower, upper = grid.bounds([cell])[0].T
    assert 0 <= cell[0] < grid.azimuth_cells
    expected = np.array([grid.azimuth_degrees, grid.elevation_degrees, grid.radius, grid.timesteps])
    assert (upper - lower <= expected * (1 + 1e-9) + 1e-9).all()
    assert upper[0] <= 360.0


@given(grids, st.integers(-2000, 2000), st.integers(-5, 5), elevations)
def test_whole_turns_change_nothing(grid: Grid, azimuth: int, turns: int, elevation: float):
    assert grid.cell((azimuth, elevation, 1, 0)) == grid.cell((azimuth + 360 * turns, elevation, 1, 0))


@given(grids, st.lists(keys, min_size=1, max_size=20))
def test_many_at_once_are_as_one_by_one(grid: Grid, many: list[tuple[float, float, float, float]]):
    assert grid.cells(many).tolist() == [list(grid.cell(key)) for key in many]


def test_minus_and_plus_180_share_a_cell():
    assert Grid().cell((-180.0, 0, 1, 0)) == Grid().cell((180.0, 0, 1, 0))


def test_the_last_azimuth_cell_is_narrower_where_360_is_no_multiple():
    grid = Grid(azimuth_degrees=100.0)
    assert grid.azimuth_cells == 4
    assert grid.bounds([grid.cell((359.0, 0, 1, 0))])[0, 0].tolist() == [300.0, 360.0]


@pytest.mark.parametrize("size", [7.0, 20.0, 30.0, 90.0, 200.0])
def test_the_pole_shares_the_cell_below_it(size: float):
    grid = Grid(elevation_degrees=size)
    assert grid.cell((0, 90.0, 1, 0))[1] == grid.cell((0, math.nextafter(90.0, 0), 1, 0))[1]


def test_at_the_pole_azimuth_is_roll_and_still_counts():
    assert Grid().cell((0, 90, 1, 0)) != Grid().cell((180, 90, 1, 0))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ((math.nan, 0, 1, 0), "azimuth_degrees of camera 0 is nan; it must be finite"),
        ((0, math.inf, 1, 0), "elevation_degrees of camera 0 is inf; it must be finite"),
        ((0, 100.0, 1, 0), "elevation_degrees of camera 0 is 100.0; it is counted from the horizon"),
        ((0, 0, -1.0, 0), "radius of camera 0 is -1.0; it must not be below 0"),
        ((0, 0, 1, -1), "timestep of camera 0 is -1.0; it must not be below 0"),
    ],
)
def test_what_is_no_camera_gets_a_sentence(key: tuple[float, float, float, float], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Grid().cell(key)


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_cells_without_size_are_refused(size: float):
    with pytest.raises(ValueError, match="Grid.radius: .*; the size of a cell must be finite and above 0"):
        Grid(radius=size)
