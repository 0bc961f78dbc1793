"""Folders of ns-process-data: the world is COLMAP's again, copies and masks are used, odd cameras are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio_files import APPLIED, ball_points, write_processed_ball
from PIL import Image

from h3d.models import datasets
from h3d.models.datasets import DatasetError, Distortion
from h3d.models.training.evaluation import evaluate
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.photo_rays import photo_rays
from h3d.models.training.photos import PhotosTask
from h3d.models.training.pinhole_photos import pinhole_photo


def change(folder: Path, **entries: Any) -> None:
    path = folder / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def change_frames(folder: Path, **entries: Any) -> None:
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    change(folder, frames=[frame | entries for frame in frames])


def test_poses_and_points_come_in_the_world_before_nerfstudio_turned_it(tmp_path: Path):
    poses = write_processed_ball(tmp_path)
    dataset = datasets.read(tmp_path)
    for posed, pose in zip(dataset.images, poses, strict=True):
        np.testing.assert_allclose(posed.camera_to_world, pose, atol=1e-9)
    assert dataset.points is not None and dataset.points.dtype == np.float32
    np.testing.assert_allclose(dataset.points, ball_points(), atol=1e-5)
    assert dataset.skipped == ()


def test_a_scale_that_was_applied_to_poses_is_taken_off_them(tmp_path: Path):
    poses = write_processed_ball(tmp_path)
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    for frame in frames:
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, 3] = 0.5 * (matrix[:3, 3] + [0.0, 0.0, 7.0])
        frame["transform_matrix"] = matrix.tolist()
    shifted = APPLIED.copy()
    shifted[:, 3] = [0.0, 0.0, 7.0]
    change(tmp_path, frames=frames, applied_scale=0.5, applied_transform=shifted.tolist())
    dataset = datasets.read(tmp_path)
    for posed, pose in zip(dataset.images, poses, strict=True):
        np.testing.assert_allclose(posed.camera_to_world, pose, atol=1e-9)
    assert dataset.points is not None
    np.testing.assert_allclose(dataset.points, ball_points() + [0.0, 7.0, 0.0], atol=1e-5)


def test_a_file_that_places_its_scene_in_ngps_cube_keeps_its_world(tmp_path: Path):
    poses = write_processed_ball(tmp_path, aabb_scale=4)
    posed = datasets.read(tmp_path).images[0]
    np.testing.assert_allclose(posed.camera_to_world[:3], APPLIED @ poses[0], atol=1e-9)


@pytest.mark.parametrize(
    ("applied", "rule"),
    [
        ([[1, 0, 0, 0], [0, 1, 0, 0]], "must be 3 rows of 4 finite numbers"),
        ("up", "must be 3 rows of 4 finite numbers"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0]], "must turn and scale alone"),
        ([[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], "must turn and scale alone"),
    ],
)
def test_a_world_that_was_bent_is_refused(tmp_path: Path, applied: Any, rule: str):
    write_processed_ball(tmp_path, applied_transform=applied)
    with pytest.raises(DatasetError, match=f"applied_transform is .*, {rule}"):
        datasets.read(tmp_path)


def test_copies_are_used_at_their_downscale(tmp_path: Path):
    write_processed_ball(tmp_path, copies=(2,))
    marked = np.full((24, 24, 3), 77, np.uint8)
    Image.fromarray(marked).save(tmp_path / "images_2" / "frame_00001.png")
    first, second = datasets.read(tmp_path).images[:2]
    assert (datasets.image(first, 2) == 77).all()
    assert not (datasets.image(first, 1) == 77).all() and not (datasets.image(first, 4) == 77).all()
    averaged = datasets.image(second, 1).reshape(24, 2, 24, 2, 3).mean(axis=(1, 3))
    assert np.abs(datasets.image(second, 2) - averaged).max() <= 1.0


def test_copies_of_another_shape_are_left_alone(tmp_path: Path):
    write_processed_ball(tmp_path, copies=(2,))
    for size in ((25, 24), (12, 12)):
        Image.new("RGB", size, (77, 77, 77)).save(tmp_path / "images_2" / "frame_00001.png")
        assert not (datasets.image(datasets.read(tmp_path).images[0], 2) == 77).all()


def test_a_mask_hides_pixels_from_both_trainers_and_from_the_judge(tmp_path: Path):
    write_processed_ball(tmp_path)
    hidden = np.full((48, 48), 255, np.uint8)
    hidden[:, :17] = 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(hidden).save(tmp_path / "masks" / "camera.png")
    change_frames(tmp_path, mask_path="masks/camera.png")
    for path in sorted((tmp_path / "images").iterdir()):  # Nobody may see what lies there.
        pixels = np.array(Image.open(path))
        pixels[:, :17] = [255, 0, 255]
        Image.fromarray(pixels).save(path)
    dataset = datasets.read(tmp_path)
    shown = datasets.known(dataset.images[0], 2)
    assert shown is not None and not shown[:, :9].any() and shown[:, 9:].all()

    photo = pinhole_photo(dataset.images[0], 1)
    assert photo.known is not None and torch.equal(photo.known, torch.from_numpy(hidden > 0))
    batch = photo_rays(dataset, dataset.train, 1).draw(4000, torch.Generator().manual_seed(0))
    assert not bool((batch.rgb == torch.tensor([1.0, 0.0, 1.0])).all(dim=1).any())

    task = GaussiansTask.open(tmp_path, {"initial_points": 500, "background": "white"})
    steps = task.train()
    losses = [next(steps).loss for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_a_field_is_judged_where_the_mask_shows_the_photo(tmp_path: Path):
    write_processed_ball(tmp_path)
    (tmp_path / "masks").mkdir()
    one = np.zeros((48, 48), np.uint8)
    one[:12, :12] = 1  # Nothing but background: an empty field is right there.
    Image.fromarray(one).save(tmp_path / "masks" / "camera.png")
    task = PhotosTask.open(tmp_path, {"log2_table_size": 10})
    field = next(task.train()).snapshot()
    empty = replace(field, thickness=torch.full_like(field.thickness, -1.0))
    (whole,) = evaluate(empty, task.dataset, [0], downscale=1)
    change_frames(tmp_path, mask_path="masks/camera.png")
    (masked,) = evaluate(empty, datasets.read(tmp_path), [0], downscale=1)
    assert whole.psnr < 20 and masked.psnr > 60
    assert whole.ssim is not None and masked.ssim is not None and masked.ssim > whole.ssim


def test_a_mask_through_a_lens_hides_what_it_hid_in_the_photo(tmp_path: Path):
    write_processed_ball(tmp_path, k1=-0.2)
    hidden = np.full((48, 48), 255, np.uint8)
    hidden[20:28, 20:28] = 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(hidden).save(tmp_path / "masks" / "camera.png")
    change_frames(tmp_path, mask_path="masks/camera.png")
    photo = pinhole_photo(datasets.read(tmp_path).images[0], 1)
    assert photo.known is not None
    # The lens leaves the middle where it is.
    assert not bool(photo.known[20:28, 20:28].any()) and bool(photo.known[16:19, 16:32].all())


def test_missing_masks_and_those_of_another_size_are_said(tmp_path: Path):
    write_processed_ball(tmp_path)
    change_frames(tmp_path, mask_path="masks/camera.png")
    assert datasets.read(tmp_path).skipped == ("the masks of 12 photos are missing; these are used whole",)
    (tmp_path / "masks").mkdir()
    Image.new("L", (24, 24), 255).save(tmp_path / "masks" / "camera.png")
    with pytest.raises(DatasetError, match="is a mask of 24 x 24, its photo has 48 x 48"):
        datasets.known(datasets.read(tmp_path).images[0])
    Image.new("L", (48, 48), 0).save(tmp_path / "masks" / "camera.png")
    dataset = datasets.read(tmp_path)
    with pytest.raises(ValueError, match="the mask hides all of its photo"):
        photo_rays(dataset, dataset.train, 1)


def test_a_mask_outside_the_folder_is_refused(tmp_path: Path):
    write_processed_ball(tmp_path / "data")
    Image.new("L", (48, 48), 255).save(tmp_path / "camera.png")
    change_frames(tmp_path / "data", mask_path="../camera.png")
    with pytest.raises(DatasetError, match="is not below the opened folder"):
        datasets.read(tmp_path / "data")


def test_a_lens_in_one_list_is_the_lens_of_its_six_names(tmp_path: Path):
    write_processed_ball(tmp_path, k1=None, k2=None, p1=None, p2=None, distortion_params=[0.1, 0.2, 0, 0, 0.3, 0.4])
    assert datasets.read(tmp_path).images[0].distortion == Distortion("radial", 0.1, 0.2, p1=0.3, p2=0.4)


@pytest.mark.parametrize("model", ["EQUIRECTANGULAR", "FISHEYE624", "VR180_L"])
def test_cameras_that_no_lens_here_describes_are_refused_in_one_sentence(tmp_path: Path, model: str):
    write_processed_ball(tmp_path, camera_model=model)
    with pytest.raises(DatasetError, match=f"camera model '{model}' is not read; .*undistort the photos") as caught:
        datasets.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_each_photo_may_have_a_camera_of_its_own(tmp_path: Path):
    write_processed_ball(tmp_path)
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    own = ({"camera_model": "OPENCV_FISHEYE", "k1": 0.05}, {"camera_model": "OPENCV", "fl_x": 60.0, "fl_y": 61.0})
    change(tmp_path, frames=[*(frame | entries for frame, entries in zip(frames, own, strict=False)), *frames[2:]])
    first, second = datasets.read(tmp_path).images[:2]
    assert first.distortion == Distortion("fisheye", 0.05) and second.distortion is None
    assert (second.K[0, 0], second.K[1, 1]) == (60.0, 61.0)
