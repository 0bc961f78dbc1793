"""Scenes of spheres, parallelograms and boxes with materials, as JSON that people write: `NAME.scene.json`.

    {"format": "h3d scene 1",
     "camera": {"eye": [0, 1, 3.4], "target": [0, 1, 0], "up": [0, 1, 0], "fov_y_degrees": 40},
     "materials": {"white": {"albedo": [0.7, 0.7, 0.7]}, "lamp": {"emission": [12, 11, 9]},
                   "metal": {"specular": [0.8, 0.7, 0.5], "roughness": 0.2}},
     "surfaces": [{"quad": {"corner": [-1, 0, -1], "u": [0, 0, 2], "v": [2, 0, 0]}, "material": "white"},
                  {"sphere": {"center": [0, 0.3, 0], "radius": 0.3}, "material": "metal"},
                  {"box": {"center": [0, 0.2, 0], "size": [0.4, 0.4, 0.4], "turn_degrees": 18}, "material": "white"}]}

A quad shines on the side that u x v points to; a box turns about the y axis; light is linear, without a unit.
Source of the model, and what its numbers mean: `h3d.renderers.path_tracer`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.renderers.cameras import Camera, look_at
from h3d.renderers.path_tracer import Surfaces

from .formats.errors import FormatError

SUFFIX = ".scene.json"
FORMAT = "h3d scene 1"
MAX_BYTES = 1 << 20
MAX_SURFACES = 4096
"""Every ray is tested against all of them: the tracer is for some dozen."""
WAY_OUT = "correct it in the file"
DEFAULTS: dict[str, Any] = {"albedo": (0, 0, 0), "specular": (0, 0, 0), "emission": (0, 0, 0), "roughness": 1.0}

Triple = tuple[float, float, float]


class _Wrong(ValueError):
    """Part of a scene and the rule that it breaks."""

    def __init__(self, where: str, rule: str) -> None:
        super().__init__(where, rule)
        self.where, self.rule = where, rule


@dataclass(frozen=True, eq=False)
class SurfaceScene:
    """A scene and where to look at it from."""

    surfaces: Surfaces
    camera: Camera  # of 3:2
    up: Triple
    target: Triple  # what the camera looks at
    text: str  # the JSON that it was read from, so that it can be kept beside what was learnt of it

    @property
    def bounds(self) -> np.ndarray:  # [2, 3] float64
        """The box that holds all surfaces."""
        spheres, quads = (array.double().numpy() for array in (self.surfaces.spheres, self.surfaces.quads))
        corner, u, v = quads[:, :3], quads[:, 3:6], quads[:, 6:]
        points = np.concatenate([corner, corner + u, corner + v, corner + u + v, spheres[:, :3] - spheres[:, 3:]])
        points = np.concatenate([points, spheres[:, :3] + spheres[:, 3:]])
        return np.stack([points.min(axis=0), points.max(axis=0)])


def is_scene(path: Path) -> bool:
    """Whether the name says that it is such a scene."""
    return path.name.lower().endswith(SUFFIX)


def read_scene(path: Path) -> SurfaceScene:
    """The scene of a file.

    Raises:
        FormatError: it is no such scene, or breaks a rule; one sentence says where and which.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise FormatError(path, "file", "there is no such file", "check the path")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(path, "file", f"it has more than {MAX_BYTES} bytes", "a scene has some dozen surfaces")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "file", f"it is no text ({error})", "give a scene in JSON") from error
    return scene_from(path, text)


