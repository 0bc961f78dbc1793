"""Proves .glb files: what the specification asks of their bytes, and that another program reads the same mesh."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_fields import ball_mesh

from h3d.models import meshes
from h3d.models.meshes import Mesh, glb
from h3d.models.meshes.library import open3d
from h3d.models.meshes.mesh import open_edges

COMPONENTS = {5123: np.dtype("<u2"), 5125: np.dtype("<u4"), 5126: np.dtype("<f4")}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@pytest.fixture
def mesh() -> Mesh:
    """An egg away from the origin, tall along z, in colours of all kinds."""
    egg = ball_mesh(subdivisions=2)
    egg = replace(egg, vertices=egg.vertices * (1.0, 1.0, 2.0) + (3.0, 4.0, 5.0)).with_normals()
    return replace(egg, colors=np.random.default_rng(0).random(egg.vertices.shape).astype(np.float32))


def parsed(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk, after the checks of section 4 of the specification."""
    content = path.read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    first, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and first % 4 == 0
    second, kind = struct.unpack_from("<I4s", content, 20 + first)
    assert kind == b"BIN\0" and second % 4 == 0 and 28 + first + second == len(content)
    return json.loads(content[20 : 20 + first]), content[28 + first :]


def accessor(content: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    """Its rows, after the checks of section 3.6.2."""
    said = content["accessors"][number]
    view = content["bufferViews"][said["bufferView"]]
    dtype, width = COMPONENTS[said["componentType"]], WIDTHS[said["type"]]
    assert view["byteOffset"] % 4 == 0 and (dtype.itemsize * width) % 4 == 0
    assert view["byteLength"] == said["count"] * width * dtype.itemsize
    assert view["byteOffset"] + view["byteLength"] <= content["buffers"][view["buffer"]]["byteLength"] == len(binary)
    return np.frombuffer(binary, dtype, said["count"] * width, view["byteOffset"]).reshape(said["count"], width)


@pytest.mark.parametrize("name", ["egg", "eggs of three sizes, ä"])
def test_the_bytes_are_those_of_the_specification(mesh: Mesh, name: str, tmp_path: Path):
    path = tmp_path / f"{name}.glb"
    meshes.write(path, mesh)
    content, binary = parsed(path)
    assert content["asset"]["version"] == "2.0" and content["nodes"][content["scenes"][0]["nodes"][0]]["name"] == name
    (primitive,) = content["meshes"][0]["primitives"]
    assert primitive.get("mode", 4) == 4 and set(primitive["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}
    rows = {key: accessor(content, binary, number) for key, number in primitive["attributes"].items()}
    positions = content["accessors"][primitive["attributes"]["POSITION"]]
    assert positions["min"] == rows["POSITION"].min(axis=0).tolist()
    assert positions["max"] == rows["POSITION"].max(axis=0).tolist()
    assert np.array_equal(rows["POSITION"], mesh.vertices.astype(np.float32))
    assert np.allclose(np.linalg.norm(rows["NORMAL"], axis=1), 1.0, atol=1e-5)
    assert np.array_equal(accessor(content, binary, primitive["indices"]).reshape(-1, 3), mesh.faces)
    assert content["accessors"][primitive["attributes"]["COLOR_0"]]["normalized"] is True
    assert mesh.colors is not None and (rows["COLOR_0"][:, 3] == 65535).all()
    assert np.allclose(glb.srgb_from_linear(rows["COLOR_0"][:, :3] / 65535.0), mesh.colors, atol=1e-4)


def test_another_program_reads_the_same_mesh_upright(mesh: Mesh, tmp_path: Path):
    meshes.write(tmp_path / "egg.glb", mesh)
    theirs = open3d().io.read_triangle_mesh(str(tmp_path / "egg.glb"))
    found, wanted = np.asarray(theirs.vertices), mesh.vertices[:, [0, 2, 1]] * (1.0, 1.0, -1.0)
    assert mesh.colors is not None and mesh.normals is not None
    # It numbers the vertices anew: they are told apart by their places.
    order = np.linalg.norm(found[:, None] - wanted, axis=2).argmin(axis=1)
    assert sorted(order) == list(range(len(wanted))) and np.allclose(found, wanted[order], atol=1e-6)
    assert np.array_equal(np.sort(order[np.asarray(theirs.triangles)], axis=1), np.sort(mesh.faces, axis=1))
    assert np.allclose(np.asarray(theirs.vertex_colors), glb.linear_from_srgb(mesh.colors)[order], atol=1e-4)
    normals = (mesh.normals[:, [0, 2, 1]] * (1.0, 1.0, -1.0))[order]
    assert np.allclose(np.asarray(theirs.vertex_normals), normals, atol=1e-3)


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.6, 0.0, -0.8)])
def test_it_comes_back_with_its_up_as_y_and_its_srgb_colours(mesh: Mesh, up: tuple[float, ...], tmp_path: Path):
    turn = glb.upright(np.array(up))[:3, :3]
    assert np.allclose(turn @ up, (0.0, 1.0, 0.0)) and np.isclose(np.linalg.det(turn), 1.0)
    meshes.write(tmp_path / "egg.glb", mesh, up=(up[0], up[1], up[2]))
    back = meshes.read(tmp_path / "egg.glb")
    order = np.linalg.norm(back.vertices[:, None] - mesh.vertices @ turn.T, axis=2).argmin(axis=1)
    assert np.allclose(back.vertices, (mesh.vertices @ turn.T)[order], atol=1e-5)
    assert back.colors is not None and mesh.colors is not None
    assert np.allclose(back.colors, mesh.colors[order], atol=1e-3)
    assert open_edges(back) == 0 and np.isclose(back.volume, mesh.volume, rtol=1e-5)


def test_a_mesh_without_normals_and_colours_is_one_too(tmp_path: Path):
    meshes.write(tmp_path / "ball.glb", ball_mesh(subdivisions=1))
    content, binary = parsed(tmp_path / "ball.glb")
    (primitive,) = content["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION"}
    assert len(accessor(content, binary, primitive["attributes"]["POSITION"])) == 26
    assert meshes.read(tmp_path / "ball.glb").colors is None


def test_the_curve_of_srgb_is_met_at_known_values_and_goes_both_ways():
    assert np.allclose(glb.linear_from_srgb(np.array([0.0, 0.5, 1.0])), [0.0, 0.21404114, 1.0])
    values = np.linspace(0.0, 1.0, 101)
    assert np.allclose(glb.srgb_from_linear(glb.linear_from_srgb(values)), values, atol=1e-12)


def test_a_file_longer_than_the_format_can_say_is_refused(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(glb, "LARGEST_FILE", 1000)
    with pytest.raises(ValueError, match=r"egg.glb: size: a .glb holds 4 GiB at most.*write .ply instead"):
        meshes.write(tmp_path / "egg.glb", mesh)
    assert list(tmp_path.iterdir()) == []
