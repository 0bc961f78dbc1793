"""Proves selections: what each shape holds, that shapes move with the rows, how they join, and that files keep them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learnt_rows import generator, some_gaussians

from h3d.models.gaussians import from_rows
from h3d.models.selection import (
    All,
    Box,
    Fainter,
    Floaters,
    Larger,
    Rectangle,
    Rows,
    Selection,
    Sphere,
    floating,
    in_box,
    in_rectangle,
)
from h3d.models.similarity import Similarity
from h3d.renderers.cameras import look_at, rotation_to_quat

PLACE = Similarity((0.8, 0.1, -0.5, 0.3), (1.0, -2.0, 0.5), 2.5)
ROWS = some_gaussians(300, scale=0.1)
HALF_TURN = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))  # a quarter about z


def shapes() -> list:
    return [
        Box((0.5, 0.5, 0.5), (0.3, 0.1, 0.4), (0.9, 0.1, 0.2, 0.3)),
        Box((0.5, 0.5, 0.5), (0.3, 0.1, 0.4), inside=False),
        Sphere((0.2, 0.5, 0.5), 0.3),
        Sphere((0.2, 0.5, 0.5), 0.3, inside=False),
        Rectangle((0.5, 0.5, -2.0), (1.0, 0.0, 0.0, 0.0), (-0.1, -0.05, 0.1, 0.2)),
        Fainter(0.4),
        Larger(0.2),
        Floaters(1.2),
        Rows(((3, 20), (40, 40))),
    ]


def varied():
    """Rows of which every shape means some and not all."""
    return from_rows(
        means=ROWS.means,
        quats=ROWS.quats,
        log_scales=torch.rand(300, 3, generator=generator(5)) - 2.5,
        logit_opacities=torch.randn(300, generator=generator(6)),
        sh=ROWS.sh,
    )


def test_a_turned_box_holds_what_lies_along_its_own_axes():
    points = torch.tensor([[0.0, 0.9, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0]])
    assert in_box(points, (0.0, 0.0, 0.0), (1.0, 0.1, 0.1), HALF_TURN).tolist() == [True, False, False, True]


def test_a_rectangle_holds_what_projects_into_it_and_nothing_behind_the_eye():
    camera = look_at(np.array([3.0, -1.0, 0.5]), np.zeros(3), np.array([0.0, -1.0, 0.0]), width=200, height=100)
    points = torch.randn(500, 3, generator=generator()) * 2.0
    local = points.double() @ torch.from_numpy(camera.viewmat[:3, :3].T) + torch.from_numpy(camera.viewmat[:3, 3])
    pixels = local @ torch.from_numpy(camera.K.T)
    x, y = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
    expected = (local[:, 2] > 0) & (x >= 60) & (x <= 150) & (y >= 20) & (y <= 70)
    slopes = tuple(((np.array([60, 20, 150, 70]) - [100, 50, 100, 50]) / camera.focal).tolist())
    wxyz = tuple(rotation_to_quat(camera.camera_to_world[:3, :3]).tolist())
    found = in_rectangle(points, tuple(camera.position.tolist()), wxyz, slopes)  # type: ignore[arg-type]
    assert 5 < int(found.sum()) < 400 and torch.equal(found, expected)


def test_floaters_are_those_that_stand_alone_however_far():
    near = torch.randn(200, 3, generator=generator())
    far = torch.tensor([[40.0, 0.0, 0.0], [0.0, 1e4, 0.0]])
    assert floating(torch.cat([near, far]), 8.0).nonzero()[:, 0].tolist() == [200, 201]
    assert not bool(floating(near[:5], 1.0).any()), "too few to tell"


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: type(shape).__name__)
def test_a_shape_means_the_same_rows_after_both_have_moved(shape):
    rows = varied()
    before = shape.mask(rows)
    assert 0 < int(before.sum()) < len(rows)
    moved = rows.transformed(np.array(PLACE.wxyz), np.array(PLACE.position), PLACE.scale)
    assert torch.equal(shape.moved(PLACE).mask(moved), before)
    assert torch.equal(shape.moved(PLACE).moved(PLACE.inverse).mask(rows), before)


def test_parts_join_in_order():
    a, b = Rows(((0, 9),)), Rows(((5, 14),))
    cases = {"add": [0, 15], "subtract": [0, 5], "intersect": [5, 10]}
    for how, (first, last) in cases.items():
        mask = Selection().then("add", a).then(how, b).mask(ROWS)  # type: ignore[arg-type]
        assert mask.nonzero()[:, 0].tolist() == list(range(first, last)), how
    inverted = Selection().then("add", a).inverted
    assert inverted.mask(ROWS).nonzero()[:, 0].tolist() == list(range(10, 300))
    assert not bool(Selection().mask(ROWS).any()) and bool(Selection().then("add", All()).mask(ROWS).all())


def test_a_selection_survives_a_file():
    selection = Selection()
    for how, shape in zip(["add", "subtract", "intersect", "toggle"] * 3, [All(), *shapes()], strict=False):
        selection = selection.then(how, shape)  # type: ignore[arg-type]
    assert selection.mask(varied()).any()  # Fills what is computed once: it is no part of the file.
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("all", "must be a list of shapes"),
        ([{"how": "add", "shape": "cone"}], "must be a shape of box"),
        ([{"how": "add", "shape": "sphere", "radius": 1.0}], "must be a shape of box"),
        ([{"how": "xor", "shape": "all"}], "how is 'xor'; must be one of add"),
        ([{"how": "add", "shape": "rows", "ids": [[5, 2]]}], "a run ends before it begins"),
    ],
)
def test_a_wrong_file_gets_a_sentence(value, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Selection.from_json(value)


@given(st.lists(st.integers(0, 200), max_size=60))
def test_ids_are_written_in_runs_and_read_back(ids: list[int]):
    rows = Rows.of(torch.tensor(ids, dtype=torch.int64))
    assert rows.array.tolist() == sorted(set(ids)) and rows.count == len(set(ids))
    assert all(later[0] > first[1] + 1 for first, later in zip(rows.ids, rows.ids[1:], strict=False)), "no shorter runs"
