"""The CUDA twins of marching, blending, the occupancy grid, Adam and rays through fields mean what the CPU's do.

They are written in torch, and run here on a device that stands for a GPU (`far_device`); tests marked gpu run the same
on a GPU. Tolerances: sums of float32 in another order, and a ray or two for what rounding decides, such as a last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from far_device import far_device
from field_scenes import UNIT, blobs, box, random_samples, rays_through

from h3d.renderers import CancelFlag, Cancelled
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.fields import (
    GRID_CELLS,
    FieldOptions,
    OccupancyGrid,
    Samples,
    cell_centers,
    composite,
    march,
    pack_bits,
    render_rays,
)
from h3d.renderers.hash_encoding import HashGridConfig, initial_table
from h3d.renderers.mlp import initial_weights
from h3d.renderers.radiance import Radiance, RadianceOptions, render_radiance


@pytest.fixture(params=["far", pytest.param("cuda", marks=pytest.mark.gpu)])
def there(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with ExitStack() as stack:
        far = request.param == "far"
        yield There(stack.enter_context(far_device(monkeypatch)) if far else torch.device("cuda", 0))


class There:
    """Calls the doors with all arrays on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, function, *arguments, **named):
        return function(*(self.moved(a) for a in arguments), **{n: self.moved(a) for n, a in named.items()})

    def moved(self, value: Any) -> Any:
        """The value with the arrays in it on the device."""
        match value:
            case np.ndarray():
                return torch.from_numpy(value).to(self.device)
            case torch.Tensor():
                return value.to(self.device)
            case OccupancyGrid() | Samples() | Radiance():
                return replace(value, **{f.name: self.moved(getattr(value, f.name)) for f in fields(value)})
            case list():
                return [self.moved(item) for item in value]
            case _:
                return value


def same(a: torch.Tensor, b: torch.Tensor, *, rtol: float, atol: float) -> None:
    torch.testing.assert_close(a.detach().cpu(), b.detach().cpu(), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("cascades", "cone", "most"), [(1, 0.0, 1024), (2, 1 / 256, 1024), (4, 1 / 256, 50), (8, 1 / 64, 1024)]
)
def test_the_same_steps_are_kept(there: There, cascades: int, cone: float, most: int):
    grid, side = blobs(cascades, cascades), 2.0 ** (cascades - 1)
    origins, directions = rays_through(cascades, 600, distance=0.8 * side, spread=0.6 * side)
    origins[0], directions[0] = (0.3, 0.7, -side), (0, 0, 1)  # Along an axis, within the box and beside it.
    origins[1], directions[1] = (0.3, 9 * side, -side), (0, 0, 1)
    jitter = torch.rand(600, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"aabb": box(0.9 * side), "cone_angle": cone, "near": 0.05, "max_samples_per_ray": most}
    ours = there(march, origins, directions, grid, jitter=jitter, **options)
    theirs = march(origins, directions, grid, jitter=jitter, **options)
    assert len(theirs.t_starts) > 2000 and int(theirs.ray_counts[1]) == 0
    assert torch.equal(ours.ray_counts.cpu(), theirs.ray_counts)
    assert torch.equal(ours.ray_starts.cpu(), theirs.ray_starts)
    for name in ("t_starts", "t_ends", "positions", "directions"):
        same(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6 * side)


def test_no_rays_and_rays_that_miss_have_no_steps(there: There):
    for rays in (0, 3):
        origins, directions = np.full((rays, 3), 9.0, np.float32), np.tile(np.array([1, 0, 0], np.float32), (rays, 1))
        samples = there(march, origins, directions, OccupancyGrid.full(), aabb=UNIT, cone_angle=0.0)
        assert len(samples.positions) == 0 and samples.ray_counts.cpu().tolist() == [0] * rays


