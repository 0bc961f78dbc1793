"""The three dialects of transforms.json give the cameras, splits and spaces that they describe."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import edit_json, ring, transforms, write_ngp, write_photo

from h3d.models import datasets
from h3d.models.datasets import Distortion


def write_blender(folder: Path, *labels: str, count: int = 3) -> None:
    for k, label in enumerate(labels):
        names = [f"./{label}/r_{i}" for i in range(count)]
        for i, name in enumerate(names):
            write_photo(folder / f"{name}.png", alpha=True, seed=10 * k + i)
        meta = transforms(ring(count), names, camera_angle_x=math.radians(60))
        (folder / f"transforms_{label}.json").write_text(json.dumps(meta))


def write_nerfstudio(folder: Path, **entries: Any) -> list[np.ndarray]:
    count = 6
    poses = ring(count, radius=1.0, center=(5.0, 0.0, 0.0))
    names = [f"images/frame_{i:05d}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        write_photo(folder / name, seed=i)
    lens = {"fl_x": 9.0, "fl_y": 9.5, "cx": 4.1, "cy": 2.9, "w": 8, "h": 6, "camera_model": "OPENCV"}
    (folder / "transforms.json").write_text(json.dumps(transforms(poses, names, **(lens | entries))))
    return poses


def test_poses_come_out_in_opencv_axes(tmp_path):
    poses = write_ngp(tmp_path)
    for posed, pose in zip(datasets.read(tmp_path).images, poses, strict=True):
        np.testing.assert_allclose(posed.camera_to_world, pose, atol=1e-12)


def test_instant_ngp_entries_are_taken_as_they_stand(tmp_path):
    write_ngp(tmp_path, fl_y=12.0, cx=3.5, cy=2.5, k1=0.1, k2=-0.2, p1=0.01, p2=0.02, aabb_scale=16, scale=0.5)
    edit_json(tmp_path / "transforms.json", offset=[0.1, 0.2, 0.3])
    dataset = datasets.read(tmp_path)
    posed = dataset.images[0]
    np.testing.assert_allclose(posed.K, [[10, 0, 3.5], [0, 12, 2.5], [0, 0, 1]])
    assert posed.distortion == Distortion("radial", 0.1, -0.2, p1=0.01, p2=0.02)
    assert (dataset.aabb_scale, dataset.scale, dataset.offset) == (16, 0.5, (0.1, 0.2, 0.3))
    assert dataset.skipped == ()


def test_one_number_for_offset_holds_for_three_axes(tmp_path):
    write_ngp(tmp_path, offset=0.25)
    assert datasets.read(tmp_path).offset == (0.25, 0.25, 0.25)


def test_a_box_is_mapped_into_the_unit_cube(tmp_path):
    write_ngp(tmp_path, aabb=[[-1.0, 0.0, 2.0], [3.0, 1.0, 3.0]])
    space = datasets.read(tmp_path).space
    corners = space.points_to_ngp(np.array([[-1.0, 0.0, 2.0], [3.0, 1.0, 3.0]]))
    np.testing.assert_allclose(corners.mean(axis=0), 0.5)
    np.testing.assert_allclose(np.ptp(corners, axis=0), [0.25, 0.25, 1.0])


def test_a_frame_overrides_the_file(tmp_path):
    write_ngp(tmp_path)
    path = tmp_path / "transforms.json"
    frames = json.loads(path.read_text())["frames"]
    frames[3] |= {"fl_x": 20.0, "k1": 0.3}
    edit_json(path, frames=frames)
    images = datasets.read(tmp_path).images
    assert [posed.K[0, 0] for posed in images[2:5]] == [10.0, 20.0, 10.0]
    assert [posed.distortion for posed in images[2:5]] == [None, Distortion("radial", 0.3), None]


@pytest.mark.parametrize(
    ("entries", "focal"),
    [
        ({"camera_angle_x": math.pi / 2}, (4.0, 4.0)),
        ({"camera_angle_y": math.pi / 2}, (3.0, 3.0)),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, (4.0, 3.0)),
        ({"x_fov": 90}, (4.0, 4.0)),
        ({"fl_x": 7, "camera_angle_x": 1.0}, (7.0, 7.0)),
    ],
)
def test_angles_of_view_become_focal_lengths(tmp_path, entries, focal):
    write_ngp(tmp_path)
    edit_json(tmp_path / "transforms.json", fl_x=None)
    edit_json(tmp_path / "transforms.json", **entries)
    K = datasets.read(tmp_path).images[0].K
    np.testing.assert_allclose([K[0, 0], K[1, 1]], focal)
    np.testing.assert_allclose(K[:2, 2], [4.0, 3.0])


def test_blender_files_split_by_their_names_and_extensions_are_found(tmp_path):
    write_blender(tmp_path, "train", "test")
    dataset = datasets.read(tmp_path)
    assert (dataset.train, dataset.test) == ((0, 1, 2), (3, 4, 5))
    assert [posed.path.relative_to(tmp_path).as_posix() for posed in dataset.images[2:4]] == [
        "train/r_2.png",
        "test/r_0.png",
    ]
    assert dataset.has_alpha
    assert (dataset.aabb_scale, dataset.scale, dataset.offset) == (1, 0.33, (0.5, 0.5, 0.5))
    assert dataset.images[0].K[0, 0] == pytest.approx(4 / math.tan(math.radians(30)))


def test_without_test_photos_those_for_validation_test(tmp_path):
    write_blender(tmp_path, "train", "val")
    dataset = datasets.read(tmp_path)
    assert (dataset.train, dataset.test) == ((0, 1, 2), (3, 4, 5))


def test_photos_of_no_split_are_mentioned(tmp_path):
    write_blender(tmp_path, "train", "val", "test")
    dataset = datasets.read(tmp_path)
    assert (dataset.train, dataset.test) == ((0, 1, 2), (6, 7, 8))
    assert dataset.skipped == ("3 photos belong neither to training nor to the test and are not used",)


def test_a_blender_file_alone_is_split_by_the_rule(tmp_path):
    write_blender(tmp_path, "train", "test", count=10)
    dataset = datasets.read(tmp_path / "transforms_train.json")
    assert (dataset.name, dataset.test) == ("transforms_train", (0, 8))
    assert dataset.train == (1, 2, 3, 4, 5, 6, 7, 9)


def test_nerfstudio_lists_decide_the_split(tmp_path):
    lists = {
        "train_filenames": [f"images/frame_{i:05d}.jpg" for i in (0, 2, 3, 5)],
        "val_filenames": ["./images/frame_00001.jpg"],
        "test_filenames": ["images/frame_00004.jpg"],
    }
    write_nerfstudio(tmp_path, **lists)
    dataset = datasets.read(tmp_path)
    names = [posed.path.name for posed in dataset.images]
    assert sorted(names[i] for i in dataset.train) == [f"frame_{i:05d}.jpg" for i in (0, 2, 3, 5)]
    assert [names[i] for i in dataset.test] == ["frame_00004.jpg"]


def test_a_nerfstudio_scene_is_fitted_into_the_cube(tmp_path):
    poses = write_nerfstudio(tmp_path)
    dataset = datasets.read(tmp_path)
    np.testing.assert_allclose(dataset.space.points_to_ngp(np.array([5.0, 0.0, 0.0])), 0.5, atol=1e-9)
    placed = np.stack([dataset.space.pose_to_ngp(pose)[:3, 3] for pose in poses])
    assert np.linalg.norm(placed - 0.5, axis=1).mean() == pytest.approx(4 * 0.33)
    assert np.abs(placed - 0.5).max() <= dataset.aabb_scale / 2


def test_nerfstudio_points_are_read_with_their_colours(tmp_path):
    write_nerfstudio(
        tmp_path, ply_file_path="sparse.ply", applied_transform=[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    )
    header = "ply\nformat ascii 1.0\nelement vertex 3\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {color}\n" for color in ("red", "green", "blue")) + "end_header\n"
    (tmp_path / "sparse.ply").write_text(header + "5 0 0 255 0 7\n5 1 0 1 2 3\n5 0 1 0 128 0\n")
    dataset = datasets.read(tmp_path)
    assert dataset.points is not None and dataset.point_colors is not None
    # The file's world is the original one with x and y exchanged and z turned round.
    np.testing.assert_array_equal(dataset.points, [[0, 5, 0], [1, 5, 0], [0, 5, -1]])
    np.testing.assert_array_equal(dataset.point_colors, [[255, 0, 7], [1, 2, 3], [0, 128, 0]])


def test_a_missing_point_cloud_is_mentioned_only(tmp_path):
    write_nerfstudio(tmp_path, ply_file_path="sparse.ply")
    dataset = datasets.read(tmp_path)
    assert dataset.points is None
    assert dataset.skipped == ("the point cloud sparse.ply is missing",)


def test_a_fisheye_is_one_by_either_name(tmp_path):
    write_ngp(tmp_path / "a", is_fisheye=True, k1=0.1, k2=0.2, k3=0.3, k4=0.4)
    write_nerfstudio(tmp_path / "b", camera_model="OPENCV_FISHEYE", k1=0.1, k2=0.2, k3=0.3, k4=0.4)
    for name in "ab":
        assert datasets.read(tmp_path / name).images[0].distortion == Distortion("fisheye", 0.1, 0.2, 0.3, 0.4)


def test_frames_come_in_natural_order_whatever_the_order_of_the_file(tmp_path):
    write_ngp(tmp_path, count=12)
    path = tmp_path / "transforms.json"
    edit_json(path, frames=json.loads(path.read_text())["frames"][::-1])
    assert [posed.path.stem for posed in datasets.read(tmp_path).images] == [str(i) for i in range(12)]


def test_missing_photos_are_skipped_and_counted(tmp_path):
    write_ngp(tmp_path)
    for i in (1, 4, 5, 7):
        (tmp_path / f"images/{i}.png").unlink()
    dataset = datasets.read(tmp_path)
    assert [posed.path.stem for posed in dataset.images] == ["0", "2", "3", "6", "8"]
    assert dataset.skipped == ("4 of 9 photos are missing (images/1.png, images/4.png, images/5.png, ...)",)


def test_comments_and_a_byte_order_mark_are_allowed(tmp_path):
    write_ngp(tmp_path)
    path = tmp_path / "transforms.json"
    text = path.read_text().replace(
        '{"frames"', '{ // a comment with "quotes"\n /* {[ */ "note": "http://x/*y*/", "frames"'
    )
    path.write_text("\ufeff" + text)
    assert len(datasets.read(tmp_path)) == 9


def test_a_photo_of_another_resolution_keeps_its_view(tmp_path):
    write_ngp(tmp_path, w=16, h=12, fl_x=20.0, cx=9.0, cy=5.0)
    dataset = datasets.read(tmp_path)
    np.testing.assert_allclose(dataset.images[0].K, [[10, 0, 4.5], [0, 10, 2.5], [0, 0, 1]])
    assert dataset.skipped == ("9 photos are not of the size that their cameras state; these were scaled",)


def test_a_uniform_scale_of_the_axes_is_taken_off(tmp_path):
    poses = write_ngp(tmp_path)
    path = tmp_path / "transforms.json"
    frames = json.loads(path.read_text())["frames"]
    for frame in frames:
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, :3] *= 2.5
        frame["transform_matrix"] = matrix.tolist()
    edit_json(path, frames=frames)
    for posed, pose in zip(datasets.read(tmp_path).images, poses, strict=True):
        np.testing.assert_allclose(posed.camera_to_world, pose, atol=1e-12)


def test_names_with_backslashes_are_found(tmp_path):
    write_ngp(tmp_path)
    path = tmp_path / "transforms.json"
    path.write_text(path.read_text().replace("images/", "images\\\\"))
    assert len(datasets.read(tmp_path)) == 9


def test_a_data_set_is_recognised_by_names_alone(tmp_path):
    write_ngp(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "meta.json").write_text("{}")
    assert datasets.is_dataset(tmp_path / "a")
    assert datasets.is_dataset(tmp_path / "a" / "transforms.json")
    assert not datasets.is_dataset(tmp_path / "b")
    assert not datasets.is_dataset(tmp_path / "b" / "meta.json")
