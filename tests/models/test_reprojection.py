"""Proves the reprojection error: near 0 for pictures that agree, as large as what was painted over otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from h3d.models.reprojection import reprojection_error
from h3d.models.training.truth import true_views

SEED = 1_000_013


@pytest.fixture(scope="module")
def views():  # noqa: ANN201
    return true_views(SEED, 2.0)


def test_true_pictures_agree(views):
    assert reprojection_error(views.rgb, views.depth, views.cameras) < 0.05


def test_one_colour_agrees_wholly(views):
    assert reprojection_error(torch.full_like(views.rgb, 0.3), views.depth, views.cameras) == pytest.approx(0.0)


def test_pictures_of_two_colours_in_turn_differ_by_the_difference(views):
    rgb = torch.full_like(views.rgb, 0.2)
    rgb[1::2] = 0.7
    assert reprojection_error(rgb, views.depth, views.cameras) == pytest.approx(0.5, abs=1e-5)


def test_shuffled_pictures_agree_less(views):
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(views.rgb)))
    right = reprojection_error(views.rgb, views.depth, views.cameras)
    assert reprojection_error(views.rgb[order], views.depth, views.cameras) > 2.0 * right


def test_nothing_seen_is_no_number(views):
    assert math.isnan(reprojection_error(views.rgb, torch.zeros_like(views.depth), views.cameras))
