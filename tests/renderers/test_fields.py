"""Proves volume rendering: steps and sums as double loops give them, closed forms of simple fields, and gradients."""

from __future__ import annotations

import math

import fields_reference as reference
import numpy as np
import pytest
import torch
from field_scenes import CENTRE, UNIT, ball, blobs, box, random_samples, rays_through
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.renderers.fields import (
    GRID_CELLS,
    FieldOptions,
    OccupancyGrid,
    Samples,
    cell_centers,
    composite,
    march,
    morton_decode,
    morton_encode,
    render_rays,
)


def chords(origins: np.ndarray, directions: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray enters the ball about the centre, and for how long it is inside."""
    o, d = origins.astype(np.float64) - CENTRE, directions.astype(np.float64)
    b = (o * d).sum(1)
    half = np.sqrt(np.maximum(b * b - (o * o).sum(1) + radius**2, 0.0))
    return -b - half, 2 * half


@pytest.mark.parametrize(
    ("cascades", "cone"), [(1, 0.0), (1, 1 / 256), (2, 1 / 256), (4, 1 / 256), (4, 0.0), (8, 1 / 64)]
)
@pytest.mark.parametrize("seed", range(2))
def test_the_kept_steps_are_those_of_a_walk_over_all_steps(cascades, cone, seed):
    grid, side = blobs(seed, cascades), 2.0 ** (cascades - 1)
    origins, directions = rays_through(seed, 12, distance=0.8 * side, spread=0.4 * side)
    origins[0], directions[0] = (0.3, 0.7, -side), (0, 0, 1)
    origins[1] = CENTRE
    jitter = np.random.default_rng(seed).uniform(0, 1, 12).astype(np.float32)
    aabb, near = box(0.9 * side), 0.05
    samples = march(origins, directions, grid, aabb=aabb, cone_angle=cone, near=near, jitter=jitter)
    assert len(samples.positions) > 50
    for ray in range(12):
        expected = reference.march(
            origins[ray].astype(np.float64),
            directions[ray].astype(np.float64),
            grid.bits.numpy(),
            aabb=np.array(aabb, dtype=np.float32),
            cone=float(np.float32(cone)),
            near=float(np.float32(near)),
            jitter=float(jitter[ray]),
        )
        rows = slice(int(samples.ray_starts[ray]), int(samples.ray_starts[ray] + samples.ray_counts[ray]))
        actual = torch.stack([samples.t_starts[rows], samples.t_ends[rows]], dim=1).numpy()
        assert len(actual) == len(expected)
        np.testing.assert_allclose(actual, np.asarray(expected).reshape(-1, 2), rtol=3e-7, atol=1e-7)
        places = origins[ray] + actual.mean(1, keepdims=True) * directions[ray]
        np.testing.assert_allclose(samples.positions[rows].numpy(), places, atol=1e-5)
        assert (samples.directions[rows].numpy() == directions[ray]).all()


@pytest.mark.parametrize(("cascades", "cone"), [(1, 0.0), (3, 1 / 256), (8, 1 / 64)])
def test_longer_steps_are_so_many_usual_ones(cascades, cone):
    grid, side, stride = blobs(1, cascades), 2.0 ** (cascades - 1), 2.5
    origins, directions = rays_through(3, 10, distance=0.8 * side, spread=0.4 * side)
    options = FieldOptions(cone_angle=cone, stride=stride, stop_transmittance=0.0)
    asked = []

    def query(positions, directions):
        asked.append(positions.clone())
        return torch.zeros(len(positions)), torch.zeros(len(positions), 3)

    expected = 0
    for ray in range(10):
        place, along, aabb = origins[ray].astype(float), directions[ray].astype(float), np.array(box(side))
        steps = reference.march(place, along, grid.bits.numpy(), aabb=aabb, cone=cone, stride=stride)
        expected += len(steps)
        asked.clear()
        seen = render_rays(
            query, origins[ray : ray + 1], directions[ray : ray + 1], grid=grid, aabb=box(side), options=options
        )
        assert int(seen.counts) == len(steps)
        if len(steps) > 0:
            places = place + np.mean(steps, axis=1, keepdims=True) * along
            np.testing.assert_allclose(torch.cat(asked).numpy(), places, atol=1e-5)
    assert expected > 30


def test_samples_are_packed_ray_after_ray():
    origins, directions = rays_through(3, 500, distance=2.0, spread=1.2)
    samples = march(origins, directions, blobs(3, 1), aabb=UNIT, cone_angle=0.0)
    ends = samples.ray_starts + samples.ray_counts
    assert int(samples.ray_starts[0]) == 0
    assert torch.equal(samples.ray_starts[1:], ends[:-1])
    assert int(ends[-1]) == len(samples.t_starts)
    assert int((samples.ray_counts == 0).sum()) > 10


def test_a_ray_takes_at_most_the_samples_it_may():
    origins, directions = rays_through(0, 50, distance=2.0)
    samples = march(origins, directions, OccupancyGrid.full(), aabb=UNIT, cone_angle=0.0, max_samples_per_ray=37)
    every = march(origins, directions, OccupancyGrid.full(), aabb=UNIT, cone_angle=0.0)
    assert int(samples.ray_counts.max()) == 37
    first = int(every.ray_starts[5])
    assert torch.equal(samples.t_starts[5 * 37 : 6 * 37], every.t_starts[first : first + 37])


def test_steps_have_the_official_lengths():
    origins, directions = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[0, 0.6, 0.8]])
    samples = march(origins, directions, OccupancyGrid.full(8), aabb=box(128.0), cone_angle=1 / 256)
    lengths, near = samples.t_ends - samples.t_starts, samples.t_starts < 0.4
    np.testing.assert_allclose(lengths[near], math.sqrt(3) / 1024, rtol=1e-3)
    far = samples.t_starts > 0.5
    np.testing.assert_allclose(lengths[far], samples.t_starts[far] / 256, rtol=1e-3)
    assert torch.equal(samples.t_starts[1:], samples.t_ends[:-1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stop", [0.0, 1e-4, 0.3])
def test_sums_are_those_of_a_loop_over_samples(seed, stop):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 70, 40)
    counts[7] = 3000
    samples, density, rgb = random_samples(rng, counts)
    background = rng.uniform(0, 1, (40, 3)).astype(np.float32)
    rendered = composite(density, rgb, samples, background=background, stop_transmittance=stop)
    assert rendered.weights is not None
    for ray in range(40):
        rows = slice(int(samples.ray_starts[ray]), int(samples.ray_starts[ray] + samples.ray_counts[ray]))
        sigma, color, begin, end = (a[rows].double().numpy() for a in (density, rgb, samples.t_starts, samples.t_ends))
        expected = reference.composite(sigma, color, begin, end, background[ray], stop=stop)
        np.testing.assert_allclose(rendered.rgb[ray], expected.rgb, atol=3e-6)
        np.testing.assert_allclose(rendered.alpha[ray], expected.alpha, atol=3e-6)
        np.testing.assert_allclose(rendered.depth[ray], expected.depth, rtol=2e-5)
        np.testing.assert_allclose(rendered.weights[rows], expected.weights, rtol=2e-4, atol=1e-9)
        assert int(rendered.counts[ray]) == expected.used


def test_thin_steps_keep_their_weight():
    # 1 - exp(-x) computed as written would lose most digits of x = 1e-6.
    count = 1000
    ends = torch.arange(1, count + 1) * 1e-3
    places = torch.zeros(count, 3)
    samples = Samples(places, places, ends - 1e-3, ends, torch.tensor([0]), torch.tensor([count]))
    rendered = composite(torch.full((count,), 1e-3), torch.ones(count, 3), samples, background=(0, 0, 0))
    np.testing.assert_allclose(float(rendered.alpha), -math.expm1(-1e-3), rtol=5e-5)


@pytest.mark.parametrize("density", [0.5, 5.0, 50.0])
def test_a_ball_of_constant_density_lets_through_what_its_chord_says(density):
    radius = 0.4
    origins, directions = rays_through(1, 400, distance=1.5)
    rendered = render_rays(ball(density, radius), origins, directions, grid=OccupancyGrid.full(), aabb=UNIT)
    enter, chord = chords(origins, directions, radius)
    # The chord is known to one step at its two ends together.
    step = math.sqrt(3) / 1024
    alpha = -np.expm1(-density * chord)
    allowed = density * step * np.exp(-density * np.maximum(chord - step, 0)) + 2e-4
    assert (np.abs(rendered.alpha.numpy() - alpha) <= allowed).all()
    np.testing.assert_allclose(rendered.rgb.numpy(), rendered.alpha.numpy()[:, None] * [0.9, 0.5, 0.1], atol=1e-5)
    # Mean of t over exp(-density (t - enter)) on the chord; far in the dark both are 0 / 0.
    x = density * chord
    mean = enter + np.where(x > 0.1, 1 / density - chord / np.expm1(np.maximum(x, 0.1)), chord / 2)
    seen = chord > 0.1
    np.testing.assert_allclose(rendered.depth.numpy()[seen], mean[seen], atol=1.5 * step)


def test_a_smooth_density_lets_through_what_its_integral_says():
    # A smooth field has no edge to be known to a step only: the middle rule is of second order.
    def gaussian(positions, directions):
        density = 30 * torch.exp(-((positions - 0.5) ** 2).sum(1) / (2 * 0.1**2))
        return density, torch.ones(len(positions), 3)

    origins, directions = rays_through(2, 200, distance=1.2, spread=0.1)
    rendered = render_rays(gaussian, origins, directions, grid=OccupancyGrid.full(), aabb=UNIT)
    o, d = origins.astype(np.float64) - CENTRE, directions.astype(np.float64)
    gap = (o * o).sum(1) - (o * d).sum(1) ** 2
    depth = 30 * np.exp(-gap / (2 * 0.1**2)) * math.sqrt(2 * math.pi) * 0.1
    np.testing.assert_allclose(rendered.alpha.numpy(), -np.expm1(-depth), atol=1.2e-4)


def test_an_empty_grid_shows_the_background():
    origins, directions = rays_through(0, 100, distance=2.0)

    def never(positions, directions):
        raise AssertionError("an empty grid has nothing to ask for")

    options = FieldOptions(background=(0.2, 0.4, 0.6))
    rendered = render_rays(never, origins, directions, grid=OccupancyGrid.empty(3), aabb=UNIT, options=options)
    np.testing.assert_allclose(rendered.rgb.numpy(), np.tile([0.2, 0.4, 0.6], (100, 1)), rtol=1e-6)
    assert not rendered.alpha.any()
    assert not rendered.depth.any()


def test_no_rays_give_no_picture():
    none = np.zeros((0, 3), dtype=np.float32)
    rendered = render_rays(ball(1.0, 0.3), none, none, grid=OccupancyGrid.full(), aabb=UNIT)
    assert rendered.rgb.shape == (0, 3)


@pytest.mark.parametrize("output", ["rgb", "alpha", "depth", "weights"])
@pytest.mark.parametrize("stop", [0.0, 0.2])
def test_gradients_are_those_of_finite_differences(output, stop):
    rng = np.random.default_rng(5)
    counts = np.array([0, 1, 7, 30])
    samples, density, rgb = random_samples(rng, counts)
    background = rng.uniform(0, 1, (4, 3))
    shape = {"rgb": (4, 3), "alpha": (4,), "depth": (4,), "weights": (38,)}[output]
    into = rng.normal(size=shape)

    def loss(sigma: np.ndarray, color: np.ndarray) -> float:
        total = 0.0
        for ray, (first, count) in enumerate(zip(np.cumsum(counts) - counts, counts, strict=True)):
            rows = slice(first, first + count)
            begin, end = (a[rows].double().numpy() for a in (samples.t_starts, samples.t_ends))
            seen = reference.composite(sigma[rows], color[rows], begin, end, background[ray], stop=stop)
            value = np.asarray(getattr(seen, output))
            total += float((value * (into[rows] if output == "weights" else into[ray])).sum())
        return total

    density.requires_grad_()
    rgb.requires_grad_()
    rendered = composite(density, rgb, samples, background=background, stop_transmittance=stop)
    (getattr(rendered, output) * torch.from_numpy(into)).sum().backward()
    assert density.grad is not None
    at = (density.detach().double().numpy(), rgb.detach().double().numpy())
    np.testing.assert_allclose(density.grad, differences(lambda x: loss(x, at[1]), at[0]), atol=2e-6, rtol=2e-3)
    to_rgb = np.zeros((38, 3)) if rgb.grad is None else rgb.grad.numpy()
    np.testing.assert_allclose(to_rgb, differences(lambda x: loss(at[0], x), at[1]), atol=2e-6, rtol=2e-3)


def differences(function, at: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Central differences of a scalar function along every entry."""
    slopes = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += step
        down[i] -= step
        slopes[i] = (function(up) - function(down)) / (2 * step)
    return slopes


def test_the_background_gets_the_light_that_is_left():
    samples, density, rgb = random_samples(np.random.default_rng(1), np.array([5, 0, 9]))
    background = torch.rand(3, 3, requires_grad=True)
    rendered = composite(density, rgb, samples, background=background)
    rendered.rgb.sum().backward()
    assert background.grad is not None
    np.testing.assert_allclose(background.grad, (1 - rendered.alpha)[:, None].expand(3, 3), rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 127)] * 3), min_size=1, max_size=20))
