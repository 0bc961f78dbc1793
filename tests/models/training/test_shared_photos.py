"""Proves that runs of one data set hold its photos once, see a file that has changed, and let go what nobody holds."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import DatasetError
from h3d.models.training.photo_rays import photo_rays
from h3d.models.training.pinhole_photos import pinhole_photo, pinhole_photos


def test_two_runs_hold_the_same_photos_and_another_size_is_another_photo(tmp_path: Path):
    folder = write_posed_ball(tmp_path, cameras=4, size=16)
    first, second = (datasets.read(folder) for _ in range(2))
    a, b = (pinhole_photos(data, data.train, 1) for data in (first, second))
    assert all(x is y for x, y in zip(a, b, strict=True))
    assert pinhole_photo(first.images[0], 2) is not a[0]
    rays = [photo_rays(data, data.train, 1) for data in (first, second)]
    assert rays[0] is rays[1] and photo_rays(first, first.train, 2) is not rays[0]
    assert photo_rays(first, first.train[:2], 1) is not rays[0]
    assert rays[0].to(rays[0].pixels.device) is rays[0]


def test_photos_go_with_the_last_run_that_holds_them(tmp_path: Path):
    data = datasets.read(write_posed_ball(tmp_path, cameras=4, size=16))
    photo, rays = pinhole_photo(data.images[0], 1), photo_rays(data, data.train, 1)
    gone = [weakref.ref(photo), weakref.ref(rays)]
    del photo, rays
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_file_that_has_changed_is_read_again_and_one_that_is_gone_is_said(tmp_path: Path):
    data = datasets.read(write_posed_ball(tmp_path, cameras=4, size=16))
    posed = data.images[0]
    before = pinhole_photo(posed, 1)
    Image.fromarray(np.full((16, 16, 4), 255, np.uint8)).save(posed.path)
    os.utime(posed.path, ns=(1, 1))
    assert bool((pinhole_photo(posed, 1).pixels == 255).all()) and not bool((before.pixels == 255).all())
    posed.path.unlink()
    with pytest.raises(DatasetError):
        pinhole_photo(posed, 1)
