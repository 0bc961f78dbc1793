"""Proves signed distance fields as values and pictures, by a ball that is known exactly: files, axes, hits, cuts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_fields import ball, distance_field

from h3d.models import signed_distance
from h3d.models.field_files import read_field
from h3d.models.field_view import WHOLE, FieldView
from h3d.models.signed_distance import SignedDistanceField
from h3d.renderers.cancel import CancelFlag, Cancelled

CENTRE, RADIUS = np.array([1.0, 2.0, 3.0]), 0.6  # in the asset's axes: the unit cube has sides of 2 there


@pytest.fixture(scope="module")
def field() -> SignedDistanceField:
    return distance_field(ball)


def rays(side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Parallel ones down the z axis, over all of the box and a little more."""
    along = np.linspace(-1.1, 1.1, side)
    x, y = np.meshgrid(along, along)
    origins = CENTRE + np.stack([x.ravel(), y.ravel(), np.full(side * side, -4.0)], axis=1)
    directions = np.broadcast_to([0.0, 0.0, 1.0], origins.shape)
    return torch.from_numpy(origins).float(), torch.from_numpy(directions.copy()).float()


@dataclass(frozen=True)
class Seen:
    """What rays have seen, as arrays that numpy's masks can pick from."""

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    counts: np.ndarray
    normals: np.ndarray


def look(field: SignedDistanceField, rays: tuple[torch.Tensor, torch.Tensor], view: FieldView = WHOLE) -> Seen:
    found = field.render(*rays, view=view)
    normals = torch.zeros(0, 3) if found.normals is None else found.normals
    return Seen(*(part.numpy() for part in (found.rgb, found.alpha, found.depth, found.counts, normals)))


def off_axis(origins: torch.Tensor) -> np.ndarray:
    return np.linalg.norm(origins.numpy()[:, :2] - CENTRE[:2], axis=1)


def test_a_saved_field_is_read_back_bit_for_bit(field: SignedDistanceField, tmp_path: Path):
    field.save(tmp_path / "f.safetensors")
    back = read_field(tmp_path / "f.safetensors")
    assert isinstance(back, SignedDistanceField)
    assert back.encoding == field.encoding and back.up == field.up and back.remark == "made up"
    points = torch.from_numpy(CENTRE) + torch.rand(100, 3) - 0.5
    assert torch.equal(field.query(points), back.query(points))
    assert np.array_equal(field.bounds, back.bounds)