def test_morton_indices_have_an_inverse(cells):
    indices = morton_encode(torch.tensor(cells))
    assert indices.tolist() == [reference.morton(*cell) for cell in cells]
    assert morton_decode(indices).tolist() == [list(cell) for cell in cells]


@pytest.mark.parametrize("cascade", [0, 1, 5])
def test_cell_centers_lie_in_the_middle_of_cells(cascade):
    indices = torch.randint(0, GRID_CELLS, (200,))
    expected = ((morton_decode(indices) + 0.5) / 128 - 0.5) * 2**cascade + 0.5
    np.testing.assert_allclose(cell_centers(indices, cascade), expected, atol=1e-6 * 2**cascade)
    corner = cell_centers(indices, cascade, torch.zeros(200, 3))
    np.testing.assert_allclose(corner, expected - 2**cascade / 256, atol=1e-6 * 2**cascade)


def test_coarser_cascades_hold_what_finer_ones_hold():
    values = torch.zeros(3, GRID_CELLS)
    cells = torch.tensor([[0, 127, 64], [63, 64, 5], [127, 127, 127]])
    values[0, morton_encode(cells)] = 1.0
    values[2, morton_encode(torch.tensor([3, 4, 5]))] = 1.0
    values[1, 7] = float("nan")
    bits = np.unpackbits(OccupancyGrid.from_values(values, 0.5).bits.numpy(), axis=1, bitorder="little")
    found = [set(np.flatnonzero(cascade).tolist()) for cascade in bits]
    assert found[0] == set(morton_encode(cells).tolist())
    assert found[1] == set(morton_encode(cells // 2 + 32).tolist())
    assert found[2] == set(morton_encode((cells // 2 + 32) // 2 + 32).tolist()) | {reference.morton(3, 4, 5)}
