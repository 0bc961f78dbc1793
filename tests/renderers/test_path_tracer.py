"""Proves path tracing: closed forms, float64 integrals, estimators against one another, what a cache is told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from surface_scenes import all_round, lit_room, material, room, surfaces

from h3d.renderers import CancelFlag, Cancelled, harmonics, num_threads, set_num_threads
from h3d.renderers.backends import kernels
from h3d.renderers.path_tracer import (
    SURFACE_INPUTS,
    PathOptions,
    SurfacePoints,
    surface_inputs,
    trace_paths,
    trace_prefixes,
    trace_training,
)

FLOOR = [-4.0, 0, -4, 0, 0, 8, 8, 0, 0]
LAMP = [-0.4, 2.0, -0.1, 0.5, 0.0, 0.0, 0.0, 0.0, 0.7]  # looks down


def within(found: torch.Tensor, wanted: float, sigmas: float = 4.5) -> bool:
    """Whether the mean of independent estimates is what it should be, by their own spread.

    A rest is allowed for rays that begin a little beside their surface.
    """
    error = float(found.std()) / math.sqrt(len(found))
    return abs(float(found.mean()) - wanted) < sigmas * error + 3e-4 * abs(wanted)


def test_random_numbers_are_those_of_philox():
    philox = kernels().philox
    assert philox([0] * 4, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    counter = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox(counter, 0x299F31D0A4093822) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("next_event", [True, False])
def test_a_room_whose_walls_shine_is_as_bright_as_the_geometric_series(next_event: bool):
    walls = surfaces([material(albedo=0.5, emission=1.0)], quads=[(quad, 0) for quad in room()])
    options = PathOptions(next_event=next_event, max_bounces=256)
    rgb = trace_paths(walls, *all_round(20_000), samples=8, options=options).rgb
    assert within(rgb[:, 0], 2.0)


def test_light_of_a_ball_over_a_floor_has_its_closed_form():
    scene = surfaces([material(0.5), material(emission=3.0)], [([0, 2, 0, 0.5], 1)], [(FLOOR, 0)])
    origins, down = torch.tensor([[0.0, 1.0, 0.0]]).repeat(4000, 1), torch.tensor([[0.0, -1.0, 0.0]]).repeat(4000, 1)
    for next_event in (True, False):
        rgb = trace_paths(scene, origins, down, samples=64, options=PathOptions(next_event=next_event)).rgb
        assert within(rgb[:, 1], 0.5 * 3.0 * (0.5 / 2.0) ** 2)


def test_a_sampled_lamp_is_far_less_noisy_than_one_met_by_chance():
    scene = surfaces([material(0.5), material(emission=3.0)], quads=[(FLOOR, 0), (LAMP, 1)])
    origins, down = torch.tensor([[0.0, 1.0, 0.0]]).repeat(2000, 1), torch.tensor([[0.0, -1.0, 0.0]]).repeat(2000, 1)
    sampled, met = (
        trace_paths(scene, origins, down, options=PathOptions(next_event=next_event)).rgb[:, 0].std()
        for next_event in (True, False)
    )
    assert float(sampled) < 0.05 * float(met)


@pytest.mark.parametrize("roughness", [0.15, 0.4, 1.0])
@pytest.mark.parametrize("next_event", [True, False])
def test_a_glossy_floor_under_a_lamp_agrees_with_a_float64_integral(roughness: float, next_event: bool):
    scene = surfaces([material(0.2, 0.6, roughness=roughness), material(emission=5.0)], quads=[(FLOOR, 0), (LAMP, 1)])
    outgoing = np.array([0.35, 1.1, -0.2])
    outgoing /= np.linalg.norm(outgoing)
    rays = torch.from_numpy(outgoing).float().repeat(20_000, 1)
    options = PathOptions(next_event=next_event, max_bounces=1)
    rgb = trace_paths(scene, rays, -rays, samples=16, options=options).rgb
    assert within(rgb[:, 2], 5.0 * _reflected(outgoing, roughness, albedo=0.2, specular=0.6))


def _reflected(outgoing: np.ndarray, roughness: float, *, albedo: float, specular: float) -> float:
    """Of a lamp of radiance 1 at LAMP, what the origin of the floor y = 0 sends to `outgoing`."""
    steps = (np.arange(600) + 0.5) / 600
    corner, u, v = (np.array(LAMP[i : i + 3]) for i in (0, 3, 6))
    to = corner + steps[:, None, None] * u + steps[None, :, None] * v
    distance = np.linalg.norm(to, axis=-1)
    incoming = to / distance[..., None]
    solid = incoming[..., 1] / distance**2 * np.linalg.norm(np.cross(u, v)) / 600**2
    a2 = roughness**4
    half = incoming + outgoing
    cosine = half[..., 1] / np.linalg.norm(half, axis=-1)
    facets = a2 / (np.pi * (cosine**2 * (a2 - 1) + 1) ** 2)
    n_in, n_out = incoming[..., 1], outgoing[1]
    shadowing = 2 * n_in * n_out / (n_out * np.sqrt(a2 + (1 - a2) * n_in**2) + n_in * np.sqrt(a2 + (1 - a2) * n_out**2))
    scattered = albedo / np.pi + specular * facets * shadowing / (4 * n_in * n_out)
    return float((scattered * n_in * solid).sum())


def test_whatever_is_sampled_the_mean_is_the_same():
    scene, rays = lit_room(), all_round(30_000)
    plain, chance = (
        trace_paths(scene, *rays, samples=16, seed=seed, options=PathOptions(next_event=next_event)).rgb.mean(dim=1)
        for seed, next_event in ((1, True), (2, False))
    )
    assert within(plain - chance, 0.0)
    eager = trace_paths(scene, *rays, samples=16, seed=3, options=PathOptions(roulette_from=0)).rgb.mean(dim=1)
    assert within(plain - eager, 0.0)


def test_samples_are_the_same_in_one_call_or_in_many_at_any_number_of_threads():
    scene, (origins, directions) = lit_room(), all_round(500)
    numbers = torch.arange(500, dtype=torch.int32).flip(0)
    whole = trace_paths(scene, origins, directions, samples=6, seed=5, numbers=numbers)
    parts = [trace_paths(scene, origins, directions, first_sample=i, seed=5, numbers=numbers).rgb for i in range(6)]
    assert torch.allclose(torch.stack(parts).mean(dim=0), whole.rgb, rtol=1e-5)
    before = num_threads()
    try:
        set_num_threads(1)
        alone = trace_paths(scene, origins[200:300], directions[200:300], samples=6, seed=5, numbers=numbers[200:300])
    finally:
        set_num_threads(before)
    assert torch.equal(alone.rgb, whole.rgb[200:300]) and torch.equal(alone.first.depth, whole.first.depth[200:300])


def test_first_hits_are_where_the_geometry_is():
    scene = surfaces([material(0.25, 0.5, roughness=0.5)], [([0, 0, 5, 1], 0)], [([-9, -9, 8, 18, 0, 0, 0, 18, 0], 0)])
    origins = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 0, 9]])
    ahead = torch.tensor([[0.0, 0, 1]]).repeat(3, 1)
    first = trace_paths(scene, origins, ahead).first
    assert torch.allclose(first.depth, torch.tensor([4.0, 8.0, 0.0]))
    assert torch.allclose(first.normals, torch.tensor([[0.0, 0, -1], [0, 0, -1], [0, 0, 0]]), atol=1e-6)
    assert torch.allclose(first.reflectance, torch.tensor([0.75, 0.75, 0.0])[:, None].expand(3, 3))


def test_a_prefix_that_never_spreads_enough_is_the_whole_path():
    scene, rays = lit_room(), all_round(4000)
    never = PathOptions(spread=1e30)
    prefix = trace_prefixes(scene, *rays, sample=7, options=never)
    assert not bool(prefix.throughput.any())
    assert torch.allclose(
        prefix.rgb, trace_paths(scene, *rays, first_sample=7, options=never).rgb, rtol=1e-4, atol=1e-6
    )


def test_a_prefix_and_the_true_light_behind_it_are_the_whole_path():
    scene, rays = lit_room(), all_round(30_000)
    prefix = trace_prefixes(scene, *rays, sample=1)
    asked = (prefix.throughput > 0).any(dim=1)
    assert 0.5 < float(asked.float().mean()) < 1.0
    points = prefix.points[asked]
    # What the vertex scatters, by paths that begin just before it; the lamp, which they see shine, scatters nothing.
    beside = points.positions + 1e-3 * points.directions
    scattered = trace_paths(scene, beside, -points.directions, seed=9, samples=4).rgb
    scattered[(points.albedo + points.specular).sum(dim=1) == 0] = 0.0
    found = prefix.rgb.clone()
    found[asked] += prefix.throughput[asked] * scattered
    whole = trace_paths(scene, *rays, seed=4, samples=4).rgb
    assert within((found - whole).mean(dim=1), 0.0)


def test_what_training_paths_gather_and_carry_adds_up_to_the_light():
    scene, rays = lit_room(), all_round(30_000)
    paths = trace_training(scene, *rays, vertices=3, whole=len(rays[0]), seed=2)
    assert not bool(paths.open.any()) and int(paths.counts.max()) == 3
    light = torch.zeros(len(rays[0]), 3)
    for vertex in reversed(range(3)):
        light = paths.gathered[:, vertex] + paths.carried[:, vertex] * light
    emitted = trace_paths(scene, *rays, samples=1, options=PathOptions(max_bounces=1, next_event=False))
    shines = emitted.first.reflectance.sum(dim=1) == 0
    whole = trace_paths(scene, *rays, seed=3, samples=4).rgb
    assert within((light - whole)[~shines].mean(dim=1), 0.0) and not bool(light[shines].any())


def test_cut_paths_say_where_they_go_on():
    scene, rays = lit_room(), all_round(2000)
    paths = trace_training(scene, *rays, vertices=2, whole=0, seed=2)
    assert 0.3 < float(paths.open.float().mean()) < 1.0
    rows = torch.arange(2000) * 3
    beyond = paths.points[rows[paths.open] + paths.counts[paths.open].long()]
    assert torch.allclose(beyond.directions.norm(dim=1), torch.ones(len(beyond.positions)), atol=1e-5)
    assert bool((beyond.positions.abs() <= 1.0 + 1e-5).all())
    # The way from the vertex before is the direction that its light leaves in, but for the step beside the surface.
    before = paths.points[rows[paths.open] + paths.counts[paths.open].long() - 1].positions
    way = before - beyond.positions
    assert float((way - way.norm(dim=1, keepdim=True) * beyond.directions).norm(dim=1).max()) < 2e-4


def test_inputs_of_a_cache_are_features_harmonics_bumps_and_colours():
    generator = torch.Generator().manual_seed(0)
    random = [torch.rand(53, 3, generator=generator) for _ in range(3)]
    directions, normals = (
        torch.nn.functional.normalize(torch.randn(53, 3, generator=generator), dim=1) for _ in range(2)
    )
    points = SurfacePoints(random[0], directions, normals, random[1], random[2], torch.linspace(0, 1, 53))
    hashed = torch.randn(53, 5, generator=generator, requires_grad=True)
    found = surface_inputs(hashed, points)
    assert found.shape == (53, 5 + SURFACE_INPUTS)
    bins = 4 * points.roughness[:, None] - (torch.arange(4) + 0.5)
    bumps = (1 - 0.5 * bins**2).clamp(min=0) ** 2
    told = [harmonics.basis(directions, 2), harmonics.basis(normals, 2)[:, 1:], bumps, random[1], random[2]]
    assert torch.allclose(found, torch.cat([hashed, *told], dim=1), atol=2e-6)
    weights = torch.randn(found.shape, generator=generator)
    (gradient,) = torch.autograd.grad((found * weights).sum(), hashed)
    assert torch.equal(gradient, weights[:, :5])


def test_a_set_flag_ends_all_three_tracers():
    scene, rays, flag = lit_room(), all_round(100_000), CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        trace_paths(scene, *rays, samples=1000, cancel=flag)
    with pytest.raises(Cancelled):
        trace_prefixes(scene, *rays, cancel=flag)
    with pytest.raises(Cancelled):
        trace_training(scene, *rays, vertices=4, cancel=flag)


def test_wrong_scenes_get_a_sentence():
    good = lit_room()
    wrong = [
        ({"spheres": good.spheres[:, :3]}, r"spheres: its shape is \[2, 3\]"),
        ({"spheres": good.spheres * torch.tensor([1.0, 1, 1, 0])}, "a radius is not above 0"),
        ({"quads": good.quads * float("nan")}, "quads: must be finite float32"),
        ({"quads": good.quads[:, [0, 1, 2, 3, 4, 5, 3, 4, 5]]}, "the sides of one are parallel"),
        ({"quad_materials": good.quad_materials + 9}, "quad_materials: must be int32 rows of the 4 materials"),
        ({"materials": good.materials * 2}, "albedo \\+ specular at most 1"),
        ({"materials": good.materials * 0}, "roughness must be 0.05 to 1"),
    ]
    for changes, sentence in wrong:
        with pytest.raises(ValueError, match=sentence):
            replace(good, **changes)


def test_wrong_arguments_get_a_sentence():
    scene, rays = lit_room(), all_round(10)
    with pytest.raises(ValueError, match="samples 0: must be 1 or more"):
        trace_paths(scene, *rays, samples=0)
    with pytest.raises(ValueError, match="sample -1: must be 0 to"):
        trace_prefixes(scene, *rays, sample=-1)
    with pytest.raises(ValueError, match="whole 11: must be 0 to the number of paths, 10"):
        trace_training(scene, *rays, vertices=1, whole=11)
    with pytest.raises(ValueError, match="numbers: they are torch.int64"):
        trace_paths(scene, *rays, numbers=torch.arange(10))
    with pytest.raises(ValueError, match="max_bounces 0"):
        PathOptions(max_bounces=0)