@pytest.mark.parametrize("stop", [0.0, 1e-4, 0.3])
@pytest.mark.parametrize("outputs", [("rgb",), ("rgb", "alpha", "depth", "weights"), ("weights",)])
def test_sums_and_gradients_are_the_same(there: There, stop: float, outputs: tuple[str, ...]):
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 70, 60)
    counts[7], counts[-2:] = 3000, 0
    samples, density, rgb = random_samples(rng, counts)
    density[100], density[2000] = float("inf"), 0.0
    background = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    into = {"rgb": (60, 3), "alpha": (60,), "depth": (60,), "weights": (len(density),)}
    factors = {name: torch.from_numpy(rng.normal(size=into[name])).float() for name in outputs}
    found = []
    for on in (there, There(torch.device("cpu"))):
        leaves = [on.moved(array.clone()).requires_grad_() for array in (density, rgb, background)]
        seen = on(composite, *leaves[:2], samples, background=leaves[2], stop_transmittance=stop)
        loss = torch.stack([(getattr(seen, name) * on.moved(by)).sum() for name, by in factors.items()]).sum()
        found.append((seen, torch.autograd.grad(loss, leaves, materialize_grads=True)))
    (ours, our_slopes), (theirs, their_slopes) = found
    assert torch.equal(ours.counts.cpu(), theirs.counts)
    for name in ("rgb", "alpha", "depth", "weights"):
        same(getattr(ours, name), getattr(theirs, name), rtol=2e-4, atol=3e-6)
    for ours, theirs in zip(our_slopes, their_slopes, strict=True):
        same(ours, theirs, rtol=1e-3, atol=3e-6)


def test_a_number_that_is_none_stays_in_its_ray(there: There):
    samples, density, rgb = random_samples(np.random.default_rng(0), np.array([4, 4, 4]))
    density[5] = float("nan")
    seen = there(composite, density, rgb, samples, background=(0, 0, 0))
    assert torch.isnan(seen.rgb.cpu()).all(1).tolist() == [False, True, False]
    assert bool(torch.isfinite(seen.rgb.cpu()[2]).all())


def test_samples_with_gaps_are_refused(there: There):
    samples, density, rgb = random_samples(np.random.default_rng(0), np.array([4, 4]))
    with pytest.raises(ValueError, match="cuda takes packed ones only"):
        there(composite, density, rgb, replace(samples, ray_counts=torch.tensor([4, 3])), background=(0, 0, 0))


