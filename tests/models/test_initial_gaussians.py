"""Proves where learning starts: widths by neighbours, colours and opacity as asked, random points in their box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dataset_files import real_data

from h3d.models.initial_gaussians import initial_gaussians, neighbour_distances, random_points
from h3d.renderers import RasterOptions, harmonics, rasterize_gaussians


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


BLOCK = 36
"""Pixels across which colours are averaged: 18 x 11 blocks of the garden's pictures."""


def test_a_real_garden_can_be_seen_in_what_is_started_with():
    garden = np.load(real_data("garden") / "test_garden.npz")
    points, colors = torch.from_numpy(garden["means3d"]), torch.from_numpy(garden["colors"]).float() / 255.0
    viewmats, Ks = torch.from_numpy(garden["viewmats"]), torch.from_numpy(garden["Ks"])
    start = initial_gaussians(points, colors, generator(), 3)
    size, options = (int(garden["width"]), int(garden["height"])), RasterOptions(backend="cpu")
    rows = (start.means, start.quats, start.scales, start.opacities, start.sh)
    seen = rasterize_gaussians(*rows, viewmats, Ks, *size, options=options)
    assert len(start) == 138_766 and bool(start.log_scales.isfinite().all())
    for camera in range(3):
        # Measured: 0.79 to 0.80 covered, correlated by 0.92 to 0.93.
        assert float(seen.alpha[camera].mean()) > 0.7
        mean, known = block_means(points, colors, viewmats[camera], Ks[camera], *size)
        found = seen.rgb[camera] / seen.alpha[camera, ..., None].clamp_min(1e-3)
        found = found[: BLOCK * mean.shape[0], : BLOCK * mean.shape[1]].permute(2, 0, 1)
        found = torch.nn.functional.avg_pool2d(found, BLOCK).permute(1, 2, 0)
        assert np.corrcoef(found[known].ravel(), mean[known].ravel())[0, 1] > 0.8


def block_means(
    points: torch.Tensor, colors: torch.Tensor, viewmat: torch.Tensor, K: torch.Tensor, width: int, height: int
) -> tuple[torch.Tensor, torch.Tensor]:  # [rows, columns, 3], [rows, columns] bool
    """The mean colour of the points that each block of a picture shows, and where there are enough of them."""
    at = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    columns, rows = width // BLOCK, height // BLOCK
    x, y = (at[:, :2] / at[:, 2:] / BLOCK).floor().long().unbind(1)
    inside = (at[:, 2] > 0.2) & (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    block = (y * columns + x)[inside]
    count = torch.bincount(block, minlength=rows * columns)
    sums = torch.zeros(rows * columns, 3).index_add_(0, block, colors[inside])
    return (sums / count[:, None]).view(rows, columns, 3), (count >= 20).view(rows, columns)
