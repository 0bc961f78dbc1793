"""The fused kernel sees of a hash-grid field what double loops in float64 see, and what the door for any field sees,
with every option; the same bits however the work is cut."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from field_scenes import blobs, rays_through
from fields_reference import composite, march
from grid_reference import encode, network

from h3d.renderers import CancelFlag, Cancelled, harmonics, num_threads, set_num_threads
from h3d.renderers.fields import FieldOptions, OccupancyGrid, render_rays
from h3d.renderers.hash_encoding import FeatureCount, HashGridConfig, hash_encode, initial_table
from h3d.renderers.mlp import initial_weights, mlp
from h3d.renderers.radiance import Radiance, RadianceOptions, render_radiance

EXACT = RadianceOptions(smallest_weight=0.0)


def made_up(features: FeatureCount = 4, *, side: float = 1.0, seed: int = 0) -> Radiance:
    """A field of high contrast: clear here, opaque within a few steps there."""
    generator = torch.Generator().manual_seed(seed)
    encoding = HashGridConfig(levels=5, features=features, log2_table_size=11, base_resolution=4, per_level_scale=1.7)
    density = initial_weights((encoding.width, 16, 16), generator)
    density[-1][0] *= 40.0
    return Radiance(
        encoding,
        1e4 * initial_table(encoding, generator),
        density,
        initial_weights((32, 16, 16, 3), generator),
        torch.tensor([[0.5 - side / 2] * 3, [0.5 + side / 2] * 3]),
    )


def query_of(field: Radiance, level_mask: int | None = None, threshold: float = 0.0):
    def query(positions: torch.Tensor, directions: torch.Tensor):
        warped = (positions - field.aabb[0]) / (field.aabb[1] - field.aabb[0])
        features = mlp(hash_encode(warped, field.table, field.encoding, level_mask=level_mask), field.density_weights)
        density = torch.exp(features[:, 0])
        bases = harmonics.basis(directions, 3)
        raw = mlp(torch.cat([features, bases], dim=1), field.rgb_weights)
        rgb = torch.sigmoid(raw) if field.rgb_activation == "logistic" else torch.exp(raw)
        return torch.where(density < threshold, 0.0, density), rgb

    return query


def log_density(field: Radiance, positions: torch.Tensor) -> torch.Tensor:  # [P, 3] -> [P, 16], float64
    aabb = field.aabb.double()
    encoded = encode((positions - aabb[0]) / (aabb[1] - aabb[0]), field.table.double(), field.encoding)
    return network(encoded, [matrix.double() for matrix in field.density_weights])


def steps_of(field: Radiance, grid: OccupancyGrid, origin, direction, cone: float) -> tuple[np.ndarray, torch.Tensor]:
    """Begin and end [S, 2] of a ray's steps, and their middles [S, 3]."""
    aabb, bits = field.aabb.double().numpy(), grid.bits.numpy()
    steps = np.array(march(origin, direction, bits, aabb=aabb, cone=cone)).reshape(-1, 2)
    middles = origin + steps.mean(axis=1)[:, None] * direction
    return steps, torch.from_numpy(middles)


