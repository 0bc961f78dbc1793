"""Looking at a hash-grid field: what is cropped, sliced, masked and thinned out, in the units and axes of its world."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from h3d.models.datasets import NgpSpace
from h3d.models.field_view import FieldView
from h3d.models.hash_grid import HashGridField, cascades_of
from h3d.renderers.fields import GRID_CELLS, SMALLEST_STEP
from h3d.renderers.hash_encoding import HashGridConfig, initial_table, layout
from h3d.renderers.mlp import initial_weights

SCALE = 0.25
SPACE = NgpSpace(SCALE, (0.4, 0.5, 0.6))


def made_up(aabb_scale: float = 1.0) -> HashGridField:
    """Some fog everywhere, in a world four times as large as NGP space."""
    generator = torch.Generator().manual_seed(0)
    encoding = HashGridConfig(levels=4, log2_table_size=12, base_resolution=4)
    density = initial_weights((8, 16, 16), generator)
    density[-1][0] *= 6.0
    return HashGridField(
        encoding=encoding,
        table=1e4 * initial_table(encoding, generator),
        density_weights=tuple(density),
        rgb_weights=tuple(initial_weights((32, 16, 16, 3), generator)),
        thickness=torch.ones(cascades_of(aabb_scale), GRID_CELLS),
        aabb=torch.tensor([[0.5 - aabb_scale / 2] * 3, [0.5 + aabb_scale / 2] * 3]),
        ngp_from_world=torch.from_numpy(SPACE.matrix),
    )


class WithoutKernel(HashGridField):
    """The same field, looked at as one that no kernel is there for."""

    @property
    def radiance(self) -> None:  # type: ignore[reportIncompatibleMethodOverride]
        return None


def rays(count: int = 300, distance: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """From around towards the middle of the bounds, in the world."""
    rng = np.random.default_rng(0)
    middle = made_up().bounds.mean(axis=0)
    away = rng.normal(size=(count, 3))
    origins = middle + distance * away / np.linalg.norm(away, axis=1, keepdims=True)
    to = middle + rng.uniform(-1.2, 1.2, (count, 3)) - origins
    return torch.from_numpy(origins), torch.from_numpy(to / np.linalg.norm(to, axis=1, keepdims=True))


def entered(origins: torch.Tensor, directions: torch.Tensor, box: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances at which rays enter and leave a box, [R] and [R]; the first is larger where they miss it."""
    walls = (torch.from_numpy(box)[:, None] - origins) / directions
    return walls.amin(dim=0).amax(dim=1), walls.amax(dim=0).amin(dim=1)


def test_bounds_are_the_unit_cube_in_the_world():
    corners = SPACE.points_from_ngp(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    for side in (1.0, 4.0):
        np.testing.assert_allclose(made_up(side).bounds, [corners.min(axis=0), corners.max(axis=0)], atol=1e-9)


def test_depth_is_in_units_of_the_world():
    field, (origins, directions) = made_up(), rays()
    field.density_weights[-1][0] *= 0.0  # Density 1 everywhere, per NGP unit.
    seen = field.render(origins, directions)
    near, far = entered(origins, directions, field.bounds)
    length = (far - near).clamp(min=0.0) * SCALE
    np.testing.assert_allclose(seen.alpha, 1.0 - torch.exp(-length), atol=3e-3)
    mean = near + (1.0 - (1.0 + length) * torch.exp(-length)) / (1.0 - torch.exp(-length)) / SCALE
    hit = length > 0.2
    assert int(hit.sum()) > 100
    np.testing.assert_allclose(seen.depth[hit], mean[hit], atol=6e-3)


def test_a_crop_box_shows_what_lies_in_it_alone():
    field, (origins, directions) = made_up(), rays()
    view = FieldView(crop_low=(0.2, 0.0, 0.3), crop_high=(0.7, 0.8, 1.0))
    low, high = field.bounds
    box = np.stack([low + (high - low) * view.crop_low, low + (high - low) * view.crop_high])
    near, far = entered(origins, directions, box)
    seen = field.render(origins, directions, view=view)
    assert bool((seen.alpha[near > far] == 0).all())
    solid = seen.alpha > 1e-3
    assert int(solid.sum()) > 100
    assert bool(((seen.depth > near - 1e-4) & (seen.depth < far + 1e-4))[solid].all())
    assert not torch.equal(seen.alpha, field.render(origins, directions).alpha)


def test_a_ray_along_the_wall_of_the_crop_box_is_no_surprise():
    field = made_up()
    low, high = field.bounds
    wall = low + 0.5 * (high - low)
    origins = torch.from_numpy(np.array([[wall[0], wall[1], low[2] - 1.0]]))
    view = FieldView(crop_low=(0.5, 0.5, 0.25))
    seen = field.render(origins, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), view=view)
    assert bool(torch.isfinite(seen.rgb).all()) and float(seen.alpha) > 0.0