def test_damaged_and_foreign_files_get_one_sentence(field: SignedDistanceField, tmp_path: Path):
    path = tmp_path / "f.safetensors"
    field.save(path)
    content = path.read_bytes()
    for part in (b"", content[:20], content[:-100]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            signed_distance.load(path)
    path.write_bytes(content.replace(signed_distance.FORMAT.encode(), b"h3d signed distance field 9"))
    with pytest.raises(ValueError, match="the format is 'h3d signed distance field 9'"):
        signed_distance.load(path)
    turned = field.asset_from_unit.clone()
    turned[0, 1] = 0.5
    for wrong, sentence in (
        (replace(field, table=field.table[:-1]), "table: its shape is"),
        (replace(field, table=field.table * np.nan), "table: a value is NaN"),
        (replace(field, weights=(torch.ones(2, 1),)), "weights: the matrices"),
        (replace(field, weights=()), "weights: the matrices"),
        (replace(field, box=field.box.flip(0)), "is no box in the unit cube"),
        (replace(field, asset_from_unit=turned), "must be a uniform scale and a translation"),
    ):
        wrong.save(path)
        with pytest.raises(ValueError, match=sentence) as caught:
            signed_distance.load(path)
        assert "\n" not in str(caught.value)


def test_distances_are_in_the_assets_units_and_go_on_beyond_the_box(field: SignedDistanceField):
    points = CENTRE + np.random.default_rng(0).uniform(-0.8, 0.8, (500, 3))
    expected = np.linalg.norm(points - CENTRE, axis=1) - RADIUS
    # What the grid's cells cannot show of a ball: 1/64 wide, they flatten it by less than 1e-3 but at its middle.
    far = expected > -0.5
    assert np.allclose(field.query(torch.from_numpy(points)).numpy()[far], expected[far], atol=2e-3)
    beyond = torch.tensor([[1.0, 2.0, 3.0 + 5.0]])
    assert float(field.query(beyond)[0]) == pytest.approx(5.0 - RADIUS, abs=5e-3)
    assert np.allclose(field.bounds, [CENTRE - 0.9, CENTRE + 0.9])


def test_a_picture_shows_the_ball_where_it_is(field: SignedDistanceField):
    origins, directions = rays()
    seen, off = look(field, (origins, directions), FieldView(normals=True)), off_axis(origins)
    inside, outside = off < RADIUS - 0.02, off > RADIUS + 0.02
    assert (seen.alpha[inside] == 1.0).all() and (seen.alpha[outside] == 0.0).all()
    assert (seen.rgb[outside] == 0.0).all() and seen.rgb[inside].min() > 0.1
    steep = off < 0.9 * RADIUS
    assert np.allclose(seen.depth[steep], 4.0 - np.sqrt(RADIUS**2 - off[steep] ** 2), atol=4e-3)
    hits = origins.numpy() + seen.depth[:, None] * directions.numpy()
    assert np.allclose(seen.normals[steep], (hits[steep] - CENTRE) / RADIUS, atol=0.05)
    assert (seen.normals[outside] == 0.0).all()
    assert field.render(origins, directions).normals is None


def test_a_quick_picture_shows_the_same_ball(field: SignedDistanceField):
    full, quick = look(field, rays()), look(field, rays(), FieldView(quick=True))
    assert (full.alpha != quick.alpha).mean() < 0.01
    both = (full.alpha * quick.alpha) > 0
    assert np.abs(full.rgb - quick.rgb)[both].mean() < 0.02
    assert quick.counts.sum() < full.counts.sum()


def test_any_part_of_a_picture_is_that_part_of_the_whole(field: SignedDistanceField):
    origins, directions = rays()
    whole, part = field.render(origins, directions), field.render(origins[700:1100], directions[700:1100])
    assert torch.equal(whole.rgb[700:1100], part.rgb) and torch.equal(whole.depth[700:1100], part.depth)


def test_the_crop_box_cuts_the_ball_open(field: SignedDistanceField):
    origins, directions = rays()
    seen = look(field, (origins, directions), FieldView(crop_low=(0.0, 0.0, 0.5), normals=True))
    off = off_axis(origins)
    cut = off < RADIUS - 0.02
    assert np.allclose(seen.depth[cut], 4.0, atol=1e-5)
    assert (seen.normals[cut] == [0.0, 0.0, -1.0]).all()
    # Inside is blue.
    middle = seen.rgb[off < 0.5 * RADIUS].mean(axis=0)
    assert middle[2] > middle[0] + 0.1


def test_a_slice_shows_distances_on_its_plane_alone(field: SignedDistanceField):
    origins, directions = rays()
    seen = look(field, (origins, directions), FieldView(slice_axis="z", slice_at=0.5))
    off = off_axis(origins)
    on_plane = np.abs(origins.numpy()[:, :2] - CENTRE[:2]).max(axis=1) < 0.9
    assert np.array_equal(seen.alpha == 1.0, on_plane)
    assert np.allclose(seen.depth[on_plane], 4.0)
    line = np.abs(off - RADIUS) < 0.005
    assert line.any() and seen.rgb[line].max() < 0.3
    assert seen.rgb[off < 0.3, 2].mean() > seen.rgb[off < 0.3, 0].mean()
    cropped = FieldView(slice_axis="z", slice_at=0.5, crop_high=(0.5, 1.0, 1.0))
    half = look(field, (origins, directions), cropped).alpha.sum()
    assert half == pytest.approx(0.5 * seen.alpha.sum(), rel=0.05)


def test_an_eye_inside_sees_the_inner_side_lit(field: SignedDistanceField):
    origins = torch.from_numpy(CENTRE).float().expand(2, 3).contiguous()
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
    seen = look(field, (origins, directions), FieldView(normals=True))
    assert np.allclose(seen.depth, RADIUS, atol=4e-3)
    assert np.allclose(seen.normals, -directions.numpy(), atol=0.05)


def test_levels_that_are_off_take_no_part(field: SignedDistanceField):
    off, on = (look(field, rays(16), FieldView(level_mask=mask)) for mask in (0, 1))
    # Without its only level the field is 0 everywhere: every ray that enters the box has arrived.
    assert off.alpha.sum() > 2.0 * on.alpha.sum()
    assert np.array_equal(look(field, rays(16)).rgb, on.rgb)


def test_a_set_flag_ends_a_picture(field: SignedDistanceField):
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        field.render(*rays(), cancel=flag)


def test_no_rays_and_rays_that_all_pass_are_fine(field: SignedDistanceField):
    none = field.render(torch.zeros(0, 3), torch.zeros(0, 3))
    assert none.rgb.shape == (0, 3)
    away = field.render(torch.full((5, 3), 100.0), torch.tensor([[0.0, 0.0, 1.0]]).expand(5, 3))
    assert float(away.alpha.sum()) == 0.0


def test_gradients_are_those_of_finite_differences(field: SignedDistanceField):
    # Away from the borders of cells, where the slope of the interpolation jumps.
    cell = 1.0 / 63.0
    points = ((torch.randint(15, 45, (200, 3)) + 0.25 + 0.5 * torch.rand(200, 3) - 0.5) * cell).float()
    slopes, step = field.unit_gradient(points), 1e-3
    for axis in range(3):
        offset = torch.zeros(3)
        offset[axis] = step
        difference = (field.unit_distance(points + offset) - field.unit_distance(points - offset)) / (2.0 * step)
        assert torch.allclose(slopes[:, axis], difference, atol=2e-3)