def scene_from(path: Path, text: str) -> SurfaceScene:
    """The scene that JSON describes; `path` is what errors name."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, "file", f"it is not JSON ({error})", WAY_OUT) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise FormatError(path, "format", f"it is {found!r}, not {FORMAT!r}", "give a scene of this format")
    try:
        names, materials = _materials(value.get("materials"))
        surfaces = _surfaces(value.get("surfaces"), names, materials)
        camera, up, target = _camera(value.get("camera"))
    except _Wrong as error:
        raise FormatError(path, error.where, error.rule, WAY_OUT) from error
    except ValueError as error:
        raise FormatError(path, "scene", str(error), WAY_OUT) from error
    return SurfaceScene(surfaces, camera, up, target, text)


def _materials(value: Any) -> tuple[list[str], torch.Tensor]:  # names, [M, 10]
    entries, rows = _mapping(value, "materials"), []
    for name, entry in entries.items():
        where = f"materials.{name}"
        given = _mapping(entry, where)
        unknown = sorted(given.keys() - DEFAULTS.keys())
        if unknown:
            raise _Wrong(where, f"{unknown[0]!r} is not one of {', '.join(DEFAULTS)}")
        row = [
            channel
            for key in ("albedo", "specular", "emission")
            for channel in _triple(given.get(key, DEFAULTS[key]), f"{where}.{key}")
        ]
        rows.append([*row, _number(given.get("roughness", DEFAULTS["roughness"]), f"{where}.roughness")])
    return list(entries), torch.tensor(rows, dtype=torch.float32).reshape(-1, 10)


def _surfaces(value: Any, names: list[str], materials: torch.Tensor) -> Surfaces:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SURFACES:
        raise _Wrong("surfaces", f"it must be a list of 1 to {MAX_SURFACES} surfaces")
    spheres: list[tuple[list[float], int]] = []
    quads: list[tuple[list[float], int]] = []
    for index, given in enumerate(value):
        where = f"surfaces[{index}]"
        entry = _mapping(given, where)
        kinds = entry.keys() - {"material"}
        if entry.get("material") not in names:
            raise _Wrong(where, f"its material is {entry.get('material')!r}, which is not among {', '.join(names)}")
        if len(kinds) != 1 or (kind := kinds.pop()) not in _READERS:
            raise _Wrong(where, f"it must have a material and one of {', '.join(_READERS)}")
        rows = _READERS[kind](_mapping(entry[kind], f"{where}.{kind}"), f"{where}.{kind}")
        into = spheres if kind == "sphere" else quads
        into += [(row, names.index(entry["material"])) for row in rows]
    return Surfaces(
        torch.tensor([row for row, _ in spheres], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([material for _, material in spheres], dtype=torch.int32),
        torch.tensor([row for row, _ in quads], dtype=torch.float32).reshape(-1, 9),
        torch.tensor([material for _, material in quads], dtype=torch.int32),
        materials,
    )


def _sphere(value: Mapping[str, Any], where: str) -> list[list[float]]:
    radius = _number(value.get("radius"), f"{where}.radius")
    if radius <= 0.0:
        raise _Wrong(f"{where}.radius", f"it is {radius:g}, must be above 0")
    return [[*_triple(value.get("center"), f"{where}.center"), radius]]


def _quad(value: Mapping[str, Any], where: str) -> list[list[float]]:
    corner, u, v = (_triple(value.get(key), f"{where}.{key}") for key in ("corner", "u", "v"))
    if not np.any(np.cross(u, v)):
        raise _Wrong(where, "its sides u and v are parallel; it has no area")
    return [[*corner, *u, *v]]


def _box(value: Mapping[str, Any], where: str) -> list[list[float]]:
    """Six quads that shine outwards."""
    center, size = (np.array(_triple(value.get(key), f"{where}.{key}")) for key in ("center", "size"))
    if not np.all(size > 0):
        raise _Wrong(f"{where}.size", f"it is {size.tolist()}, must be above 0 along each axis")
    turn = math.radians(_number(value.get("turn_degrees", 0.0), f"{where}.turn_degrees"))
    cosine, sine = math.cos(turn), math.sin(turn)
    axes = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]]) * size[:, None]
    quads = []
    for axis in range(3):
        u, v = axes[(axis + 1) % 3], axes[(axis + 2) % 3]
        for side, first, second in ((1.0, u, v), (-1.0, v, u)):
            corner = center + 0.5 * (side * axes[axis] - first - second)
            quads.append([*corner.tolist(), *first.tolist(), *second.tolist()])
    return quads


_READERS: dict[str, Callable[[Mapping[str, Any], str], list[list[float]]]] = {
    "sphere": _sphere,
    "quad": _quad,
    "box": _box,
}


def _camera(value: Any) -> tuple[Camera, Triple, Triple]:
    given = _mapping(value, "camera")
    eye, target, up = (_triple(given.get(key), f"camera.{key}") for key in ("eye", "target", "up"))
    if not np.any(np.cross(np.subtract(target, eye), up)):
        raise _Wrong("camera", "eye and target are one, or up is along the view")
    fov = _number(given.get("fov_y_degrees"), "camera.fov_y_degrees")
    if not 1.0 <= fov <= 150.0:
        raise _Wrong("camera.fov_y_degrees", f"it is {fov:g}, must be 1 to 150")
    where = (np.array(eye), np.array(target), np.array(up))
    return look_at(*where, fov_y_radians=math.radians(fov), width=720, height=480), up, target


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or len(value) == 0:
        raise _Wrong(where, "it must be an object with something in it")
    return value


def _triple(value: Any, where: str) -> Triple:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise _Wrong(where, f"it is {value!r}, must be a list of three numbers")
    x, y, z = (_number(item, where) for item in value)
    return x, y, z


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(float(value)) < 1e9:
        raise _Wrong(where, f"it is {value!r}, must be a finite number")
    return float(value)
