"""Data sets written for tests: photos, transforms.json and COLMAP models, by code of its own (not the readers')."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from h3d.renderers.cameras import look_at, rotation_to_quat

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
MODEL_NUMBERS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
}


def real_data(name: str) -> Path:
    """A folder of the real data, or a skip that says which variable is missing."""
    root = os.environ.get("H3D_DATA")
    if not root:
        pytest.skip("H3D_DATA is unset: it names the folder of real scenes")
    return Path(root) / name


def write_photo(path: Path, width: int = 8, height: int = 6, *, alpha: bool = False, seed: int = 0) -> np.ndarray:
    """A picture of random pixels, which are returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 4 if alpha else 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def ring(count: int, radius: float = 4.0, center: Sequence[float] = (0.0, 0.0, 0.0)) -> list[np.ndarray]:
    """Poses in OpenCV axes on a slanted circle, all looking at its middle."""
    poses = []
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        position = np.array(center) + radius * np.array([np.cos(turn), np.sin(turn), 0.5 + 0.2 * np.sin(3 * turn)])
        poses.append(look_at(position, np.array(center), np.array([0.0, 0.0, 1.0])).camera_to_world)
    return poses


def transforms(poses: Sequence[np.ndarray], names: Sequence[str], **entries: Any) -> dict[str, Any]:
    """The object of a transforms.json."""
    frames = [
        {"file_path": name, "transform_matrix": (pose @ FLIP).tolist()} for name, pose in zip(names, poses, strict=True)
    ]
    return {"frames": frames, **entries}


def write_ngp(folder: Path, count: int = 9, **entries: Any) -> list[np.ndarray]:
    """A small data set in instant-ngp's dialect; returns its poses in OpenCV axes."""
    names = [f"images/{i}.png" for i in range(count)]
    for i, name in enumerate(names):
        write_photo(folder / name, seed=i)
    poses = ring(count)
    meta = transforms(poses, names, **({"fl_x": 10.0, "w": 8, "h": 6, "aabb_scale": 2} | entries))
    (folder / "transforms.json").write_text(json.dumps(meta))
    return poses


def edit_json(path: Path, **entries: Any) -> dict[str, Any]:
    """Changes entries of a .json; None removes one."""
    meta = json.loads(path.read_text()) | entries
    meta = {key: value for key, value in meta.items() if value is not None}
    path.write_text(json.dumps(meta))
    return meta


@dataclass(frozen=True)
class Model:
    """What to write as a COLMAP model: one camera, an image for each pose."""

    camera: str
    parameters: Sequence[float]
    poses: Sequence[np.ndarray]
    names: Sequence[str]
    points: np.ndarray  # [M, 3]
    colors: np.ndarray  # [M, 3]
    size: tuple[int, int] = (8, 6)

    def rows(self) -> list[tuple[int, np.ndarray, np.ndarray, str]]:
        """(id, wxyz, translation, name) of each image, world to camera."""
        rows = []
        for i, (pose, name) in enumerate(zip(self.poses, self.names, strict=True)):
            inverse = np.linalg.inv(pose)
            rows.append((i + 1, rotation_to_quat(inverse[:3, :3]), inverse[:3, 3], name))
        return rows


def small_model(camera: str = "PINHOLE", parameters: Sequence[float] = (10.0, 11.0, 4.0, 3.0)) -> Model:
    poses = ring(9, center=(1.0, 2.0, 3.0))
    points = np.random.default_rng(1).normal(size=(50, 3)) + [1.0, 2.0, 3.0]
    colors = np.random.default_rng(2).integers(0, 256, (50, 3))
    return Model(camera, parameters, poses, [f"photo {i}.png" for i in range(9)], points, colors)


def write_colmap(folder: Path, model: Model, *, binary: bool, photos: bool = True) -> Path:
    """The model in folder/sparse/0 and its photos in folder/images."""
    place = folder / "sparse" / "0"
    place.mkdir(parents=True)
    if photos:
        for i, name in enumerate(model.names):
            write_photo(folder / "images" / name, *model.size, seed=i)
    if binary:
        _write_binary(place, model)
    else:
        _write_text(place, model)
    return place


def _write_binary(place: Path, model: Model) -> None:
    number = MODEL_NUMBERS[model.camera]
    camera = struct.pack("<QiiQQ", 1, 7, number, *model.size)
    (place / "cameras.bin").write_bytes(camera + struct.pack(f"<{len(model.parameters)}d", *model.parameters))
    images = struct.pack("<Q", len(model.poses))
    for i, wxyz, translation, name in model.rows():
        images += struct.pack("<i7di", i, *wxyz, *translation, 7) + name.encode() + b"\0"
        seen = i % 3
        images += struct.pack("<Q", seen) + struct.pack("<ddq", 1.5, 2.5, 1) * seen
    (place / "images.bin").write_bytes(images)
    points = struct.pack("<Q", len(model.points))
    for i, (point, color) in enumerate(zip(model.points, model.colors, strict=True)):
        points += struct.pack("<Q3d3BdQ", i + 1, *point, *color.tolist(), 0.5, 2) + struct.pack("<iiii", 1, 0, 2, 0)
    (place / "points3D.bin").write_bytes(points)


def _write_text(place: Path, model: Model) -> None:
    numbers = " ".join(repr(float(p)) for p in model.parameters)
    (place / "cameras.txt").write_text(f"# Camera list\n7 {model.camera} {model.size[0]} {model.size[1]} {numbers}\n")
    lines = ["# Image list with two lines of data per image:"]
    for i, wxyz, translation, name in model.rows():
        lines += [" ".join(map(repr, [i, *wxyz.tolist(), *translation.tolist(), 7])) + f" {name}"]
        lines += [" ".join(["1.5 2.5 1"] * (i % 3))]
    (place / "images.txt").write_text("\n".join(lines) + "\n")
    lines = ["# 3D point list"]
    for i, (point, color) in enumerate(zip(model.points, model.colors, strict=True)):
        lines += [" ".join(map(repr, [i + 1, *point.tolist(), *color.tolist(), 0.5])) + " 1 0 2 0"]
    (place / "points3D.txt").write_text("\n".join(lines) + "\n")
