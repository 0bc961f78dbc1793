"""Proves image fields as values: files round trip, rays see the picture upright and where it is, at every distance."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import noise, smooth

from h3d.models import image_field, image_view
from h3d.models.field_view import FieldView, Pixels
from h3d.models.image_field import ImageField, level_weights
from h3d.models.image_view import pixels_of
from h3d.models.light import light_of
from h3d.models.pictures import HeldPicture
from h3d.models.training.image import ImageTraining, train
from h3d.renderers.cameras import Camera
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.hash_encoding import HashGridConfig, initial_table
from h3d.renderers.mlp import initial_weights

PICTURE = smooth(48, 96)
GRAINY = PICTURE // 2 + noise(48, 96) // 2


@lru_cache(maxsize=2)
def learnt_of(picture_bytes: bytes) -> ImageField:
    values = np.frombuffer(picture_bytes, np.uint8).reshape(48, 96, 3)
    steps = train(HeldPicture("waves", values, False), ImageTraining(log2_table_size=12))
    return next(islice(steps, 299, None)).snapshot()


@pytest.fixture(scope="module")
def learnt() -> ImageField:
    """A wide picture, learnt well enough to be told from its mirror images."""
    return learnt_of(PICTURE.tobytes())


@pytest.fixture
def field() -> ImageField:
    """Untrained, of a table large enough that nothing is near zero."""
    generator = torch.Generator().manual_seed(0)
    encoding = HashGridConfig(dims=2, levels=6, log2_table_size=10, per_level_scale=1.5)
    weights = tuple(initial_weights((12, 16, 16, 3), generator))
    return ImageField(encoding, 1e4 * initial_table(encoding, generator), weights, 96, 48, coarsest=3, remark="made up")


def rays(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ np.linalg.inv(camera.K).T
    world = local @ camera.camera_to_world[:3, :3].T
    directions = torch.from_numpy(world / np.linalg.norm(world, axis=1, keepdims=True)).float()
    return torch.from_numpy(camera.position).float().expand(len(directions), 3).contiguous(), directions


def before(height: float, pixels: int, x: float = 1.0, y: float = 0.5) -> Camera:
    """An untouched camera, looking along +z, moved so that `height` of the plane about (x, y) fills its picture."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, -1.0
    return Camera(pose, 2.0 * math.atan(0.5 * height), 2 * pixels, pixels)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10.0 * np.log10(np.mean((a - b) ** 2)))


def test_a_saved_field_is_read_back_bit_for_bit(field: ImageField, tmp_path: Path):
    for one in (field, replace(field, hdr=True)):
        one.save(tmp_path / "f.safetensors")
        back = image_field.load(tmp_path / "f.safetensors")
        for name in ("encoding", "width", "height", "hdr", "coarsest", "remark"):
            assert getattr(back, name) == getattr(one, name)
        assert torch.equal(back.pixels(0, 0, 96, 48), one.pixels(0, 0, 96, 48))


def test_damaged_and_foreign_files_get_one_sentence(field: ImageField, tmp_path: Path):
    path = tmp_path / "f.safetensors"
    field.save(path)
    content = path.read_bytes()
    for part in (b"", content[:20], content[:-100]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            image_field.load(path)
    path.write_bytes(content.replace(image_field.FORMAT.encode(), b"h3d image field 9"))
    with pytest.raises(ValueError, match="the format is 'h3d image field 9'"):
        image_field.load(path)
    for wrong, sentence in (
        (replace(field, table=field.table[:-1]), "table: its shape is"),
        (replace(field, table=field.table.double()), "arrays: some are not float32"),
        (replace(field, weights=field.weights[1:]), "weights: the matrices"),
        (replace(field, weights=()), "weights: the matrices"),
        (replace(field, encoding=replace(field.encoding, dims=3)), "encoding: it has 3 dimensions, must be 2"),
        (replace(field, width=0), "width is 0, must be a whole number of 1 or more"),
        (replace(field, height="48"), "height is '48', must be a whole number"),
    ):
        wrong.save(path)
        with pytest.raises(ValueError, match=sentence):
            image_field.load(path)


def test_an_untouched_camera_sees_the_picture_upright(learnt: ImageField):
    seen = learnt.render(*rays(before(1.0, 48)))
    shown = seen.rgb.numpy().reshape(48, 96, 3)
    assert psnr(shown, PICTURE / 255) > 30.0
    assert psnr(shown[::-1], PICTURE / 255) < 20.0 and psnr(shown[:, ::-1], PICTURE / 255) < 20.0
    assert bool((seen.alpha > 0.999).all()) and bool((seen.counts == 1).all())
    straight = seen.depth.reshape(48, 96)[24, 48]
    assert float(straight) == pytest.approx(1.0, abs=1e-3)


def test_pixels_are_what_the_camera_sees_of_them(learnt: ImageField):
    seen = learnt.render(*rays(before(1.0, 48)), view=FieldView(pixels=Pixels((0.0, 0.0, 1.0), 1.0 / 48)))
    torch.testing.assert_close(seen.rgb.reshape(48, 96, 3), learnt.pixels(0, 0, 96, 48), atol=1e-3, rtol=0)
    whole = learnt.pixels(0, 0, 96, 48)
    assert torch.equal(learnt.pixels(10, 20, 30, 25), whole[20:25, 10:30])
    with pytest.raises(ValueError, match="must lie inside the picture, 0 <= x0 < x1 <= 96"):
        learnt.pixels(0, 0, 97, 10)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_from_afar_a_pixel_is_the_mean_of_what_it_covers(scale: int):
    """Where neighbours differ by chance, a single pixel says little of the mean."""
    field = learnt_of(GRAINY.tobytes())
    means = (GRAINY / 255).reshape(48 >> scale, 1 << scale, 96 >> scale, 1 << scale, 3).mean(axis=(1, 3))
    origins, directions = rays(before(1.0, 48 >> scale))
    seen = field.render(origins, directions).rgb.numpy().reshape(means.shape)
    points = field.render(origins, directions, view=FieldView(pixels=Pixels((0.0, 0.0, 1.0), 0.0)))
    found, alone = psnr(seen, means), psnr(points.rgb.numpy().reshape(means.shape), means)
    assert found > alone + 6.0
    torch.testing.assert_close(
        torch.from_numpy(seen), field.pixels(0, 0, 96, 48, 96 >> scale, 48 >> scale), atol=1e-3, rtol=0
    )


def test_a_part_of_a_picture_is_that_part_of_the_whole_bit_for_bit(learnt: ImageField):
    origins, directions = rays(before(3.0, 48))
    view = FieldView(pixels=Pixels((0.0, 0.0, 1.0), 3.0 / 48))
    whole = learnt.render(origins, directions, view=view)
    part = torch.arange(48 * 96).reshape(48, 96)[13:29, 31:70].reshape(-1)
    alone = learnt.render(origins[part], directions[part], view=view)
    assert torch.equal(alone.rgb, whole.rgb[part]) and torch.equal(alone.alpha, whole.alpha[part])


def test_what_a_pixel_sees_of_a_plane_that_leans_away(learnt: ImageField):
    """Against the corners of pixels, followed to the plane."""
    turned = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turned, np.array([1.0, 0.5, 0.0]) - 3.0 * turned[:, 2]
    camera = Camera(pose, 0.2, 40, 20)
    origins, directions = rays(camera)
    t = -origins[:, 2].double() / directions[:, 2].double()
    found = image_view._footprints(directions.double(), t, pixels_of(directions)).reshape(20, 40)
    places = (origins + t[:, None] * directions)[:, :2].reshape(20, 40, 2).double()
    right, down = places[1:-1, 2:] - places[1:-1, :-2], places[2:, 1:-1] - places[:-2, 1:-1]
    area = (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]).abs() / 4.0
    torch.testing.assert_close(found[1:-1, 1:-1], area.sqrt(), rtol=0.02, atol=0.0)