@pytest.mark.parametrize(("side", "cone"), [(1.0, 0.0), (2.0, 1 / 64)])
def test_rays_see_what_double_loops_in_float64_see(side: float, cone: float):
    field, grid = made_up(side=side), blobs(3, int(side))
    origins, directions = rays_through(1, 12, distance=0.8 * side, spread=0.2)
    options = FieldOptions(cone_angle=cone, background=(0.1, 0.2, 0.3))
    seen = render_radiance(field, origins, directions, grid=grid, options=options, radiance=EXACT)
    hit = 0
    for ray, (origin, direction) in enumerate(zip(origins.astype(float), directions.astype(float), strict=True)):
        steps, middles = steps_of(field, grid, origin, direction, cone)
        if len(steps) == 0:
            assert float(seen.alpha[ray]) == 0.0 and int(seen.counts[ray]) == 0
            continue
        hit += 1
        features = log_density(field, middles)
        bases = harmonics.basis(torch.from_numpy(direction), 3).expand(len(steps), -1)
        weights = [matrix.double() for matrix in field.rgb_weights]
        rgb = torch.sigmoid(network(torch.cat([features, bases], dim=1), weights)).numpy()
        right = composite(torch.exp(features[:, 0]).numpy(), rgb, steps[:, 0], steps[:, 1], (0.1, 0.2, 0.3), stop=1e-4)
        assert int(seen.counts[ray]) == right.used
        # A stopped ray counts as opaque; what is left of its light is below 1e-4.
        np.testing.assert_allclose(seen.rgb[ray], right.rgb, atol=2e-4)
        np.testing.assert_allclose(seen.alpha[ray], right.alpha, atol=1.1e-4)
        np.testing.assert_allclose(seen.depth[ray], right.depth, atol=1e-4)
    assert hit >= 6


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("stride", [1.0, 2.5])
def test_the_door_for_any_field_sees_the_same(features: FeatureCount, stride: float):
    field, grid = made_up(features, side=2.0), blobs(4, 2)
    origins, directions = rays_through(2, 700, distance=1.3)
    options = FieldOptions(cone_angle=1 / 256, stride=stride, max_samples_per_ray=150, near=0.2)
    radiance = replace(EXACT, level_mask=0b10111, density_threshold=3.0)
    fused = render_radiance(field, origins, directions, grid=grid, options=options, radiance=radiance)
    query = query_of(field, radiance.level_mask, radiance.density_threshold)
    asked = render_rays(query, origins, directions, grid=grid, aabb=field.aabb, options=options)
    assert int((fused.counts != asked.counts).sum()) <= 2  # Where rounding decides at the last step.
    for name in ("rgb", "alpha", "depth"):
        np.testing.assert_allclose(getattr(fused, name), getattr(asked, name), atol=3e-4, err_msg=name)
    assert 0.05 < float(fused.alpha.mean()) < 0.95


def test_colours_that_are_exponential_go_beyond_one():
    field, grid = replace(made_up(), rgb_activation="exponential"), blobs(4, 1)
    origins, directions = rays_through(2, 300, distance=1.0)
    fused = render_radiance(field, origins, directions, grid=grid, radiance=EXACT)
    asked = render_rays(query_of(field), origins, directions, grid=grid, aabb=field.aabb)
    assert float(asked.rgb.max()) > 1.5
    np.testing.assert_allclose(fused.rgb, asked.rgb, rtol=1e-3, atol=1e-3)


def test_a_table_of_halves_is_read_as_its_floats():
    field = made_up()
    halves = replace(field, table=field.table.half())
    origins, directions = rays_through(2, 300, distance=1.0)
    one, other = (
        render_radiance(f, origins, directions, grid=blobs(4, 1))
        for f in (halves, replace(field, table=halves.table.float()))
    )
    assert torch.equal(one.rgb, other.rgb) and float(one.alpha.mean()) > 0.1


def test_faint_samples_that_share_colours_are_not_missed():
    field, grid = made_up(), OccupancyGrid.full()
    field.density_weights[-1][0] *= 0.3  # Fog: no sample weighs much.
    origins, directions = rays_through(2, 700, distance=1.0)
    exact = render_radiance(field, origins, directions, grid=grid, radiance=EXACT)
    for weight, tolerance in ((1e-4, 1e-3), (5e-3, 5e-2)):
        radiance = RadianceOptions(smallest_weight=weight)
        less = render_radiance(field, origins, directions, grid=grid, radiance=radiance)
        assert torch.equal(less.alpha, exact.alpha)
        assert float((less.rgb - exact.rgb).abs().max()) < tolerance
        assert float((less.rgb - exact.rgb).mean().abs()) < 0.01 * tolerance


def test_normals_are_against_the_slope_of_the_density_in_float64():
    field, grid = made_up(), blobs(3, 1)
    origins, directions = rays_through(1, 8, distance=0.8, spread=0.2)
    seen = render_radiance(field, origins, directions, grid=grid, radiance=replace(EXACT, normals=True))
    assert seen.normals is not None
    without = render_radiance(field, origins, directions, grid=grid, radiance=EXACT)
    assert torch.equal(seen.rgb, without.rgb) and without.normals is None
    hit = 0
    for ray, (origin, direction) in enumerate(zip(origins.astype(float), directions.astype(float), strict=True)):
        steps, middles = steps_of(field, grid, origin, direction, 0.0)
        if float(seen.alpha[ray]) < 0.2:
            continue
        hit += 1
        density = torch.exp(log_density(field, middles)[:, 0]).numpy()
        weights = composite(density, np.zeros((len(steps), 3)), steps[:, 0], steps[:, 1], (0, 0, 0), stop=1e-4).weights
        # Central differences, small enough to cross next to no cell.
        offsets = 1e-6 * torch.eye(3, dtype=torch.float64)
        slopes = [log_density(field, middles + o)[:, 0] - log_density(field, middles - o)[:, 0] for o in offsets]
        normals = torch.nn.functional.normalize(-torch.stack(slopes, dim=1), dim=1).numpy()
        normals *= np.where(normals @ direction > 0, -1, 1)[:, None]
        mean = np.array(weights) @ normals
        expected = float(seen.alpha[ray]) * mean / np.linalg.norm(mean)
        np.testing.assert_allclose(seen.normals[ray], expected, atol=0.02)
    assert hit >= 4


