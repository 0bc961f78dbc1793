"""Real captures: facts that must hold of their cameras show that axes, lenses and splits are read right."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import real_data

from h3d.models import datasets
from h3d.models.datasets import NgpSpace, PosedImages, camera_directions, camera_to_pixels, pixel_grid, world_to_pixels
from h3d.models.datasets.ngp_space import common_middle


@pytest.fixture(scope="module")
def lego() -> PosedImages:
    return datasets.read(real_data("lego"))


@pytest.fixture(scope="module")
def fox() -> PosedImages:
    return datasets.read(real_data("fox"))


def axis_distances(dataset: PosedImages, point: np.ndarray) -> np.ndarray:  # [C]
    """How far each optical axis passes from a point."""
    return np.array([np.linalg.norm(np.cross(point - p.position, p.forward)) for p in dataset.images])


def test_lego_has_its_views_and_their_split(lego):
    assert (len(lego.train), len(lego.test)) == (100, 25)
    assert {posed.path.parent.name for posed in (lego.images[i] for i in lego.test)} == {"test"}
    assert [lego.images[i].path.stem for i in lego.train[:3]] == ["r_0", "r_1", "r_2"]
    assert lego.common_size() == (800, 800)
    assert lego.skipped == ()
    assert lego.has_alpha
    assert lego.images[0].K[0, 0] == pytest.approx(1111.111, abs=1e-3)


def test_lego_cameras_look_at_the_origin_from_above(lego):
    assert axis_distances(lego, np.zeros(3)).max() < 1e-5
    ahead = [float(-posed.position @ posed.forward) for posed in lego.images]
    np.testing.assert_allclose(ahead, 4.0311, atol=1e-3)
    # The photos stand upright: what is up in the world is up in every photo.
    assert max(posed.camera_to_world[2, 1] for posed in lego.images) <= 1e-6


def test_lego_lies_in_the_unit_cube(lego):
    assert (lego.space, lego.aabb_scale) == (NgpSpace(0.33, (0.5, 0.5, 0.5)), 1)


def test_lego_alpha_lies_where_the_model_is(lego):
    """Silhouettes carved from 12 photos leave a body; with wrong axes they would carve each other away."""
    steps = (np.arange(48) + 0.5) / 48 * 2.4 - 1.2
    cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    kept = np.ones(len(cells), bool)
    for posed in lego.images[::10]:
        alpha = datasets.image(posed, 4)[..., 3]
        column, row = (world_to_pixels(posed, cells) / 4).astype(int).clip(0, 199).T
        kept &= alpha[row, column] > 0
    volume = kept.mean() * 2.4**3
    assert 0.3 < volume < 2.0
    # The excavator is longer than wide, about the origin. All photos are from above: below it nothing is carved away.
    body = cells[kept]
    np.testing.assert_allclose(body[:, :2].min(axis=0), [-0.64, -1.14], atol=0.1)
    np.testing.assert_allclose(body.max(axis=0), [0.64, 1.14, 1.02], atol=0.1)
    for posed in lego.images[5::20]:
        alpha = datasets.image(posed, 4)[..., 3]
        seen = np.zeros_like(alpha, dtype=bool)
        column, row = (world_to_pixels(posed, body) / 4).astype(int).clip(0, 199).T
        seen[row, column] = True
        # Photos that carved nothing agree: hardly any of the body falls on their background.
        assert (seen & (alpha == 0)).sum() < 0.06 * (alpha > 0).sum()


def test_fox_skips_the_photos_that_do_not_exist(fox):
    assert len(fox) == 50
    assert fox.skipped == ("17 of 67 photos are missing (images/0005.jpg, images/0016.jpg, images/0017.jpg, ...)",)
    assert (len(fox.train), len(fox.test)) == (43, 7)
    assert (fox.aabb_scale, fox.common_size(), fox.has_alpha) == (4, (1080, 1920), False)


def test_fox_distortion_is_undone_to_a_thousandth_of_a_pixel(fox):
    posed = fox.images[0]
    pixels = np.concatenate([pixel_grid(posed, 8), [[0, 0], [1080, 1920], [0, 1920], [1080, 0]]])
    directions = camera_directions(posed, pixels)
    assert np.abs(camera_to_pixels(posed, directions) - pixels).max() < 1e-3
    # The distortion matters: without it rays would be off by whole pixels.
    plain = (pixels - posed.K[:2, 2]) / np.diag(posed.K)[:2]
    moved = np.abs(directions[:, :2] / directions[:, 2:] - plain) * np.diag(posed.K)[:2]
    assert moved.max() > 2.0


def test_fox_cameras_share_what_they_see(fox):
    middle = common_middle(np.stack([posed.camera_to_world for posed in fox.images]))
    for posed in fox.images:
        x, y = world_to_pixels(posed, middle[None])[0]
        assert (middle - posed.position) @ posed.forward > 1.0
        assert 0 < x < posed.width
        assert 0 < y < posed.height
    # What they look at and where they stand lies in the cube of side aabb_scale.
    placed = fox.space.points_to_ngp(np.stack([middle, *(posed.position for posed in fox.images)]))
    assert np.abs(placed - 0.5).max() < fox.aabb_scale / 2


def test_fox_photos_agree_along_the_epipolar_geometry(fox):
    """Neighbours match where a plane through the middle carries pixels over, and not where it is mirrored."""
    middle = common_middle(np.stack([posed.camera_to_world for posed in fox.images]))
    right, wrong = [], []
    for one, other in zip(fox.images[:-1], fox.images[1:], strict=True):
        if np.linalg.norm(one.position - other.position) > 0.6:
            continue
        a, b = (datasets.image(posed, 8).astype(np.float64).mean(axis=2) for posed in (one, other))
        grid = pixel_grid(one, 8).reshape(240, 135, 2)[80:160, 40:95].reshape(-1, 2)
        directions = camera_directions(one, grid) @ one.camera_to_world[:3, :3].T
        depth = (middle - one.position) @ one.forward / (directions @ one.forward)
        landed = world_to_pixels(other, one.position + directions * depth[:, None]) / 8
        ours = a[80:160, 40:95].reshape(-1)
        right.append(_correlation(ours, _sample(b, landed)))
        wrong.append(_correlation(ours, _sample(b, landed[:, [0, 1]] * [-1, 1] + [135, 0])))
    assert len(right) >= 10
    assert np.median(right) > 0.7
    assert np.median(right) > np.median(wrong) + 0.3


def _sample(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    column, row = places.astype(int).clip(0, [picture.shape[1] - 1, picture.shape[0] - 1]).T
    return picture[row, column]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])