def test_beside_the_picture_and_behind_the_eye_there_is_nothing(learnt: ImageField):
    seen = learnt.render(*rays(before(2.0, 48)))
    alpha = seen.alpha.numpy().reshape(48, 96)
    assert alpha[:11].max() == 0.0 and alpha[:, :23].max() == 0.0
    assert alpha[13:35, 25:71].min() == 1.0
    assert float(seen.rgb.reshape(48, 96, 3)[:11].abs().max()) == 0.0
    # A border between two rows of pixels is as dark as it is covered.
    assert abs(alpha.sum() - 24 * 48) < 8.0
    away = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    behind = learnt.render(torch.tensor([[1.0, 0.5, -1.0]] * 2), away)
    assert float(behind.alpha.max()) == 0.0 and bool(torch.isfinite(behind.depth).all())


def test_crop_and_normals_and_levels_are_heeded(learnt: ImageField):
    origins, directions = rays(before(1.0, 48))
    view = FieldView(crop_low=(0.25, 0.0, 0.0), crop_high=(0.75, 0.5, 1.0), normals=True)
    seen = learnt.render(origins, directions, view=view)
    alpha = seen.alpha.reshape(48, 96)
    assert (
        float(alpha[24:].max()) < 0.51 and float(alpha[:, :23].max()) == 0.0 and float(alpha[2:22, 26:70].min()) == 1.0
    )
    assert seen.normals is not None
    torch.testing.assert_close(seen.normals[:, 2], -seen.alpha)
    none = learnt.render(origins, directions, view=FieldView(level_mask=0))
    assert float(none.rgb.std(dim=0).max()) < 1e-6


def test_hdr_fields_give_linear_light(field: ImageField):
    hdr = replace(field, hdr=True)
    assert hdr.linear and not field.linear
    bright = replace(hdr, weights=(*field.weights[:2], field.weights[2] * 30.0))
    codes = replace(bright, hdr=False).pixels(0, 0, 96, 48)
    light = bright.pixels(0, 0, 96, 48)
    assert float(light.max()) > 1.5 and float(codes.max()) == 1.0
    shown = codes < 1.0
    torch.testing.assert_close(light_of(codes)[shown], light[shown])


def test_levels_fade_with_the_footprint_and_are_whole_at_a_pixel():
    encoding = HashGridConfig(dims=2, levels=8, per_level_scale=2.0)
    footprints = torch.tensor([0.01, 1.0, 4.0, 64.0, 1e6])
    share = level_weights(encoding, 1024, footprints, 10)
    assert float(share[:2].min()) == 1.0
    assert bool((share.diff(dim=0) <= 0.0).all()) and bool((share.diff(dim=1) <= 0.0).all())
    assert float(share[3, -1]) == 0.0 and float(share[3, 0]) == 1.0
    # Beyond what was learnt nothing fades any more.
    assert float(level_weights(encoding, 1024, footprints, 0).min()) == 1.0


def test_a_look_can_be_cancelled(field: ImageField):
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        field.render(*rays(before(1.0, 48)), cancel=flag)
    with pytest.raises(Cancelled):
        field.pixels(0, 0, 96, 48, cancel=flag)


def test_no_rays_and_one_ray_are_seen_too(field: ImageField):
    assert len(field.render(torch.zeros(0, 3), torch.zeros(0, 3)).alpha) == 0
    seen = field.render(torch.tensor([[0.5, 0.5, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(seen.rgb[0], field.colors(torch.tensor([[24.0, 24.0]]), torch.ones(1))[0])
