"""COLMAP's sparse models, text and binary, give the same cameras, points and splits for every camera model."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import Model, small_model, write_colmap

from h3d.models import datasets
from h3d.models.datasets import Distortion

CAMERAS = [
    ("SIMPLE_PINHOLE", (10.0, 4.0, 3.0), (10.0, 10.0), None),
    ("PINHOLE", (10.0, 11.0, 4.0, 3.0), (10.0, 11.0), None),
    ("SIMPLE_RADIAL", (10.0, 4.0, 3.0, 0.1), (10.0, 10.0), Distortion("radial", 0.1)),
    ("RADIAL", (10.0, 4.0, 3.0, 0.1, -0.02), (10.0, 10.0), Distortion("radial", 0.1, -0.02)),
    (
        "OPENCV",
        (10.0, 11.0, 4.0, 3.0, 0.1, -0.02, 0.003, 0.004),
        (10.0, 11.0),
        Distortion("radial", 0.1, -0.02, p1=0.003, p2=0.004),
    ),
    (
        "OPENCV_FISHEYE",
        (10.0, 11.0, 4.0, 3.0, 0.1, -0.02, 0.003, 0.004),
        (10.0, 11.0),
        Distortion("fisheye", 0.1, -0.02, 0.003, 0.004),
    ),
]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize(("camera", "parameters", "focal", "lens"), CAMERAS, ids=[row[0] for row in CAMERAS])
def test_every_camera_model_is_read(tmp_path, binary, camera, parameters, focal, lens):
    model = small_model(camera, parameters)
    write_colmap(tmp_path, model, binary=binary)
    dataset = datasets.read(tmp_path)
    assert [posed.path.name for posed in dataset.images] == list(model.names)
    for posed, pose in zip(dataset.images, model.poses, strict=True):
        np.testing.assert_allclose(posed.camera_to_world, pose, atol=1e-12)
        np.testing.assert_allclose(posed.K, [[focal[0], 0, 4.0], [0, focal[1], 3.0], [0, 0, 1]])
        assert posed.distortion == lens
    assert dataset.points is not None and dataset.point_colors is not None
    np.testing.assert_allclose(dataset.points, model.points, rtol=1e-6)
    np.testing.assert_array_equal(dataset.point_colors, model.colors)
    assert (dataset.test, len(dataset.train)) == ((0, 8), 7)


def test_the_scene_is_fitted_about_the_middle_of_the_viewing_axes(tmp_path):
    write_colmap(tmp_path, small_model(), binary=True)
    dataset = datasets.read(tmp_path)
    np.testing.assert_allclose(dataset.space.points_to_ngp(np.array([1.0, 2.0, 3.0])), 0.5, atol=1e-6)
    assert dataset.points is not None
    inside = np.abs(dataset.space.points_to_ngp(dataset.points) - 0.5).max(axis=1) <= dataset.aabb_scale / 2
    assert inside.mean() >= 0.95


@pytest.mark.parametrize("place", ["sparse/0", "sparse", ".", "colmap/sparse/0"])
def test_the_model_is_found_where_it_usually_lies(tmp_path, place):
    made = write_colmap(tmp_path / "made", small_model(), binary=True)
    scene = tmp_path / "scene"
    scene.mkdir()
    (tmp_path / "made" / "images").rename(scene / "images")
    (scene / place).mkdir(parents=True, exist_ok=True)
    for part in made.iterdir():
        part.rename(scene / place / part.name)
    assert datasets.is_dataset(scene)
    assert len(datasets.read(scene)) == 9


def test_a_model_opened_by_itself_finds_its_photos_above(tmp_path):
    place = write_colmap(tmp_path, small_model(), binary=True)
    assert datasets.read(place).images[0].path == tmp_path / "images" / "photo 0.png"


def test_photos_beside_the_model_do_without_a_folder(tmp_path):
    write_colmap(tmp_path, small_model(), binary=False)
    for photo in (tmp_path / "images").iterdir():
        photo.rename(tmp_path / photo.name)
    (tmp_path / "images").rmdir()
    assert len(datasets.read(tmp_path)) == 9


def test_text_without_feature_points_keeps_every_image(tmp_path):
    place = write_colmap(tmp_path, small_model(), binary=False)
    lines = (place / "images.txt").read_text().splitlines()
    kept = [lines[0], *(line if i % 2 == 0 else "" for i, line in enumerate(lines[1:]))]
    (place / "images.txt").write_text("\n".join(kept))
    assert len(datasets.read(tmp_path)) == 9


def test_a_model_without_points_will_do(tmp_path):
    place = write_colmap(tmp_path, small_model(), binary=True)
    (place / "points3D.bin").unlink()
    dataset = datasets.read(tmp_path)
    assert dataset.points is None
    assert len(dataset) == 9


def test_points_that_are_not_finite_are_left_out_with_a_count(tmp_path):
    model = small_model()
    model.points[[3, 8]] = np.nan
    write_colmap(tmp_path, model, binary=True)
    dataset = datasets.read(tmp_path)
    assert dataset.points is not None and dataset.points.shape == (48, 3)
    assert dataset.skipped == ("2 points are not finite and were left out",)


def test_reduced_photos_keep_their_view(tmp_path):
    model = small_model()
    doubled = Model("PINHOLE", (20.0, 22.0, 8.0, 6.0), model.poses, model.names, model.points, model.colors, (16, 12))
    write_colmap(tmp_path, model, binary=True)
    write_colmap(tmp_path / "b", doubled, binary=True, photos=False)
    for photo in (tmp_path / "images").iterdir():
        (tmp_path / "b" / "images").mkdir(exist_ok=True)
        photo.rename(tmp_path / "b" / "images" / photo.name)
    np.testing.assert_allclose(datasets.read(tmp_path / "b").images[0].K, [[10, 0, 4], [0, 11, 3], [0, 0, 1]])
