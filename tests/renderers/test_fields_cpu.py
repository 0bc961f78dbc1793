"""Laws of volume rendering on the CPU: the same bits however the work is cut, bounded memory, a flag that stops it, and
arguments that are refused with a reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from field_scenes import UNIT, ball, blobs, random_samples, rays_through

from h3d.renderers import CancelFlag, Cancelled, num_threads, set_num_threads
from h3d.renderers.fields import FieldOptions, OccupancyGrid, cell_centers, composite, march, pack_bits, render_rays

FULL = OccupancyGrid.full()
ORIGINS, DIRECTIONS = rays_through(7, 3000, distance=1.6, spread=0.7)


def smooth(positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A field without edges whose colour depends on place and direction."""
    density = 40 * torch.exp(-30 * (positions - 0.5).square().sum(1))
    return density, 0.5 + 0.25 * torch.sin(9 * positions) + 0.25 * directions


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


def test_the_number_of_threads_changes_no_bit(threads):
    jitter = torch.rand(3000, generator=torch.Generator().manual_seed(1))
    grid = blobs(5, 2)
    samples = march(ORIGINS, DIRECTIONS, grid, aabb=UNIT, cone_angle=1 / 256, jitter=jitter)
    density, rgb = (a.requires_grad_() for a in smooth(samples.positions, samples.directions))
    rendered = composite(density, rgb, samples, background=(0.1, 0.2, 0.3))
    gradients = torch.autograd.grad(rendered.rgb.square().sum() + rendered.depth.sum(), [density, rgb])
    picture = render_rays(smooth, ORIGINS, DIRECTIONS, grid=grid, aabb=UNIT)
    found = (samples.positions, rendered.rgb.detach(), rendered.depth.detach(), *gradients, picture.rgb, picture.depth)
    first = FOUND.setdefault("first", found)
    for one, other in zip(first, found, strict=True):
        assert torch.equal(one, other)


FOUND: dict[str, tuple[torch.Tensor, ...]] = {}


@pytest.mark.parametrize("samples_per_query", [1, 100, 5000, 1 << 20])
def test_rounds_see_what_one_pass_sees(samples_per_query):
    rays = 40 if samples_per_query == 1 else 3000
    origins, directions, grid = ORIGINS[:rays], DIRECTIONS[:rays], blobs(2, 2)
    samples = march(origins, directions, grid, aabb=UNIT, cone_angle=0.0)
    once = composite(*smooth(samples.positions, samples.directions), samples, background=(0.1, 0.2, 0.3))
    asked = []

    def query(positions, directions):
        asked.append(len(positions))
        return smooth(positions, directions)

    options = FieldOptions(background=(0.1, 0.2, 0.3), samples_per_query=samples_per_query)
    rounds = render_rays(query, origins, directions, grid=grid, aabb=UNIT, options=options)
    assert max(asked) <= samples_per_query
    # A stopped ray counts as opaque there, and lets a share below 1e-4 through here.
    np.testing.assert_allclose(rounds.rgb, once.rgb, atol=2e-4)
    np.testing.assert_allclose(rounds.alpha, once.alpha, atol=1.01e-4)
    np.testing.assert_allclose(rounds.depth, once.depth, atol=1e-6)
    assert torch.equal(rounds.counts, once.counts)


def test_opaque_rays_stop_asking():
    asked = []

    def query(positions, directions):
        asked.append(len(positions))
        return ball(1e4, 0.4)(positions, directions)

    rendered = render_rays(query, ORIGINS, DIRECTIONS, grid=FULL, aabb=UNIT)
    every = march(ORIGINS, DIRECTIONS, FULL, aabb=UNIT, cone_angle=0.0)
    assert sum(asked) < 0.6 * len(every.positions)
    assert bool((rendered.alpha[rendered.alpha > 0.5] == 1).all())


def test_a_ray_is_asked_for_at_most_the_samples_it_may():
    options = FieldOptions(max_samples_per_ray=21)
    rendered = render_rays(smooth, ORIGINS, DIRECTIONS, grid=FULL, aabb=UNIT, options=options)
    assert int(rendered.counts.max()) == 21


