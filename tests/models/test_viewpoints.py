"""Proves which cameras judge Gaussians: those of a data set with their sizes and places, else some all around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ball
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.similarity import Similarity
from h3d.models.viewpoints import all_around, of_dataset, seen_from


def test_a_data_set_gives_the_cameras_of_its_photos_to_learn_from(tmp_path: Path):
    write_posed_ball(tmp_path / "balls", cameras=5, test_cameras=2)
    found, dataset = of_dataset(tmp_path / "balls"), datasets.read(tmp_path / "balls")
    assert found.description == "5 cameras of balls" and len(found.views) == 5
    for view, i in zip(found.views, dataset.train, strict=True):
        np.testing.assert_allclose(view.camera_to_world, dataset.images[i].camera_to_world)
        np.testing.assert_allclose(view.K, dataset.images[i].K)
        assert (view.width, view.height) == (48, 48)


def test_large_photos_are_looked_at_smaller_with_the_same_field_of_view(tmp_path: Path):
    write_posed_ball(tmp_path / "balls", cameras=1, test_cameras=1)
    whole = datasets.read(tmp_path / "balls").images[0]
    (small,) = of_dataset(tmp_path / "balls", longest_side=31).views
    assert (small.width, small.height) == (31, 31)
    assert small.width / small.K[0, 0] == pytest.approx(whole.width / whole.K[0, 0])
    assert small.K[1, 2] / small.height == pytest.approx(whole.K[1, 2] / whole.height)


def test_cameras_go_along_with_rows_that_were_moved(tmp_path: Path):
    write_posed_ball(tmp_path / "balls", cameras=4)
    rows = ball((0.9, 0.1, 0.1))
    moved = rows.transformed(np.array([0.5, 0.5, 0.5, 0.5]), np.array([3.0, 1.0, -2.0]), 2.0)
    assert moved.frame != Similarity()
    before, after = (seen_from(of_dataset(tmp_path / "balls", frame=g.frame), g) for g in (rows, moved))
    torch.testing.assert_close(after.total, before.total, rtol=1e-2, atol=0.1)


def test_cameras_all_around_see_a_ball_alike_from_every_side():
    rows = ball((0.9, 0.1, 0.1), radius=3.0)
    around = all_around(rows, count=20, side=64)
    assert around.description == "20 synthetic cameras all around, none of a data set"
    places = np.array([view.camera_to_world[:3, 3] for view in around.views])
    assert np.abs(places.mean(axis=0)).max() < 0.1 * np.linalg.norm(places, axis=1).min()
    seen = seen_from(around, rows)
    assert bool((seen.pixels > 0).all()), "nothing of a ball's surface is hidden from all"
    per_side = [seen_from(type(around)((view,), ""), rows).total.sum().item() for view in around.views]
    assert max(per_side) < 1.2 * min(per_side)


def test_cameras_look_at_what_matters_though_a_floater_is_far_out():
    rows = ball((0.9, 0.1, 0.1))
    rows.means[0] = torch.tensor([1e4, 0.0, 0.0])
    assert all(np.linalg.norm(view.camera_to_world[:3, 3]) < 10.0 for view in all_around(rows).views)


def test_the_way_is_told_and_nothing_to_look_at_is_a_sentence():
    told: list[float] = []
    rows = ball((1.0, 0.0, 0.0), count=10)
    seen_from(all_around(rows, count=4, side=16), rows, progress=told.append)
    assert told == [0.0, 0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match="there are 0 Gaussians; nothing can be looked at"):
        all_around(rows.keep(torch.zeros(10, dtype=torch.bool)))