def test_sides_at_the_bounds_cut_nothing_off_a_scene_that_goes_on():
    field, (origins, directions) = made_up(4.0), rays(distance=7.0)
    whole = field.render(origins, directions)
    assert torch.equal(whole.rgb, field.render(origins, directions, view=FieldView()).rgb)
    # The origins lie beyond the bounds, and fog lies between.
    near, _ = entered(origins, directions, field.bounds)
    assert int((whole.depth < near).sum()) > 50
    view = FieldView(crop_low=(0.5, 0.0, 0.0))
    half = field.render(origins, directions, view=view)
    middle = float(field.bounds[:, 0].mean())
    behind = (origins[:, 0] < middle) & (directions[:, 0] < 0)
    assert int(behind.sum()) > 5 and bool((half.alpha[behind] == 0).all())
    # Rays that never pass the plane see all that they saw, beyond the bounds too.
    free = (origins[:, 0] > middle) & (directions[:, 0] > 0)
    np.testing.assert_allclose(half.rgb[free], whole.rgb[free], atol=1e-6)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_slice_shows_the_field_on_its_plane(axis):
    field, (origins, directions) = made_up(), rays()
    view = FieldView(slice_axis=axis, slice_at=0.4, normals=True)
    seen = field.render(origins, directions, view=view)
    index = "xyz".index(axis)
    low, high = field.bounds
    places = origins + seen.depth[:, None] * directions
    hit = seen.alpha > 0
    assert int(hit.sum()) > 100
    np.testing.assert_allclose(places[hit][:, index], low[index] + 0.4 * (high - low)[index], atol=1e-5)
    ngp = torch.from_numpy(SPACE.points_to_ngp(places[hit].numpy())).float()
    turned = torch.from_numpy(SPACE.directions_to_ngp(directions[hit].numpy())).float()
    density, rgb = field.query(ngp, turned)
    np.testing.assert_allclose(seen.alpha[hit], 1.0 - torch.exp(-density * 16 * SMALLEST_STEP), atol=1e-3)
    np.testing.assert_allclose(seen.rgb[hit], rgb * seen.alpha[hit, None], atol=1e-3)
    assert seen.normals is not None
    facing = torch.zeros_like(directions[hit])
    facing[:, index] = -torch.sign(directions[hit][:, index])
    np.testing.assert_allclose(seen.normals[hit], facing * seen.alpha[hit, None], atol=1e-6)


def test_a_slice_keeps_to_the_crop_box_and_the_threshold():
    field, (origins, directions) = made_up(), rays()
    sliced = FieldView(slice_axis="x", slice_at=0.5)
    whole = field.render(origins, directions, view=sliced)
    cut = field.render(origins, directions, view=replace(sliced, crop_low=(0.0, 0.5, 0.0)))
    places = origins + whole.depth[:, None] * directions
    kept = places[:, 1] >= float(field.bounds[:, 1].mean())
    np.testing.assert_array_equal(cut.alpha, torch.where(kept, whole.alpha, 0.0))
    none = field.render(origins, directions, view=replace(sliced, density_threshold=1e9))
    assert float(none.alpha.max()) == 0.0


def test_the_density_threshold_is_per_unit_of_the_world():
    field, (origins, directions) = made_up(), rays()
    field.density_weights[-1][0] *= 0.0  # Density 1 everywhere per NGP unit, so SCALE per unit of the world.
    below = field.render(origins, directions, view=FieldView(density_threshold=0.99 * SCALE))
    above = field.render(origins, directions, view=FieldView(density_threshold=1.01 * SCALE))
    assert float(below.alpha.mean()) > 0.1 and float(above.alpha.max()) == 0.0


def test_levels_that_are_masked_give_nothing():
    field, (origins, directions) = made_up(), rays()
    table = field.table.clone()
    table[layout(field.encoding)[-1].offset :] = 0.0
    gone = replace(field, table=table).render(origins, directions)
    assert torch.equal(field.render(origins, directions, view=FieldView(level_mask=0b0111)).rgb, gone.rgb)
    assert not torch.equal(field.render(origins, directions).rgb, gone.rgb)


def test_normals_come_in_the_axes_of_the_world_and_only_when_asked_for():
    field, (origins, directions) = made_up(), rays()
    assert field.render(origins, directions).normals is None
    seen = field.render(origins, directions, view=FieldView(normals=True))
    assert seen.normals is not None
    np.testing.assert_allclose(seen.normals.norm(dim=1), seen.alpha, atol=1e-5)
    # The same rays given in NGP axes to a field whose world is NGP space: normals turn along.
    own = replace(field, ngp_from_world=torch.eye(4, dtype=torch.float64))
    moved = torch.from_numpy(SPACE.points_to_ngp(origins.numpy()))
    turned = torch.from_numpy(SPACE.directions_to_ngp(directions.numpy()))
    there = own.render(moved, turned, view=FieldView(normals=True))
    assert there.normals is not None
    np.testing.assert_allclose(seen.normals, SPACE.directions_from_ngp(there.normals.numpy()), atol=1e-3)


def test_a_quick_look_is_nearly_the_same_for_half_the_samples():
    field, (origins, directions) = made_up(), rays()
    full, quick = (field.render(origins, directions, view=FieldView(quick=q)) for q in (False, True))
    assert int(quick.counts.sum()) < 0.6 * int(full.counts.sum())
    assert float((quick.rgb - full.rgb).square().mean()) < 1e-4


def test_rays_end_where_the_view_says():
    field, (origins, directions) = made_up(), rays()
    few = field.render(origins, directions, view=FieldView(max_samples_per_ray=7))
    assert int(few.counts.max()) == 7
    early = field.render(origins, directions, view=FieldView(stop_transmittance=0.5))
    assert int(early.counts.sum()) < int(field.render(origins, directions).counts.sum())


@pytest.mark.parametrize(
    "view",
    [
        FieldView(crop_low=(0.2, 0.0, 0.3), crop_high=(0.7, 0.8, 1.0)),
        FieldView(density_threshold=0.5, level_mask=0b1011),
        FieldView(quick=True),
    ],
)
def test_a_field_that_no_kernel_is_there_for_looks_the_same(view: FieldView):
    field, (origins, directions) = made_up(2.0), rays()
    plain = WithoutKernel(**{f.name: getattr(field, f.name) for f in fields(field)})
    one, other = (f.render(origins, directions, view=view) for f in (field, plain))
    assert float(one.alpha.mean()) > 0.05
    np.testing.assert_allclose(one.rgb, other.rgb, atol=3e-3 if view.quick else 5e-4)
    np.testing.assert_allclose(one.depth, other.depth, atol=1e-3)
