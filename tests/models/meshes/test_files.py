"""Proves mesh files: what is written comes back, other programs' files are read, damaged ones get one sentence."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_fields import ball_mesh, box_mesh
from splat_files import Recipe, pack_3dgs, real_data, scene

from h3d.models import meshes
from h3d.models.formats import point_cloud
from h3d.models.meshes import Mesh
from h3d.models.meshes.mesh import open_edges

OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.fixture
def colored() -> Mesh:
    mesh = ball_mesh(subdivisions=2).with_normals()
    return replace(mesh, colors=np.random.default_rng(0).random(mesh.vertices.shape).astype(np.float32))


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_a_written_mesh_comes_back_with_its_colours(colored: Mesh, suffix: str, tmp_path: Path):
    path = tmp_path / f"ball{suffix}"
    meshes.write(path, colored)
    back = meshes.read(path)
    assert np.array_equal(back.faces, colored.faces)
    assert np.allclose(back.vertices, colored.vertices, atol=1e-6)
    assert back.colors is not None and colored.colors is not None
    assert np.abs(back.colors - colored.colors).max() <= 0.5 / 255 + 1e-6
    assert meshes.is_mesh(path)


@pytest.mark.parametrize("suffix", [".stl", ".off", ".ply", ".obj"])
def test_files_of_another_program_are_read(suffix: str, tmp_path: Path):
    from h3d.models.meshes.library import open3d

    library, mesh = open3d(), ball_mesh(subdivisions=2)
    vertices = library.utility.Vector3dVector(mesh.vertices)
    theirs = library.geometry.TriangleMesh(vertices, library.utility.Vector3iVector(mesh.faces))
    theirs.compute_vertex_normals()
    library.io.write_triangle_mesh(str(tmp_path / f"ball{suffix}"), theirs)
    back = meshes.read(tmp_path / f"ball{suffix}").welded()
    assert open_edges(back) == 0 and np.isclose(back.volume, mesh.volume, rtol=1e-4)


def test_a_glb_is_read_with_its_positions(tmp_path: Path):
    mesh = box_mesh()
    positions, corners = mesh.vertices.astype("<f4").tobytes(), mesh.faces.astype("<u2").tobytes()
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", "min": [-1] * 3, "max": [1] * 3},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(corners)},
        ],
        "buffers": [{"byteLength": len(positions) + len(corners)}],
    }
    words = json.dumps(content).encode()
    words += b" " * (-len(words) % 4)
    chunks = struct.pack("<II", len(words), 0x4E4F534A) + words
    binary = positions + corners
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    path = tmp_path / "box.glb"
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    back = meshes.read(path).welded()
    assert open_edges(back) == 0 and np.isclose(abs(back.volume), 8.0)


def test_polygons_become_fans_and_slashes_and_negative_numbers_are_understood(tmp_path: Path):
    quad = meshes.read(text(tmp_path / "q.obj", OBJ + "f 1/1/1 2//2 3/3 4\n"))
    assert quad.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    back = meshes.read(text(tmp_path / "n.obj", OBJ + "f -4 -3 -2\nv 9 9 9\nf -1 -3 -2\n"))
    assert back.faces.tolist() == [[0, 1, 2], [4, 2, 3]]
    split = meshes.read(text(tmp_path / "s.obj", OBJ + "mtllib ../../secret.mtl\nusemtl x\nf 1 2 \\\n3\n"))
    assert split.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("hello\n", "vertices: there are none"),
        (OBJ, "faces: there are none: it holds points only"),
        (OBJ + "f 1 2 3\nf 2 3", "line 6: a face needs three corners or more, it has 2"),
        (OBJ + "f 1 2 900\n", "line 5: it names vertex 900, the file has 4"),
        (OBJ + "f 1 2 x\n", "a corner is no vertex number"),
        ("v 0 0\n" + OBJ + "f 1 2 3\n", "line 1: a vertex needs three coordinates"),
        ("v 0 zero 0\n" + OBJ + "f 1 2 3\n", "line 1: a vertex's values must be numbers"),
        ("v 0 nan 0\n" + OBJ + "f 1 2 3\n", "vertex 0: positions must be finite, 1 of 5 are NaN"),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "all are without area"),
    ],
)
def test_a_damaged_obj_gets_one_sentence(content: str, sentence: str, tmp_path: Path):
    with pytest.raises(ValueError, match=sentence) as caught:
        meshes.read(text(tmp_path / "m.obj", content))
    assert "m.obj" in str(caught.value) and "\n" not in str(caught.value)


def test_an_obj_cut_short_within_its_vertices_is_refused(tmp_path: Path):
    meshes.write(tmp_path / "whole.obj", ball_mesh())
    content = (tmp_path / "whole.obj").read_bytes()
    (tmp_path / "cut.obj").write_bytes(content[: len(content) // 4])
    with pytest.raises(ValueError, match=r"cut.obj: (faces: there are none|line \d+: a vertex needs)"):
        meshes.read(tmp_path / "cut.obj")


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".off", ".glb"])
def test_other_files_that_hold_nonsense_or_end_early_get_one_sentence(suffix: str, tmp_path: Path):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(bytes(range(200)))
    with pytest.raises(ValueError, match=f"m{suffix}: ") as caught:
        meshes.read(path)
    assert "\n" not in str(caught.value)


def test_a_ply_that_ends_early_is_refused(colored: Mesh, tmp_path: Path):
    path = tmp_path / "m.ply"
    meshes.write(path, colored)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"declares 192 of them, \d+ can be read"):
        meshes.read(path)


def test_splats_and_points_are_not_taken_for_meshes(tmp_path: Path):
    splats = tmp_path / "splats.ply"
    splats.write_bytes(pack_3dgs(scene(Recipe(seed=0, count=10, degree=0, extent=1.0))))
    point_cloud.write(tmp_path / "points.ply", np.zeros((3, 3)))
    for path in (splats, tmp_path / "points.ply"):
        assert not meshes.is_mesh(path)
        with pytest.raises(ValueError, match="has no faces: it holds splats or points; open it as a scene"):
            meshes.read(path)
    assert not meshes.is_mesh(tmp_path / "absent.obj") and not meshes.is_mesh(text(tmp_path / "a.txt", OBJ))
    assert not meshes.is_mesh(text(tmp_path / "bad.ply", "ply\nnonsense"))


def test_what_is_not_written_is_said_before_there_is_a_file(colored: Mesh, tmp_path: Path):
    with pytest.raises(ValueError, match="no mesh is written as .stl; use one of .obj, .ply, .glb"):
        meshes.write(tmp_path / "m.stl", colored)
    with pytest.raises(ValueError, match="there are 0 faces to write"):
        meshes.write(tmp_path / "m.obj", Mesh(np.zeros((3, 3)), np.zeros((0, 3), np.int32)))
    assert list(tmp_path.iterdir()) == []


def test_points_that_are_written_are_read_as_the_same_points(tmp_path: Path):
    draws = np.random.default_rng(0)
    points, colors = draws.normal(size=(50, 3)), draws.random((50, 3))
    point_cloud.write(tmp_path / "p.ply", points, colors=colors, normals=points)
    back = point_cloud.read(tmp_path / "p.ply")
    assert np.allclose(back.means, points, atol=1e-6)
    assert np.abs(0.5 + 0.28209479 * back.sh[:, 0].numpy() - colors).max() <= 0.5 / 255 + 1e-5


def test_importing_meshes_does_not_load_open3d():
    code = "import sys, h3d.models.training.tasks; print('open3d' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_armadillo_is_closed():
    mesh = meshes.read(real_data("../meshes/armadillo.obj")).welded()
    assert mesh.faces.shape == (99_976, 3) and open_edges(mesh) == 0 and mesh.volume > 0.0