def test_a_span_is_all_that_a_ray_sees():
    field, grid = made_up(), blobs(3, 1)
    origins, directions = rays_through(1, 400, distance=0.8, spread=0.2)
    near, far = np.full(400, 0.5), np.full(400, 1.1)
    near[:50] = 2.0  # Ends before it begins.
    seen = render_radiance(field, origins, directions, grid=grid, spans=np.stack([near, far], axis=1))
    assert float(seen.alpha[:50].abs().max()) == 0.0
    solid = seen.alpha > 0.01
    assert 20 < int(solid.sum()) and 0.5 <= float(seen.depth[solid].min()) <= float(seen.depth[solid].max()) <= 1.1
    moved = (origins + 0.5 * directions)[50:]
    other = render_rays(query_of(field), moved, directions[50:], grid=grid, aabb=field.aabb)
    stopped = seen.alpha[50:] == 1
    assert int(stopped.sum()) > 10
    assert float((seen.depth[50:] - 0.5 - other.depth)[stopped].abs().max()) < 2e-3


@pytest.mark.parametrize("rays", [0, 1, 63, 257, 2000])
def test_the_number_of_threads_and_of_rays_beside_it_changes_no_ray(rays: int):
    field, grid = made_up(), blobs(4, 1)
    origins, directions = rays_through(2, 2000, distance=1.0)
    before, found = num_threads(), []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            found.append(render_radiance(field, origins[:rays], directions[:rays], grid=grid))
    finally:
        set_num_threads(before)
    assert torch.equal(found[0].rgb, found[1].rgb) and torch.equal(found[0].depth, found[1].depth)
    alone = render_radiance(field, origins[rays // 2 : rays], directions[rays // 2 : rays], grid=grid)
    assert torch.equal(alone.alpha, found[0].alpha[rays // 2 :])


def test_a_number_that_is_none_shows():
    field = made_up()
    broken = replace(field, table=torch.full_like(field.table, float("nan")))
    origins, directions = rays_through(1, 5, distance=0.8, spread=0.1)
    seen = render_radiance(broken, origins, directions, grid=OccupancyGrid.full())
    assert bool(torch.isnan(seen.rgb).all())


def test_a_flag_stops_it():
    flag = CancelFlag()
    flag.set()
    origins, directions = rays_through(1, 5, distance=0.8)
    with pytest.raises(Cancelled):
        render_radiance(made_up(), origins, directions, grid=blobs(3, 1), cancel=flag)


def test_what_does_not_fit_is_refused():
    field = made_up()
    origins, directions = rays_through(1, 5, distance=0.8)

    def refused(sentence: str, changed: Radiance = field, **arguments):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            render_radiance(changed, origins, directions, grid=OccupancyGrid.full(), **arguments)

    refused("table: its shape is [10, 4]", replace(field, table=field.table[:10]))
    refused("table: it is torch.float64", replace(field, table=field.table.double()))
    refused("density_weights[0]: its shape is [16, 16]", replace(field, density_weights=field.density_weights[1:]))
    refused("rgb_weights: they end in 16 values; must end in 3", replace(field, rgb_weights=field.rgb_weights[:-1]))
    refused("spans: its shape is [4, 2]; it must be [R, 2] with R = 5", spans=np.zeros((4, 2)))
    refused("level_mask: 32; must have 5 bits, 0 to 31", radiance=RadianceOptions(level_mask=32))
    refused("smallest_weight: 1; must be at least 0 and below 1", radiance=RadianceOptions(smallest_weight=1))
    refused("density_threshold: -1; must be finite", radiance=RadianceOptions(density_threshold=-1))
    refused("stride: 0.5; must be 1 to 16.0", options=FieldOptions(stride=0.5))
