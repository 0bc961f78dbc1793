"""Proves the sphere of camera cells: every camera lies in the patch of its own cell, counters are put together rightly
over radii and timesteps, and the tiles that are drawn lie where the cells do and face who looks at them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from h3d.models.hash3d import ADAPTIVE_GRIDS, Column, Grid, Statistics
from h3d.models.hash3d.query import Query
from h3d.models.hash3d.sphere import Quantity, angles, directions, patches, timestep_layers
from h3d.models.hash3d.sphere_mesh import rim_mesh, sphere_mesh
from h3d.models.hash3d.table import Limits, Table
from h3d.models.procedural import view_camera

ANY = torch.zeros(1)
AZIMUTHS = st.floats(-720.0, 720.0, allow_nan=False)
ELEVATIONS = st.floats(-90.0, 90.0, allow_nan=False)
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


def filled(grids: tuple[Grid, ...], keys: list[tuple[float, float, float, float]]) -> Table:
    """A table with an entry at each key, inserted at steps 1, 2, ..."""
    table = Table(grids, Limits(queue=100))
    for step, key in enumerate(keys, 1):
        table.insert(Query(key, ANY), ANY, step)
    return table


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 179.0, 359.9])
@pytest.mark.parametrize("elevation", [-90.0, -20.0, 0.0, 65.0, 90.0])
def test_a_direction_is_where_the_camera_of_these_angles_stands(azimuth: float, elevation: float):
    camera = view_camera(azimuth, elevation, 2.0, 8)
    np.testing.assert_allclose(directions(azimuth, elevation), camera.position / 2.0, atol=1e-12)


@given(AZIMUTHS, st.floats(-89.0, 89.0))
def test_angles_undo_directions(azimuth: float, elevation: float):
    found, up = angles(3.0 * directions(azimuth, elevation))
    assert 0.0 <= found < 360.0 and up == pytest.approx(elevation, abs=1e-9)
    assert (found - azimuth + 180.0) % 360.0 == pytest.approx(180.0, abs=1e-9)


@given(AZIMUTHS, ELEVATIONS, st.sampled_from([Grid(), Grid(50.0, 35.0), ADAPTIVE_GRIDS[0], Grid(360.0, 180.0)]))
@example(0.0, 90.0, Grid())
@example(360.0, -90.0, Grid())
@example(-1e-20, 0.0, Grid(50.0, 35.0))
@example(180.0, 30.0, Grid())
def test_a_camera_lies_in_the_patch_of_its_own_cell(azimuth: float, elevation: float, grid: Grid):
    statistics = filled((grid,), [(azimuth, elevation, 2.0, 100.0)]).statistics(1)
    found = patches(statistics, "occupancy")
    assert found.at(azimuth, elevation) == 0
    assert found.cells(0).tolist() == [0]
    other = patches(filled((grid,), [(azimuth + 180.0, -elevation, 2.0, 100.0)]).statistics(1), "occupancy")
    same = grid.cell((azimuth, elevation, 2.0, 100.0)) == grid.cell((azimuth + 180.0, -elevation, 2.0, 100.0))
    assert (other.at(azimuth, elevation) is not None) == same


def test_counters_are_added_up_and_rates_are_sums_over_sums():
    table = filled((Grid(),), [(10.0, 10.0, 1.5, 100.0), (10.0, 10.0, 2.5, 100.0), (10.0, 10.0, 2.5, 600.0)])
    cells = [Grid().cell((10.0, 10.0, radius, t)) for radius, t in ((1.5, 100.0), (2.5, 100.0), (2.5, 600.0))]
    for cell, tries, hits in zip(cells, (1, 4, 10), (1, 1, 2), strict=True):
        for i in range(tries):
            table.ledger.tried(0, cell, hit=i < hits, step=5 + i)
    table.checked(0, cells[1], 0.1)
    for error in (0.4, 0.4, 0.5):
        table.checked(0, cells[2], error)
    statistics = table.statistics(10)

    def value(quantity: Quantity, layer: int | None = None) -> float:
        found = patches(statistics, quantity, layer)
        (only,) = found.values[np.isfinite(found.values)]
        return float(only)

    assert value("hits") == 4 and value("hit rate") == pytest.approx(4 / 15), "not the mean of 1, 1/4 and 1/5"
    assert value("occupancy") == 3 and value("staleness") == pytest.approx(10 - (1 + 2 + 3) / 3)
    assert value("error") == pytest.approx((0.1 + 0.4 + 0.4 + 0.5) / 4), "every check counts alike"
    assert value("hit rate", layer=0) == pytest.approx(2 / 5) and value("hit rate", layer=2) == pytest.approx(0.2)
    assert value("staleness", layer=2) == pytest.approx(7.0)
    assert len(patches(statistics, "hits", 1).values) == 0, "nothing was seen in the second layer of timesteps"
    assert patches(statistics, "hits").last_hit.tolist() == [6]


def test_what_was_never_asked_or_checked_has_no_value_and_no_tile():
    statistics = filled((Grid(),), [(10.0, 10.0, 1.0, 0.0)]).statistics(1)
    for quantity in QUANTITIES:
        found = patches(statistics, quantity)
        known = quantity in ("occupancy", "staleness")
        assert np.isfinite(found.values).tolist() == [known], quantity
        assert (len(sphere_mesh(found).faces) > 0) == known
        assert (found.at(10.0, 10.0) is not None) == known
        low, high = found.span
        assert low == 0.0 and high > 0.0


def test_an_empty_cache_is_an_empty_sphere():
    statistics = Table((Grid(),), Limits()).statistics(0)
    found = patches(statistics, "hits")
    mesh = sphere_mesh(found)
    assert len(found.values) == 0 and mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)
    assert len(timestep_layers(statistics)) == 0 and found.at(0.0, 0.0) is None
    assert len(found.recent_hits(8)) == 0 and len(rim_mesh(found, found.recent_hits(8)).faces) == 0


def test_layers_go_from_zero_to_the_last_timestep_that_was_seen():
    layers = timestep_layers(filled((Grid(),), [(0.0, 0.0, 1.0, 999.0)]).statistics(1))
    assert layers.tolist() == [[0.0, 250.0], [250.0, 500.0], [500.0, 750.0], [750.0, 1000.0]]


def test_a_layer_of_the_finest_grid_takes_the_cells_around_it_from_wider_ones():
    grids = (Grid(timesteps=100.0), Grid(timesteps=300.0))
    statistics = filled(grids, [(0.0, 0.0, 1.0, 150.0), (0.0, 0.0, 1.0, 450.0)]).statistics(2)
    found = patches(statistics, "occupancy", 1)
    assert [statistics.bounds[row, 3].tolist() for patch in range(2) for row in found.cells(patch)] == [
        [100.0, 200.0],
        [0.0, 300.0],
    ]


def test_the_finest_grid_that_knows_something_answers_for_a_direction():
    statistics = filled(ADAPTIVE_GRIDS, [(25.0, 25.0, 1.0, 0.0)]).statistics(1)
    found = patches(statistics, "occupancy")
    at = found.at(25.0, 25.0)
    assert at is not None and found.grid[at] == 0 and found.bounds[at].tolist() == [[20.0, 30.0], [20.0, 30.0]]
    beside = found.at(35.0, 25.0)
    assert beside is not None and found.grid[beside] == 1, "a cell of 20 degrees reaches further than one of 10"


def test_the_patches_that_hit_last_come_latest_first():
    table = filled((Grid(),), [(10.0, 0.0, 1.0, 0.0), (100.0, 0.0, 1.0, 0.0), (200.0, 0.0, 1.0, 0.0)])
    for azimuth, step in ((10.0, 3), (200.0, 7)):
        table.ledger.tried(0, Grid().cell((azimuth, 0.0, 1.0, 0.0)), hit=True, step=step)
    found = patches(table.statistics(9), "hits")
    assert found.bounds[found.recent_hits(8), 0, 0].tolist() == [180.0, 0.0]
    assert found.bounds[found.recent_hits(1), 0, 0].tolist() == [180.0]


def all_around(grids: tuple[Grid, ...]) -> Statistics:
    azimuths, elevations = np.meshgrid(np.arange(5.0, 360.0, 10.0), np.arange(-85.0, 90.0, 10.0))
    keys = [(float(a), float(e), 1.0, 0.0) for a, e in zip(azimuths.flat, elevations.flat, strict=True)]
    return filled(grids, keys).statistics(len(keys))


@pytest.mark.parametrize("grids", [(Grid(),), (Grid(50.0, 35.0),), ADAPTIVE_GRIDS], ids=["paper", "odd", "adaptive"])
@pytest.mark.parametrize("inward", [False, True], ids=["from outside", "from inside"])
def test_tiles_lie_in_their_cells_look_round_and_face_the_eye(grids: tuple[Grid, ...], inward: bool):
    statistics = all_around(grids)
    found = patches(statistics, "occupancy")
    mesh = sphere_mesh(found, inward=inward)
    corners = mesh.vertices.astype(np.float64)[mesh.faces.astype(np.int64)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.einsum("fk,fk->f", normals, corners.mean(axis=1)) * (-1.0 if inward else 1.0)
    assert (facing > -1e-12).all(), "a tile is turned away"
    assert (np.linalg.norm(corners.mean(axis=1), axis=1) > 0.997).all(), "a tile is flat: it cuts into the sphere"
    assert set(mesh.patch.tolist()) == set(range(len(found.values)))
    for patch, vertex in zip(mesh.patch.tolist()[::7], mesh.vertices[::7], strict=True):
        azimuth, elevation = angles(vertex)
        (left, right), (low, high) = found.bounds[patch]
        assert low - 1e-3 < elevation < high + 1e-3
        assert left - 1e-3 < azimuth < right + 1e-3


@pytest.mark.parametrize("inward", [False, True])
def test_finer_tiles_and_rims_are_nearer_to_the_eye(inward: bool):
    statistics = all_around(ADAPTIVE_GRIDS)
    found = patches(statistics, "occupancy")
    mesh, rims = sphere_mesh(found, inward=inward), rim_mesh(found, np.array([0, 5]), inward=inward)
    radii = np.linalg.norm(mesh.vertices, axis=1) * (-1.0 if inward else 1.0)
    nearness = [radii[found.grid[mesh.patch] == grid] for grid in range(3)]
    assert nearness[0].min() > nearness[1].max() and nearness[1].min() > nearness[2].max()
    rim = np.linalg.norm(rims.vertices, axis=1) * (-1.0 if inward else 1.0)
    assert rim.min() > radii.max()


def test_tiles_cover_the_sphere_but_for_narrow_gaps():
    statistics = all_around((Grid(),))
    mesh = sphere_mesh(patches(statistics, "occupancy"))
    corners = mesh.vertices.astype(np.float64)[mesh.faces.astype(np.int64)]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    assert 0.95 * 4 * np.pi < area < 4 * np.pi


def test_hits_are_those_of_the_ledger_whatever_the_layer():
    rng, grid = np.random.default_rng(0), Grid()
    table = Table((grid,), Limits())
    for step in range(300):
        key = (rng.uniform(0, 360), rng.uniform(-90, 90), rng.uniform(1, 3), rng.uniform(0, 999))
        table.insert(Query(key, ANY), ANY, step)
        table.ledger.tried(0, grid.cell(key), hit=bool(rng.random() < 0.5), step=step)
    statistics = table.statistics(300)
    whole = np.nansum(patches(statistics, "hits").values)
    layers = [np.nansum(patches(statistics, "hits", i).values) for i in range(len(timestep_layers(statistics)))]
    assert whole == sum(layers) == statistics.column(Column.HITS).sum() == statistics.totals["hits"]
