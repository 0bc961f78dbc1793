"""Proves scenes as files: what is read is what was written, and every rule that a file breaks has its sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from surface_scenes import write_scene

from h3d.models.field_files import read_field, write_field
from h3d.models.formats.errors import FormatError
from h3d.models.surface_scene import is_scene, read_scene, scene_from
from h3d.renderers.path_tracer import trace_paths

ASSETS = Path(__file__).parents[2] / "assets" / "scenes"


def refusal(path: Path) -> str:
    with pytest.raises(FormatError) as error:
        read_scene(path)
    return str(error.value)


def test_a_scene_is_read_as_it_is_written(tmp_path: Path):
    scene = read_scene(write_scene(tmp_path / "room.scene.json"))
    assert len(scene.surfaces.spheres) == 1 and len(scene.surfaces.quads) == 6 + 1 + 6
    assert scene.surfaces.materials[scene.surfaces.sphere_materials[0]].tolist() == pytest.approx(
        [0.6, 0.1, 0.1, 0.2, 0.2, 0.2, 0, 0, 0, 0.4]
    )
    assert np.allclose(scene.bounds, [[-1, -1, -1], [1, 1, 1]])
    assert np.allclose(scene.camera.position, [0, 0, 0.9])
    assert scene.camera.fov_y_radians == pytest.approx(math.radians(60)) and scene.up == (0.0, 1.0, 0.0)
    toward = np.array([0, -0.2, -0.9]) / np.linalg.norm([0, -0.2, -0.9])
    assert np.allclose(scene.camera.forward, toward)


def test_a_box_shines_outwards_and_turns_about_the_y_axis(tmp_path: Path):
    box = {"box": {"center": [1, 2, 3], "size": [2, 4, 6], "turn_degrees": 30}, "material": "lamp"}
    quads = read_scene(write_scene(tmp_path / "a.scene.json", surfaces=[box])).surfaces.quads
    normals = torch.linalg.cross(quads[:, 3:6], quads[:, 6:])
    middles = quads[:, :3] + 0.5 * (quads[:, 3:6] + quads[:, 6:]) - torch.tensor([1.0, 2, 3])
    assert bool(((normals * middles).sum(dim=1) > 0).all())
    assert sorted(middles.norm(dim=1).tolist()) == pytest.approx([1, 1, 2, 2, 3, 3])
    assert sorted(normals.norm(dim=1).tolist()) == pytest.approx([8, 8, 12, 12, 24, 24])
    wide = middles[middles.norm(dim=1).argsort()[0]]
    assert abs(float(wide[0])) == pytest.approx(math.cos(math.radians(30)), abs=1e-6)


def test_the_scenes_that_are_shipped_have_light_in_view():
    for path in sorted(ASSETS.glob("*.scene.json")):
        field = read_field(path)
        camera = read_scene(path).camera
        ahead = torch.from_numpy(camera.forward).float().expand(4096, 3)
        eye = torch.from_numpy(camera.position).float().expand(4096, 3)
        assert float(trace_paths(read_scene(path).surfaces, eye, ahead, samples=16).rgb.mean()) > 0.01
        assert field.facts["lights"].startswith("1 ")
    assert is_scene(ASSETS / "gap.scene.json")


def test_a_scene_is_written_back_as_it_came(tmp_path: Path):
    path = write_scene(tmp_path / "room.scene.json")
    write_field(tmp_path / "again.scene.json", read_field(path))
    assert (tmp_path / "again.scene.json").read_text() == path.read_text()


def test_every_broken_rule_has_its_sentence(tmp_path: Path):
    path = tmp_path / "bad.scene.json"
    good = json.loads(write_scene(path).read_text())
    sides = {"corner": [0, 0, 0], "u": [1, 0, 0], "v": [0, 1, 0]}
    quad = {"quad": sides, "material": "white"}

    def one(**surface: object) -> dict[str, object]:
        return {"surfaces": [{"material": "white"} | surface]}

    wrong = [
        ({"format": "h3d scene 9"}, "format: it is 'h3d scene 9', not 'h3d scene 1'"),
        ({"materials": {}}, "materials: it must be an object with something in it"),
        ({"materials": {"a": {"color": [1, 1, 1]}}}, "materials.a: 'color' is not one of albedo, specular"),
        ({"materials": {"a": {"albedo": [1, 1]}}}, r"materials.a.albedo: it is [1, 1], must be a list of three"),
        ({"materials": {"white": {"albedo": [2, 0, 0]}}, "surfaces": [quad]}, "albedo + specular at most 1"),
        ({"materials": {"white": {"albedo": [1, 0, 0], "roughness": 0}}, "surfaces": [quad]}, "roughness must be 0.05"),
        ({"surfaces": []}, "surfaces: it must be a list of 1 to 4096 surfaces"),
        (
            {"surfaces": [{"quad": quad["quad"], "material": "blue"}]},
            "surfaces[0]: its material is 'blue', which is not",
        ),
        (
            {"surfaces": [{"cone": {"x": 1}, "material": "white"}]},
            "it must have a material and one of sphere, quad, box",
        ),
        (
            {"surfaces": [{"sphere": {"center": [0, 0, 0], "radius": -1}, "material": "white"}]},
            "it is -1, must be above 0",
        ),
        (
            {"surfaces": [{"sphere": {"center": [0, 0, 0]}, "material": "white"}]},
            "radius: it is None, must be a finite",
        ),
        (
            {"surfaces": [{"quad": {**quad["quad"], "v": [2, 0, 0]}, "material": "white"}]},
            "its sides u and v are parallel",
        ),
        (
            {"surfaces": [{"box": {"center": [0, 0, 0], "size": [1, 0, 1]}, "material": "white"}]},
            "must be above 0 along",
        ),
        ({"camera": {**good["camera"], "target": good["camera"]["eye"]}}, "camera: eye and target are one"),
        ({"camera": {**good["camera"], "fov_y_degrees": 170}}, "camera.fov_y_degrees: it is 170, must be 1 to 150"),
        ({"camera": None}, "camera: it must be an object"),
    ]
    for changes, sentence in wrong:
        write_scene(path, **changes)
        assert sentence in refusal(path), changes
    path.write_text("{")
    assert "file: it is not JSON" in refusal(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "file: it is no text" in refusal(path)
    path.write_text(" " * (1 << 20) + "{}")
    assert "more than 1048576 bytes" in refusal(path)
    assert "there is no such file" in refusal(tmp_path / "none.scene.json")


KEYS = st.sampled_from(["format", "camera", "materials", "surfaces", "quad"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner))


@given(JSON)
def test_any_other_json_is_refused_with_a_sentence(value):
    with pytest.raises(FormatError):
        scene_from(Path("any.scene.json"), json.dumps(value))
    if isinstance(value, dict):
        with pytest.raises(FormatError):
            scene_from(Path("any.scene.json"), json.dumps({**value, "format": "h3d scene 1"}))
