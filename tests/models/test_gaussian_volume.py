"""Proves the density of Gaussians: that of a plain loop, whatever the order of rows and the company of points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from h3d.models import gaussian_volume
from h3d.models.gaussian_volume import REACH, GaussianDensity
from h3d.models.gaussians import Gaussians, from_rows
from h3d.renderers.cameras import quat_to_rotation


def rows(count: int, seed: int = 0, *, scale: float = 0.2) -> Gaussians:
    """Flat, long and round Gaussians in a box of sides 2, turned at random, faint and opaque."""
    draws = np.random.default_rng(seed)
    return from_rows(
        means=draws.uniform(-1.0, 1.0, (count, 3)),
        quats=draws.normal(size=(count, 4)),
        log_scales=np.log(scale) + draws.uniform(-3.0, 0.5, (count, 3)),
        logit_opacities=draws.uniform(-4.0, 4.0, count),
        sh=draws.normal(size=(count, 1, 3)),
    )


def summed(gaussians: Gaussians, points: np.ndarray) -> np.ndarray:
    """The definition, row by row."""
    total = np.zeros(len(points))
    for k in range(len(gaussians)):
        axes = quat_to_rotation(gaussians.quats[k].double().numpy())
        off = (points - gaussians.means[k].double().numpy()) @ axes / gaussians.scales[k].double().numpy()
        square = (off**2).sum(axis=1)
        total += np.where(square <= REACH**2, float(gaussians.opacities[k]) * np.exp(-0.5 * square), 0.0)
    return total


def points_in(density: GaussianDensity, count: int) -> np.ndarray:
    low, high = density.box
    return (low + (high - low) * np.random.default_rng(1).random((count, 3))).astype(np.float32)


def test_the_density_is_that_of_a_plain_loop():
    gaussians = rows(500)
    density = GaussianDensity.of(gaussians)
    points = points_in(density, 4000)
    wanted = summed(gaussians, points.astype(np.float64))
    # At the cut a row has a ninetieth of its opacity: a point that rounding moves across it may gain or lose that.
    off = np.abs(density.at(points) - wanted)
    assert float(np.quantile(off, 0.995)) < 1e-4 and off.max() < 0.012
    assert float((wanted > 0.1).mean()) > 0.05


def test_it_is_so_with_cells_of_any_size(monkeypatch: pytest.MonkeyPatch):
    gaussians = rows(100)
    fine = GaussianDensity.of(gaussians)
    points = points_in(fine, 2000)
    monkeypatch.setattr(gaussian_volume, "MAX_PAIRS", 500)
    coarse = GaussianDensity.of(gaussians)
    assert coarse.cell > 1.9 * fine.cell and np.allclose(coarse.at(points), fine.at(points), atol=1e-6)


def test_neither_the_order_of_rows_nor_the_other_points_change_a_bit():
    gaussians = rows(500)
    density = GaussianDensity.of(gaussians)
    points = points_in(density, 3000)
    found = density.at(points)
    shuffled = gaussians.keep(torch.randperm(500, generator=torch.Generator().manual_seed(0)))
    assert np.array_equal(GaussianDensity.of(shuffled).at(points), found)
    assert np.array_equal(density.at(points[::7]), found[::7])
    assert np.array_equal(density.at(points[::-1])[::-1], found)


def test_no_block_that_is_dense_somewhere_is_overlooked():
    gaussians = rows(200)
    density = GaussianDensity.of(gaussians)
    points = points_in(density, 100_000)
    found, side = density.at(points), 0.11
    lows = density.box[0] + np.floor((points - density.box[0]) / side) * side
    for level in (0.05, 0.5, 1.0):
        reached = density.may_reach(lows, lows + side, level)
        assert reached[found >= level].all() and (found >= level).any()
        assert not reached.all(), "it would be of no use"


def test_points_beyond_the_box_have_none_and_those_on_its_faces_what_is_there():
    density = GaussianDensity.of(rows(50))
    low, high = density.box
    assert not density.at(np.stack([low - 1.0, high + 1.0]).astype(np.float32)).any()
    nodes = np.stack(np.meshgrid(*np.linspace(low, high, 9).T, indexing="ij"), axis=-1).reshape(-1, 3)
    nodes = nodes.astype(np.float32)
    assert np.allclose(density.at(nodes), summed(rows(50), nodes.astype(np.float64)), atol=0.012)


def test_the_box_holds_what_belongs_together_and_no_strays():
    gaussians = rows(1000)
    box = GaussianDensity.of(gaussians).box
    assert (box[0] <= gaussians.means.numpy().min(axis=0)).all() and (
        box[1] >= gaussians.means.numpy().max(axis=0)
    ).all()
    means = gaussians.means.clone()
    means[:3] = torch.tensor([[500.0, 0.0, 0.0], [0.0, -400.0, 0.0], [0.0, 0.0, 1e6]])
    strayed = GaussianDensity.of(replace(gaussians, means=means)).box
    assert np.abs(strayed).max() < 3.0
    faint = replace(gaussians, logit_opacities=torch.full((1000,), -6.0))
    with pytest.raises(ValueError, match=r"none of 1,000 has an opacity of 0.05 or more.*train them further"):
        GaussianDensity.of(faint)


def test_rows_that_are_no_numbers_or_flat_to_the_last_bit_do_no_harm():
    gaussians = rows(100)
    means, log_scales = gaussians.means.clone(), gaussians.log_scales.clone()
    means[0, 0], log_scales[1, 2], log_scales[2] = float("nan"), -200.0, float("inf")
    density = GaussianDensity.of(replace(gaussians, means=means, log_scales=log_scales))
    found = density.at(points_in(density, 1000))
    assert np.isfinite(found).all() and (found > 0.0).any()