def test_a_flag_stops_march_and_rounds():
    flag = CancelFlag()

    def query(positions, directions):
        flag.set()
        return smooth(positions, directions)

    with pytest.raises(Cancelled):
        render_rays(query, ORIGINS, DIRECTIONS, grid=FULL, aabb=UNIT, cancel=flag)
    with pytest.raises(Cancelled):
        march(ORIGINS, DIRECTIONS, FULL, aabb=UNIT, cone_angle=0.0, cancel=flag)


def test_a_field_that_is_not_finite_shows_it():
    samples, density, rgb = random_samples(np.random.default_rng(0), np.array([4, 4]))
    density[5] = float("nan")
    rendered = composite(density, rgb, samples, background=(0, 0, 0))
    assert bool(torch.isfinite(rendered.rgb[0]).all())
    assert bool(torch.isnan(rendered.rgb[1]).all())


def test_an_infinite_density_is_opaque():
    samples, density, rgb = random_samples(np.random.default_rng(0), np.array([4]))
    density[0] = float("inf")
    rendered = composite(density, rgb, samples, background=(0, 0, 0))
    assert float(rendered.alpha) == 1.0
    assert torch.equal(rendered.rgb[0], rgb[0])


def refused(sentence: str, **changes):
    arguments = {"origins": ORIGINS, "directions": DIRECTIONS, "grid": FULL, "aabb": UNIT, "cone_angle": 0.0}
    arguments |= changes
    with pytest.raises(ValueError, match=re.escape(sentence)):
        march(arguments.pop("origins"), arguments.pop("directions"), arguments.pop("grid"), **arguments)


def test_rays_that_cannot_be_marched_are_refused():
    long, lost = DIRECTIONS.copy(), ORIGINS.copy()
    long[3] *= 2
    lost[1, 1] = np.nan
    refused("directions: 1 of 3000 are not unit vectors; divide them by their length", directions=long)
    refused("directions: its shape is [2, 3]; it must be [R, 3] with R = 3000", directions=DIRECTIONS[:2])
    refused("origins: a value is NaN or infinite; rays must begin at finite places", origins=lost)
    refused("jitter: its shape is [5]; it must be [R] with R = 3000", jitter=np.zeros(5))
    refused("jitter: a value lies outside [0, 1]", jitter=np.full(3000, 1.5))


def test_settings_out_of_range_are_refused():
    refused("cone_angle: -1; must be 0 to 1.0, such as 1/256", cone_angle=-1)
    refused("near: nan; must be 0 or more", near=float("nan"))
    refused("max_samples_per_ray: 0; must be 1 to 2^24", max_samples_per_ray=0)
    refused("must be a finite low corner below a finite high corner", aabb=((0, 0, 0), (1, 1, 0)))
    refused("cascades: 9; must be 1 to 8", grid=OccupancyGrid(FULL.bits, 9))
    refused("grid.bits: its shape is [1, 262144]; it must be [2, 262144]", grid=OccupancyGrid(FULL.bits, 2))
    refused("grid.bits: they are torch.int64", grid=OccupancyGrid(FULL.bits.long(), 1))
    with pytest.raises(ValueError, match="stop_transmittance: 1; must be at least 0 and below 1"):
        render_rays(smooth, ORIGINS, DIRECTIONS, grid=FULL, aabb=UNIT, options=FieldOptions(stop_transmittance=1))
    with pytest.raises(ValueError, match=re.escape("indices: they run from 0 to 2097152; cells are 0 to 128^3 - 1")):
        cell_centers(torch.tensor([0, 128**3]), 0)
    with pytest.raises(ValueError, match=re.escape("values: its shape is [1, 8]; it must be [C, 2097152]")):
        pack_bits(torch.zeros(1, 8), 0.5)


def test_a_field_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="density from query: its shape is .*; it must be"):
        render_rays(lambda p, d: (p, p), ORIGINS, DIRECTIONS, grid=FULL, aabb=UNIT)


def test_samples_that_point_outside_are_refused():
    samples, density, rgb = random_samples(np.random.default_rng(0), np.array([4]))
    samples.ray_counts[0] = 5
    with pytest.raises(ValueError, match="a ray's samples lie outside the arrays of samples"):
        composite(density, rgb, samples, background=(0, 0, 0))
