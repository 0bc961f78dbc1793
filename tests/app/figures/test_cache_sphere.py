"""Proves the figure of a cache's sphere: tiles land where their cells are on the map, with the colour of their value,
the files are whole and of their kind, and the table holds every counter."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from cached_runs import cached_view
from PIL import Image

from h3d.app.figures.cache_sphere import caption, figure, write_csv, write_figure
from h3d.app.figures.colormaps import SEQUENTIAL, colored
from h3d.app.figures.world_map import mollweide, tiles, wrapped
from h3d.models.hash3d import CacheView, Config, Grid, Hash3D, view_of
from h3d.models.hash3d.sphere import Quantity, patches

STEPS = 60


@pytest.fixture(scope="module")
def view() -> CacheView:
    return cached_view(Config(eta=0.9, check_share=0.3, grids=(Grid(90.0, 45.0, 1.0, 500.0),)), STEPS)


def test_the_projection_is_mollweides():
    root = np.sqrt(2.0)
    corners = mollweide(np.array([[0, 0], [180, 0], [-180, 0], [0, 90], [90, -90]], float))
    np.testing.assert_allclose(corners, [[0, 0], [2 * root, 0], [-2 * root, 0], [0, root], [0, -root]], atol=1e-5)
    elevations = np.linspace(-89.9, 89.9, 721)
    theta = np.arcsin(mollweide(np.stack([np.zeros(721), elevations], axis=1))[:, 1] / root)
    np.testing.assert_allclose(2 * theta + np.sin(2 * theta), np.pi * np.sin(np.radians(elevations)), atol=1e-5)


def test_areas_are_true():
    bounds = np.array([[[10.0, 20.0], [-5.0, 5.0]], [[150.0, 160.0], [60.0, 70.0]]])
    shapes, _ = tiles(bounds)
    x, y = shapes[..., 0], shapes[..., 1]
    areas = 0.5 * np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1))
    truth = np.radians(10.0 - 0.4) * (
        np.sin(np.radians(bounds[:, 1, 1] - 0.2)) - np.sin(np.radians(bounds[:, 1, 0] + 0.2))
    )
    np.testing.assert_allclose(areas, truth, rtol=2e-3)


def test_a_tile_over_the_end_of_the_map_comes_as_two():
    shapes, owners = tiles(np.array([[[0.0, 45.0], [0.0, 30.0]], [[150.0, 200.0], [0.0, 30.0]]]))
    assert owners.tolist() == [0, 1, 1]
    assert shapes[1, :, 0].min() > 0 and shapes[2, :, 0].max() < 0
    assert np.abs(shapes[1:, :, 0]).max() <= 2 * np.sqrt(2.0)
    assert wrapped(np.array([350.0, 5.0])).tolist() == [-10.0, 5.0]


@pytest.mark.parametrize("quantity", get_args(Quantity))
def test_every_quantity_and_layer_is_a_figure(view: CacheView, quantity: Quantity, tmp_path: Path):
    for layer in (None, 1):
        path = tmp_path / f"{layer}.png"
        write_figure(path, view, quantity, layer)
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert picture.shape[1] == 1280 and picture.std() > 10


def test_a_cells_colour_is_that_of_its_value(view: CacheView):
    made = figure(view, "hits", 1)
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=200)
    pixels = np.asarray(Image.open(buffer).convert("RGB"))
    found = patches(view.statistics, "hits", 1)
    recent = set(found.recent_hits(8).tolist())
    checked = 0
    for patch in np.flatnonzero(np.isfinite(found.values)):
        middle = found.bounds[patch].mean(axis=1)
        at = made.axes[0].transData.transform(mollweide(wrapped(middle + 3.0))) * 200 / made.dpi
        near_camera = any(np.abs(wrapped(np.array(x.key[:2])) - wrapped(middle + 3.0)).max() < 12 for x in view.last)
        if not near_camera:
            wanted = 255 * colored(found.values[patch : patch + 1], SEQUENTIAL, *found.span)[0]
            np.testing.assert_allclose(pixels[-int(at[1]) - 1, int(at[0])], wanted, atol=3)
            checked += 1
    assert checked >= 4 and len(recent) > 0


@pytest.mark.parametrize(
    "suffix, magic", [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG"), (".PNG", b"\x89")]
)
def test_the_suffix_says_the_kind(view: CacheView, suffix: str, magic: bytes, tmp_path: Path):
    path = tmp_path / f"sphere{suffix}"
    write_figure(path, view, "hit rate")
    assert path.read_bytes().startswith(magic)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing is left beside it"


def test_another_suffix_is_refused_and_nothing_is_written(view: CacheView, tmp_path: Path):
    with pytest.raises(ValueError, match=r"sphere\.gif: a figure ends in \.pdf, \.png, \.svg, not in \.gif"):
        write_figure(tmp_path / "sphere.gif", view, "hits")
    assert list(tmp_path.iterdir()) == []


def test_the_caption_says_what_was_counted(view: CacheView):
    totals = view.statistics.totals
    text = caption(view)
    assert f"step {STEPS}" in text and f"{totals['hits']} hits of {totals['tries']} tries" in text
    assert "full pass" in text and "hit pass" in text and f"{view.statistics.entries} entries" in text


def test_a_cache_that_was_never_asked_is_a_figure_too(tmp_path: Path):
    from tiny_unets import tiny_unet

    empty = view_of(Hash3D(tiny_unet()))
    write_figure(tmp_path / "empty.png", empty, "hit rate")
    write_csv(tmp_path / "empty.csv", empty)
    assert len((tmp_path / "empty.csv").read_text().splitlines()) == 1
    assert "0 hits of 0 tries ·" in caption(empty)


def test_the_table_holds_every_counter_of_every_cell(view: CacheView, tmp_path: Path):
    write_csv(tmp_path / "cells.csv", view)
    with open(tmp_path / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = view.statistics.table()
    assert len(rows) == len(view.statistics.grid) and list(rows[0]) == list(table)
    for name, column in table.items():
        written = np.array([float(row[name]) if row[name] else np.nan for row in rows])
        np.testing.assert_array_equal(written, np.asarray(column, np.float64), err_msg=name)
    assert any(row["error"] == "" for row in rows), "what is not known stays empty"
