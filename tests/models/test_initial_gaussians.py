"""Proves where learning starts: widths by neighbours, colours and opacity as asked, random points in their box."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from h3d.models.initial_gaussians import initial_gaussians, neighbour_distances, random_points
from h3d.renderers import harmonics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rows_are_as_wide_as_their_three_nearest_neighbours_are_far():
    points = random_points(np.array([[-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]]), 60, generator())
    between = torch.cdist(points.double(), points.double()).sort(dim=1).values[:, 1:4]
    expected = between.square().mean(dim=1).sqrt().float()
    gaussians = initial_gaussians(points, None, generator(), 3)
    torch.testing.assert_close(gaussians.scales, expected[:, None].expand(-1, 3), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gaussians.opacities, torch.full((60,), 0.1))
    assert gaussians.sh.shape == (60, 16, 3) and torch.equal(gaussians.means, points)


def test_colours_are_those_of_the_points():
    colors = torch.rand(8, 3, generator=generator())
    gaussians = initial_gaussians(torch.rand(8, 3, generator=generator(1)), colors, generator(), 2)
    torch.testing.assert_close(harmonics.dc_to_rgb(gaussians.sh[:, 0]), colors)
    assert not bool(gaussians.sh[:, 1:].any())


def test_points_that_coincide_have_a_width_above_zero():
    points = torch.cat([torch.zeros(5, 3), torch.ones(5, 3)])
    assert float(neighbour_distances(points).min()) > 0.0
    assert bool(initial_gaussians(torch.zeros(6, 3), None, generator(), 0).log_scales.isfinite().all())


def test_random_points_fill_their_box_and_follow_the_seed():
    bounds = np.array([[-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]])
    points = random_points(bounds, 2000, generator(4))
    low, high = torch.from_numpy(bounds).float()
    share = (points - low) / (high - low)
    assert float(share.min()) >= 0.0 and float(share.max()) <= 1.0
    assert bool(((share.mean(dim=0) - 0.5).abs() < 0.05).all())
    assert torch.equal(points, random_points(bounds, 2000, generator(4)))


@pytest.mark.parametrize(
    ("points", "colors", "sentence"),
    [
        (torch.zeros(3, 3), None, "points: there are 3; at least 4 are needed"),
        (torch.zeros(5, 2), None, r"points: their shape is \[5, 2\]"),
        (torch.full((5, 3), float("nan")), None, "points: 5 of 5 are not finite"),
        (torch.rand(5, 3), torch.zeros(4, 3), r"colors: their shape is \[4, 3\]"),
    ],
)
def test_points_that_cannot_be_started_from_are_named(points: torch.Tensor, colors, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        initial_gaussians(points, colors, generator(), 0)