def smooth(positions: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    density = 900 * torch.exp(-20 * (positions - 0.5).square().sum(1))
    return density, 0.5 + 0.25 * torch.sin(9 * positions) + 0.25 * directions


@pytest.mark.parametrize("samples_per_query", [1, 100, 5000, 1 << 20])
def test_rays_see_the_same_in_rounds(there: There, samples_per_query: int):
    rays, asked = {1: 20, 100: 200}.get(samples_per_query, 2000), []
    origins, directions = (a[:rays] for a in rays_through(7, 2000, distance=1.6, spread=0.7))
    spans = np.tile(np.array([0.9, 1.7], np.float32), (rays, 1))

    def query(positions, directions):
        asked.append(len(positions))
        return smooth(positions, directions)

    options = FieldOptions(background=(0.1, 0.2, 0.3), samples_per_query=samples_per_query, max_samples_per_ray=300)
    named: dict[str, Any] = {"aabb": UNIT, "spans": spans, "options": options}
    ours = there(render_rays, query, origins, directions, grid=blobs(2, 2), **named)
    assert max(asked) <= samples_per_query
    theirs = render_rays(smooth, origins, directions, grid=blobs(2, 2), **named)
    assert int((ours.counts.cpu() != theirs.counts).sum()) <= 2
    for name in ("rgb", "alpha", "depth"):
        same(getattr(ours, name), getattr(theirs, name), rtol=0.0, atol=1.1e-4)
    assert 0.05 < float(theirs.alpha.mean()) < 0.95
    assert bool((theirs.alpha == 1).any()) == (rays > 20)


def test_opaque_rays_stop_asking(there: There):
    origins, directions = rays_through(7, 3000, distance=1.6, spread=0.7)
    asked = []

    def query(positions, directions):
        asked.append(len(positions))
        return torch.full_like(positions[:, 0], 1e4), positions

    there(render_rays, query, origins, directions, grid=OccupancyGrid.full(), aabb=UNIT)
    every = march(origins, directions, OccupancyGrid.full(), aabb=UNIT, cone_angle=0.0)
    assert sum(asked) < 0.1 * len(every.positions)


def test_a_flag_stops_it(there: There):
    flag = CancelFlag()
    origins, directions = rays_through(7, 100, distance=1.6)

    def query(positions, directions):
        flag.set()
        return smooth(positions, directions)

    for _ in range(2):  # While the field is asked, and before it is.
        with pytest.raises(Cancelled):
            there(render_rays, query, origins, directions, grid=OccupancyGrid.full(), aabb=UNIT, cancel=flag)


def test_grids_are_packed_and_cells_found_alike(there: There):
    generator = torch.Generator().manual_seed(2)
    values = torch.rand(3, GRID_CELLS, generator=generator) - 0.4 * torch.rand(3, 1, generator=generator)
    values[1, 7], values[0, 9] = float("nan"), 0.97
    assert torch.equal(there(pack_bits, values, 0.97).cpu(), pack_bits(values, 0.97))
    cells, jitter = torch.randint(0, GRID_CELLS, (500,), generator=generator), torch.rand(500, 3, generator=generator)
    for cascade, inside in ((0, None), (0, jitter), (5, jitter)):
        same(there(cell_centers, cells, cascade, inside), cell_centers(cells, cascade, inside), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [AdamOptions(l2=1e-2), AdamOptions(skip_zero_rows=True, decay=0.9)])
def test_adam_takes_the_same_steps(there: There, options: AdamOptions):
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(300, 4, generator=generator)
    ours, theirs = AdamRows.of(start.to(there.device)), AdamRows.of(start)
    for step in range(1, 25):
        gradient = torch.randn(300, 4, generator=generator)
        gradient[torch.rand(300, generator=generator) < 0.6] = 0.0
        there(adam_step, ours, gradient, step=step, options=options)
        adam_step(theirs, gradient, step=step, options=options)
    for name, array in theirs.tensors("").items():
        same(ours.tensors("")[name], array, rtol=2e-5, atol=1e-6)
    assert (len(theirs.counts.unique()) > 5) == options.skip_zero_rows


def made_up() -> Radiance:
    """A field of high contrast: clear here, opaque within a few steps there."""
    generator = torch.Generator().manual_seed(0)
    encoding = HashGridConfig(levels=5, features=4, log2_table_size=11, base_resolution=4, per_level_scale=1.7)
    density = initial_weights((encoding.width, 16, 16), generator)
    density[-1][0] *= 40.0
    table, color = 1e4 * initial_table(encoding, generator), initial_weights((32, 16, 16, 3), generator)
    return Radiance(encoding, table, density, color, torch.tensor([[-0.5] * 3, [1.5] * 3]))


@pytest.mark.parametrize("activation", ["logistic", "exponential"])
def test_hash_grid_fields_look_the_same(there: There, activation):
    field = replace(made_up(), rgb_activation=activation)
    origins, directions = rays_through(2, 500, distance=1.3)
    named = {
        "grid": blobs(4, 2),
        "options": FieldOptions(cone_angle=1 / 256, background=(0.1, 0.2, 0.3), near=0.2),
        "radiance": RadianceOptions(level_mask=0b10111, density_threshold=3.0, smallest_weight=0.0, normals=True),
    }
    ours = there(render_radiance, field, origins, directions, **named)
    theirs = render_radiance(field, origins, directions, **named)
    assert ours.normals is not None and theirs.normals is not None
    assert int((ours.counts.cpu() != theirs.counts).sum()) <= 2
    for name in ("rgb", "alpha", "depth"):
        same(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=3e-4)
    # Normals that nearly cancel have no direction to agree on.
    apart = (ours.normals.cpu() - theirs.normals).norm(dim=1)
    assert float(apart.quantile(0.98)) < 5e-3 and 0.05 < float(theirs.alpha.mean()) < 0.95
