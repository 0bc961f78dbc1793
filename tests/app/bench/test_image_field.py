"""Proves the made picture of the gigapixel workload: the same however it is cut, detailed from the whole to a pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from h3d.app.bench import image_field
from h3d.app.bench.gigapixel import landscape, write_landscape
from h3d.app.bench.metrics import QUICK, Skipped
from h3d.models.pictures import tiff


def test_any_rectangle_holds_the_pixels_of_the_whole():
    whole = landscape(0, 0, 512, 512, 512)
    np.testing.assert_array_equal(landscape(101, 37, 200, 300, 512), whole[37:337, 101:301])
    assert not np.array_equal(landscape(0, 0, 64, 64, 512, seed=1), whole[:64, :64])


def test_there_is_detail_at_every_scale():
    corner = landscape(20000, 7000, 256, 256, 32768).astype(np.float64)
    found = [np.abs(np.diff(corner[::step], axis=0)).mean() for step in (1, 4, 16, 64)]
    assert found == sorted(found) and found[0] > 1.5


def test_the_file_is_in_tiles_that_are_read_in_place(tmp_path: Path):
    write_landscape(tmp_path / "a.tif", 600)
    tiles = tiff.tiles_in_place(tmp_path / "a.tif")
    assert tiles is not None and (tiles.width, tiles.height, tiles.tile_width) == (600, 600, 256)
    np.testing.assert_array_equal(tiles.read(2, 1), landscape(256, 512, 256, 88, 600))


def test_a_quick_run_leaves_the_gigapixel_out():
    with pytest.raises(Skipped, match="leave --quick out"):
        next(image_field.gigapixel(QUICK))
