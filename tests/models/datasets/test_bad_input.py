"""Bad input gets one sentence with file, place, rule and way out, and reaches nothing outside the opened folder."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_files import edit_json, small_model, write_colmap, write_ngp, write_photo

from h3d.models import datasets
from h3d.models.datasets import DatasetError


def refusal(path: Path) -> str:
    """The sentence that refuses a data set, after checking its form."""
    with pytest.raises(DatasetError) as caught:
        datasets.read(path)
    sentence = str(caught.value)
    assert re.fullmatch(r"[^\n]+: [^\n]+: [^\n]+; [^\n]+", sentence)
    return sentence


def frame_with(folder: Path, **entries) -> Path:
    """A data set whose frame 3 has other entries."""
    write_ngp(folder)
    path = folder / "transforms.json"
    frames = json.loads(path.read_text())["frames"]
    frames[3] |= entries
    edit_json(path, frames=frames)
    return path


def pose(**changes: list[float]) -> list[list[float]]:
    matrix = np.eye(4).tolist()
    for row, values in changes.items():
        matrix[int(row[1:])] = values
    return matrix


def test_a_path_that_is_not_there(tmp_path):
    assert "there is no such file or folder" in refusal(tmp_path / "nothing")


def test_a_folder_without_cameras(tmp_path):
    write_photo(tmp_path / "a.png")
    assert "holds no transforms.json, no transforms_train.json and no COLMAP model" in refusal(tmp_path)


def test_a_file_that_is_no_json(tmp_path):
    write_photo(tmp_path / "a.png")
    assert "its name does not end in .json" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is no JSON"),
        ('{"frames": [', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", 'must hold an object with "frames"'),
        ("{}", "the list of photos is missing"),
        ('{"frames": []}', "the list of photos is empty"),
        ('{"frames": {"a": 1}}', "the list of photos is no list"),
        ('{"frames": [7]}', r"frames\[0\]: is 7, must be an object"),
        ('{"frames": [{}]}', r"frames\[0\]: has no file_path"),
        ('{"frames": [{"file_path": "a.png"}]}', r"frames\[0\] \(a.png\): has no transform_matrix"),
    ],
)
def test_text_that_is_no_data_set(tmp_path, text, rule):
    (tmp_path / "transforms.json").write_text(text)
    assert re.search(rule, refusal(tmp_path))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "transforms.json").write_bytes(b'{"frames": "\xff\xfe"}')
    assert "is no UTF-8 text (byte 12)" in refusal(tmp_path)


def test_photos_that_are_all_missing(tmp_path):
    write_ngp(tmp_path)
    for photo in (tmp_path / "images").iterdir():
        photo.unlink()
    assert "all 9 photos are missing, the first is 'images/0.png' below" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("matrix", "rule"),
    [
        (pose(_0=[0, 0, 0, 0]), "its 3x3 part is singular"),
        (pose(_0=[0] * 4, _1=[0] * 4, _2=[0] * 4), "its 3x3 part is singular"),
        (pose(_0=[float("nan"), 0, 0, 0]), "row 0, column 0 is nan, must be finite"),
        (pose(_2=[0, 0, 1, float("inf")]), "row 2, column 3 is inf, must be finite"),
        (pose(_0=[-1, 0, 0, 0]), "its 3x3 part is mirrored (determinant below 0)"),
        (pose(_0=[1.5, 0, 0, 0]), "its 3x3 part is sheared or scaled unevenly (1.500 to 1)"),
        (pose(_3=[0, 0, 1, 1]), "its last row is [0.0, 0.0, 1.0, 1.0], must be 0 0 0 1"),
        ([[1, 0, 0, 0]], "must be 4 rows of 4 numbers"),
        ([[1, 0], [0]], "must be 4 rows of 4 numbers"),
        ("no matrix", "must be 4 rows of 4 numbers"),
    ],
)
def test_a_pose_that_no_camera_has_is_named_with_its_frame(tmp_path, matrix, rule):
    sentence = refusal(frame_with(tmp_path, transform_matrix=matrix))
    assert "frames[3] (images/3.png), transform_matrix: " in sentence
    assert rule in sentence


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ({"fl_x": 0}, "fl_x is 0.0, must be above 0"),
        ({"fl_x": "10"}, "fl_x is '10', must be a finite number"),
        ({"fl_x": float("nan")}, "fl_x is nan, must be a finite number"),
        ({"fl_x": 10**400}, "must be a finite number"),
        ({"fl_x": True}, "fl_x is True, must be a finite number"),
        ({"w": 8.5}, "w is 8.5, must be a whole number of pixels"),
        ({"w": -8}, "w is -8.0, must be above 0"),
        ({"fl_x": None, "camera_angle_x": 4.0}, "camera_angle_x is 4.0, must lie between 0 and 3.14159"),
        ({"fl_x": None, "x_fov": 180}, "x_fov is 180.0, must lie between 0 and 180"),
        ({"fl_x": None}, "there is no focal length (fl_x, camera_angle_x or x_fov)"),
        ({"cx": []}, "cx is [], must be a finite number"),
        ({"k1": float("inf")}, "k1 is inf, must be a finite number"),
        ({"camera_model": "FULL_OPENCV"}, "camera model 'FULL_OPENCV' is not read; known are PINHOLE"),
        ({"camera_model": 3}, "camera_model is 3, must be text"),
        ({"ftheta_p0": 1.0}, "camera model 'ftheta_p0' is not read"),
        ({"aabb_scale": 3}, "aabb_scale is 3.0, must be a power of two from 1 to 128"),
        ({"aabb_scale": 1024}, "aabb_scale is 1024.0, must be a power of two from 1 to 128"),
        ({"scale": 0}, "scale is 0.0, must be above 0"),
        ({"offset": [1, 2]}, "offset is [1, 2], must be 3 finite numbers"),
        ({"offset": float("nan")}, "offset is [nan, nan, nan], must be 3 finite numbers"),
        ({"aabb": [[0, 0, 0]]}, "aabb is [[0, 0, 0]], must be two corners"),
        ({"aabb": [[0, 0, 0], None]}, "must be 3 finite numbers"),
        ({"train_filenames": [3]}, "train_filenames: must be a list of file names"),
        ({"ply_file_path": 3}, "ply_file_path: is 3, must be text"),
    ],
)
def test_an_entry_that_breaks_its_rule_is_named_with_its_value(tmp_path, entries, rule):
    write_ngp(tmp_path)
    path = tmp_path / "transforms.json"
    edit_json(path, **dict.fromkeys(entries))
    edit_json(path, **entries)
    assert rule in refusal(tmp_path)


def test_a_broken_point_cloud_is_named(tmp_path):
    write_ngp(tmp_path, ply_file_path="a.ply")
    (tmp_path / "a.ply").write_text("ply\nformat ascii 1.0\nelement vertex 9\nend_header\n")
    assert "ply_file_path: " in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "images/../../outside.png", "C:\\photo.png", "a\0b"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    write_photo(tmp_path / "outside.png")
    path = frame_with(tmp_path / "scene", file_path=name)
    assert "which is not below the opened folder" in refusal(path)


def test_an_absolute_name_is_refused_unless_it_lies_inside(tmp_path):
    write_photo(tmp_path / "outside.png")
    path = frame_with(tmp_path / "a", file_path=str(tmp_path / "outside.png"))
    assert "which is not below the opened folder" in refusal(path)
    path = frame_with(tmp_path / "b", file_path=str(tmp_path / "b" / "images" / "3.png"))
    assert len(datasets.read(path)) == 9


def test_a_link_that_leads_outside_is_refused(tmp_path):
    write_photo(tmp_path / "outside.png")
    path = frame_with(tmp_path / "scene")
    (tmp_path / "scene" / "images" / "3.png").unlink()
    (tmp_path / "scene" / "images" / "3.png").symlink_to(tmp_path / "outside.png")
    assert "which is not below the opened folder" in refusal(path)


def test_a_point_cloud_outside_is_refused(tmp_path):
    write_ngp(tmp_path / "scene", ply_file_path="../a.ply")
    (tmp_path / "a.ply").write_text("ply\n")
    assert "which is not below the opened folder" in refusal(tmp_path / "scene")


def test_a_photo_of_another_shape_than_its_camera(tmp_path):
    write_ngp(tmp_path)
    write_photo(tmp_path / "images" / "3.png", 6, 8)
    sentence = refusal(tmp_path)
    assert "frames[3] (images/3.png): 3.png is 6 x 8, its camera is for 8 x 6: another shape" in sentence


def test_mixed_sizes_are_fine_until_a_rule_needs_one(tmp_path):
    write_ngp(tmp_path, w=None, h=None)
    edit_json(tmp_path / "transforms.json", w=None, h=None)
    assert datasets.read(tmp_path).common_size() == (8, 6)
    write_photo(tmp_path / "images" / "3.png", 10, 5)
    dataset = datasets.read(tmp_path)
    assert (dataset.images[3].width, dataset.images[3].height) == (10, 5)
    with pytest.raises(DatasetError, match=r"3\.png is 10 x 5, 0\.png is 8 x 6; all must have one size here; crop"):
        dataset.common_size()


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_a_photo_whose_header_is_broken(tmp_path, keep):
    write_ngp(tmp_path)
    path = tmp_path / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:keep] if keep < 100 else b"GIF89a" + bytes(100))
    assert "3.png: picture: cannot be decoded" in refusal(tmp_path)


def test_a_jpeg_that_is_cut_short_is_refused_when_it_is_decoded(tmp_path):
    path = frame_with(tmp_path, file_path="images/3.jpg")
    write_photo(tmp_path / "images" / "3.jpg", 160, 120)
    data = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(data[: len(data) * 3 // 4])
    posed = datasets.read(path).images[3]
    with pytest.raises(DatasetError, match=r"3\.jpg: picture: cannot be decoded .*; the file is damaged or cut short"):
        datasets.image(posed)


def test_a_photo_that_has_gone_since_is_refused_when_it_is_decoded(tmp_path):
    write_ngp(tmp_path)
    posed = datasets.read(tmp_path).images[3]
    posed.path.unlink()
    with pytest.raises(DatasetError, match="cannot be decoded .*No such file"):
        datasets.image(posed)


@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
def test_a_binary_model_cut_anywhere_is_refused(tmp_path, part):
    place = write_colmap(tmp_path, small_model(), binary=True)
    path = place / f"{part}.bin"
    data = path.read_bytes()
    for length in {0, 4, 8, 20, len(data) // 2, len(data) - 1}:
        path.write_bytes(data[:length])
        assert f"{part}.bin: " in refusal(tmp_path)


@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("count", [1_000, 2**40, 2**64 - 1])
def test_a_count_beyond_the_file_is_refused_before_anything_is_read(tmp_path, part, count):
    path = write_colmap(tmp_path, small_model(), binary=True) / f"{part}.bin"
    path.write_bytes(struct.pack("<Q", count) + path.read_bytes()[8:])
    assert f"header: declares {count:,} " in refusal(tmp_path)


@pytest.mark.parametrize("part", ["images", "points3D"])
def test_a_count_below_the_file_is_refused_since_rows_would_be_lost(tmp_path, part):
    path = write_colmap(tmp_path, small_model(), binary=True) / f"{part}.bin"
    path.write_bytes(struct.pack("<Q", 2) + path.read_bytes()[8:])
    assert "the count is too small" in refusal(tmp_path)


def test_feature_points_beyond_the_file_are_refused(tmp_path):
    model = small_model()
    path = write_colmap(tmp_path, model, binary=True) / "images.bin"
    data = bytearray(path.read_bytes())
    start = 8 + 64 + len(model.names[0]) + 1
    data[start : start + 8] = struct.pack("<Q", 2**60)
    path.write_bytes(bytes(data))
    assert f"image 0: declares {2**60:,} entries of 24 bytes" in refusal(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_a_data_set_or_a_sentence_and_nothing_else(tmp_path, seed):
    place = write_colmap(tmp_path, small_model("OPENCV", (10.0, 11.0, 4.0, 3.0, 0.1, 0.0, 0.0, 0.0)), binary=True)
    random = np.random.default_rng(seed)
    for path in sorted(place.iterdir()):
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        changed = random.integers(0, min(len(data), 400), 3)
        data[changed] = random.integers(0, 256, 3)
        path.write_bytes(data.tobytes())
        try:
            dataset = datasets.read(tmp_path)
        except DatasetError as error:
            assert "; " in str(error)
        else:
            assert np.isfinite(dataset.space.matrix).all()


def test_a_camera_number_that_is_not_known(tmp_path):
    path = write_colmap(tmp_path, small_model(), binary=True) / "cameras.bin"
    data = bytearray(path.read_bytes())
    data[12:16] = struct.pack("<i", 99)
    path.write_bytes(bytes(data))
    assert "camera 0: camera model 99 is not known" in refusal(tmp_path)


@pytest.mark.parametrize("binary", [True, False])
def test_a_camera_model_that_is_not_read(tmp_path, binary):
    write_colmap(tmp_path, small_model("FULL_OPENCV", [10.0] * 12), binary=binary)
    sentence = refusal(tmp_path)
    assert "camera 7: camera model FULL_OPENCV is not read; undistort the photos" in sentence


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ((10.0, float("nan"), 4.0, 3.0), "its parameters are not finite"),
        ((0.0, 10.0, 4.0, 3.0), "its focal length is 0"),
    ],
)
def test_camera_parameters_that_no_camera_has(tmp_path, binary, parameters, rule):
    write_colmap(tmp_path, small_model("PINHOLE", parameters), binary=binary)
    sentence = refusal(tmp_path)
    assert f"camera 7: {rule}" in sentence
    assert "cameras." in sentence


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [("translation", float("nan"), "its pose is not finite"), ("wxyz", 0.0, "its quaternion is all zero")],
)
def test_colmap_poses_that_no_camera_has(tmp_path, monkeypatch, binary, old, new, rule):
    model = small_model()
    rows = model.rows()
    number, wxyz, translation, name = rows[2]
    broken = (
        number,
        np.full(4, new) if old == "wxyz" else wxyz,
        np.full(3, new) if old != "wxyz" else translation,
        name,
    )
    monkeypatch.setattr(type(model), "rows", lambda self: [*rows[:2], broken, *rows[3:]])
    write_colmap(tmp_path, model, binary=binary)
    assert f"image 3 (photo 2.png): {rule}; remove this photo or solve its pose again" in refusal(tmp_path)


def test_a_camera_that_is_not_listed(tmp_path):
    place = write_colmap(tmp_path, small_model(), binary=False)
    path = place / "cameras.txt"
    path.write_text(path.read_text().replace("\n7 ", "\n8 "))
    assert "its camera 7 is not in the list of cameras" in refusal(tmp_path)


def test_a_model_without_images(tmp_path):
    place = write_colmap(tmp_path, small_model(), binary=True)
    (place / "images.bin").unlink()
    assert "neither images.bin nor images.txt; copy the whole model" in refusal(tmp_path)


def test_a_model_with_zero_images(tmp_path):
    place = write_colmap(tmp_path, replace(small_model(), poses=[], names=[]), binary=True)
    assert place.is_dir()
    assert "there are 0 frames" in refusal(tmp_path)


def test_colmap_names_that_lead_outside_are_refused(tmp_path):
    write_photo(tmp_path / "outside.png")
    model = small_model()
    names = ["../../outside.png", *model.names[1:]]
    write_colmap(tmp_path / "scene", replace(model, names=names), binary=True, photos=False)
    (tmp_path / "scene" / "images").mkdir()
    assert "which is not below the opened folder" in refusal(tmp_path / "scene")


@pytest.mark.parametrize(
    ("part", "old", "new", "rule"),
    [
        ("cameras", "PINHOLE", "BALL", "line 2: camera model 'BALL' is not known"),
        ("cameras", "PINHOLE", "OPENCV", "line 2: OPENCV has 8 parameters, the line has 4"),
        ("cameras", " 8 6 ", " 8 six ", "line 2: could not convert string to float"),
        ("cameras", " 8 6 ", " 8 6.5 ", "line 2: 6.5 must be a whole number"),
        ("cameras", " 8 6 ", " 8 0 ", "its size is 8 x 0"),
        ("images", " 7 photo 0.png", "", "line 2: an image has 10 entries"),
        ("images", "1.5 2.5 1\n", "1.5 2.5\n", "no multiple of 3"),
        ("points3D", " 0.5 1 0 2 0", "", "line 2: a point has 8 entries and a track"),
    ],
)
def test_text_models_are_refused_by_the_line(tmp_path, part, old, new, rule):
    path = write_colmap(tmp_path, small_model(), binary=False) / f"{part}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert rule in refusal(tmp_path)


def test_a_text_colour_beyond_its_range(tmp_path):
    path = write_colmap(tmp_path, small_model(), binary=False) / "points3D.txt"
    path.write_text("1 0.0 0.0 0.0 300 0 0 0.5\n")
    assert "line 1: its colour is 300 0 0, must lie within 0 and 255" in refusal(tmp_path)
