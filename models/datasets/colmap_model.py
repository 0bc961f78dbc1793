"""COLMAP's sparse models as their files hold them, binary (.bin) and text (.txt): cameras, images and points.

Quaternions (wxyz) and translations are world to camera, axes OpenCV's; the centre of the first pixel is (0.5, 0.5).
A binary count is checked against the size of the file before anything is read by it.
Source: colmap.github.io, "Output Format".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DAMAGED, DatasetError

PARAMETERS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
}
"""Camera models in the order of their numbers in cameras.bin, with how many parameters each has."""
NAME_LIMIT = 4096


@dataclass(frozen=True)
class ColmapCamera:
    """A row of cameras.bin or cameras.txt."""

    id: int
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    """A row of images.bin or images.txt, without its feature points."""

    id: int
    wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


class Bytes:
    """A binary file, taken piece by piece; a piece that is not there is an error that says in which row."""

    def __init__(self, path: Path):
        self.path = path
        self.data = path.read_bytes()
        self.at = 0
        self.place = "header"

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, layout: struct.Struct) -> tuple:
        """The next values."""
        if self.left < layout.size:
            raise DatasetError(self.path, self.place, "the file ends inside this row", DAMAGED)
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def skip(self, count: int, size: int) -> None:
        """Passes over `count` entries of `size` bytes."""
        if count * size > self.left:
            rule = f"declares {count:,} entries of {size} bytes, the file has {self.left:,} bytes left"
            raise DatasetError(self.path, self.place, rule, DAMAGED)
        self.at += count * size

    def text(self) -> str:
        """The next text, ended by a zero byte."""
        end = self.data.find(b"\0", self.at, self.at + NAME_LIMIT)
        if end < 0:
            raise DatasetError(self.path, self.place, "its name has no end", DAMAGED)
        raw = self.data[self.at : end]
        self.at = end + 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(self.path, self.place, "its name is no UTF-8 text", DAMAGED) from error

    def rows(self, kind: str, least: int) -> Iterator[int]:
        """Counts through the rows that the file declares, each of at least `least` bytes, and checks the end."""
        (count,) = self.take(struct.Struct("<Q"))
        if count * least > self.left:
            rule = f"declares {count:,} {kind}s of at least {least} bytes, the file has {self.left:,} bytes left"
            raise DatasetError(self.path, "header", rule, DAMAGED)
        for row in range(count):
            self.place = f"{kind} {row}"
            yield row
        if self.left > 0:
            rule = f"{self.left:,} bytes follow the last of {count:,} {kind}s: the count is too small"
            raise DatasetError(self.path, "end", rule, DAMAGED)


def read_cameras(folder: Path) -> dict[int, ColmapCamera]:
    """cameras.bin, else cameras.txt, by camera id."""
    path = folder / "cameras.bin"
    cameras = list(_binary_cameras(path)) if path.is_file() else list(_text_cameras(folder / "cameras.txt"))
    return {camera.id: camera for camera in cameras}


def read_images(folder: Path) -> list[ColmapImage]:
    """images.bin, else images.txt."""
    path = folder / "images.bin"
    return list(_binary_images(path)) if path.is_file() else list(_text_images(folder / "images.txt"))


def read_points(folder: Path) -> tuple[np.ndarray, np.ndarray]:  # [M, 3] float64, [M, 3] uint8
    """points3D.bin, else points3D.txt, else no points."""
    binary, text = folder / "points3D.bin", folder / "points3D.txt"
    rows: Iterator[tuple[float, ...]] = iter(())
    if binary.is_file():
        rows = _binary_points(binary)
    elif text.is_file():
        rows = _text_points(text)
    table = np.array(list(rows), np.float64).reshape(-1, 6)
    return table[:, :3], table[:, 3:].astype(np.uint8)


def _binary_cameras(path: Path) -> Iterator[ColmapCamera]:
    file = Bytes(path)
    for _ in file.rows("camera", 24 + 3 * 8):
        number, model, width, height = file.take(struct.Struct("<iiQQ"))
        if not 0 <= model < len(PARAMETERS):
            rule = f"camera model {model} is not known (0 to {len(PARAMETERS) - 1})"
            raise DatasetError(path, file.place, rule, "undistort the photos with COLMAP's image_undistorter")
        name, count = list(PARAMETERS.items())[model]
        yield ColmapCamera(number, name, width, height, file.take(struct.Struct(f"<{count}d")))


def _binary_images(path: Path) -> Iterator[ColmapImage]:
    file = Bytes(path)
    row, count = struct.Struct("<i7di"), struct.Struct("<Q")
    for _ in file.rows("image", row.size + 1 + count.size):
        number, *pose, camera = file.take(row)
        name = file.text()
        file.skip(file.take(count)[0], 24)
        yield ColmapImage(number, tuple(pose[:4]), tuple(pose[4:]), camera, name)


def _binary_points(path: Path) -> Iterator[tuple[float, ...]]:
    file = Bytes(path)
    row = struct.Struct("<Q3d3BdQ")
    for _ in file.rows("point", row.size):
        _, x, y, z, r, g, b, _, track = file.take(row)
        file.skip(track, 8)
        yield x, y, z, r, g, b


def _text_cameras(path: Path) -> Iterator[ColmapCamera]:
    for place, line in _lines(path):
        words = line.split()
        if len(words) == 0:
            continue
        model = words[1] if len(words) > 1 else ""
        if model not in PARAMETERS:
            way_out = "undistort the photos with COLMAP's image_undistorter"
            raise DatasetError(path, place, f"camera model {ascii(model[:40])} is not known", way_out)
        if len(words) != 4 + PARAMETERS[model]:
            rule = f"{model} has {PARAMETERS[model]} parameters, the line has {len(words) - 4}"
            raise DatasetError(path, place, rule, DAMAGED)
        numbers = _numbers(path, place, [words[0], *words[2:]])
        number, width, height = (_whole(path, place, value) for value in numbers[:3])
        yield ColmapCamera(number, model, width, height, tuple(numbers[3:]))


def _text_images(path: Path) -> Iterator[ColmapImage]:
    lines = _lines(path)
    for place, line in lines:
        # A name may hold spaces: it is all that follows the ninth word.
        words = line.strip().split(maxsplit=9)
        if len(words) == 0:
            continue
        if len(words) != 10:
            raise DatasetError(path, place, f"an image has 10 entries, the line has {len(words)}", DAMAGED)
        numbers = _numbers(path, place, words[:9])
        # The line after holds the feature points; it is there, empty, when the image has none.
        points_place, points = next(lines, (place, ""))
        if len(points.split()) % 3 != 0:
            rule = "feature points come as x, y and id, but their number of entries is no multiple of 3"
            raise DatasetError(path, points_place, rule, DAMAGED)
        number, camera = _whole(path, place, numbers[0]), _whole(path, place, numbers[8])
        yield ColmapImage(number, tuple(numbers[1:5]), tuple(numbers[5:8]), camera, words[9])


def _text_points(path: Path) -> Iterator[tuple[float, ...]]:
    for place, line in _lines(path):
        words = line.split(maxsplit=8)
        if len(words) == 0:
            continue
        if len(words) < 8:
            raise DatasetError(path, place, f"a point has 8 entries and a track, the line has {len(words)}", DAMAGED)
        x, y, z, r, g, b = _numbers(path, place, words[1:7])
        if not all(0 <= value <= 255 for value in (r, g, b)):
            raise DatasetError(path, place, f"its colour is {r:g} {g:g} {b:g}, must lie within 0 and 255", DAMAGED)
        yield x, y, z, r, g, b


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are no comments, each with its place."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.startswith("#"):
                    yield f"line {number}", line
    except UnicodeDecodeError as error:
        raise DatasetError(path, "file", f"is no UTF-8 text (byte {error.start})", DAMAGED) from error


def _numbers(path: Path, place: str, words: list[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(path, place, f"{error}", DAMAGED) from error


def _whole(path: Path, place: str, value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise DatasetError(path, place, f"{value:g} must be a whole number", DAMAGED)
    return int(value)
