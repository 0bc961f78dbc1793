"""Proves `h3d export`: meshes and points of fields, Gaussians and run folders, and the sentence for each wrong wish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ball as gaussian_ball
from known_fields import ball, ball_mesh, density_field, distance_field

from h3d.app.export_verb import ExportConfig, export_command
from h3d.models import formats, meshes
from h3d.models.formats import point_cloud
from h3d.models.formats.errors import FormatError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    distance_field(ball).save(folder / "field.safetensors")
    density_field(lambda p: 2.5 - 60.0 * ball(p)).save(folder / "nerf.safetensors")
    return folder


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_a_run_becomes_a_mesh(run: Path, suffix: str, tmp_path: Path):
    path = tmp_path / f"m{suffix}"
    sentence = export_command(ExportConfig(run, path, resolution=48))
    mesh = meshes.read(path)
    assert sentence.startswith(f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, ")
    assert np.isclose(mesh.volume, 4.0 / 3.0 * np.pi * 0.6**3, rtol=0.01)


def test_a_radiance_field_becomes_a_mesh_and_points_with_colours(run: Path, tmp_path: Path):
    config = ExportConfig(run / "nerf.safetensors", tmp_path / "m.ply", resolution=48)
    assert "with colours" in export_command(config)
    assert meshes.read(tmp_path / "m.ply").colors is not None
    assert export_command(replace(config, output=tmp_path / "p.ply", points=500)).startswith("500 points, with colours")
    assert len(point_cloud.read(tmp_path / "p.ply")) == 500
    assert not meshes.is_mesh(tmp_path / "p.ply")


@pytest.fixture(scope="module")
def splats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finished run of h3d train leaves, its compact copy included."""
    folder = tmp_path_factory.mktemp("splats")
    for name in ("gaussians.ply", "gaussians.spz"):
        formats.write(folder / name, gaussian_ball((0.9, 0.1, 0.1)))
    return folder


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
@pytest.mark.parametrize("name", ["", "gaussians.ply", "gaussians.spz"])
def test_gaussians_become_a_coloured_mesh(splats: Path, name: str, suffix: str, tmp_path: Path):
    path = tmp_path / f"m{suffix}"
    sentence = export_command(ExportConfig(splats / name, path, resolution=32, largest_component=True))
    mesh = meshes.read(path)
    assert sentence.startswith(f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, with colours")
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.min() > 1.04 and radii.max() < 1.2
    assert mesh.colors is not None and np.abs(mesh.colors - (0.9, 0.1, 0.1)).max() < 0.03


def test_a_glb_of_gaussians_stands_on_its_z_axis_and_one_of_a_distance_field_on_its_y_axis(
    run: Path, splats: Path, tmp_path: Path
):
    tall = formats.read(splats / "gaussians.ply")
    tall = replace(tall, means=tall.means * torch.tensor([1.0, 1.0, 2.0]))
    formats.write(tmp_path / "tall.ply", tall)
    export_command(ExportConfig(tmp_path / "tall.ply", tmp_path / "tall.glb", resolution=32, colors=False))
    assert int(np.argmax(np.ptp(meshes.read(tmp_path / "tall.glb").bounds, axis=0))) == 1
    export_command(ExportConfig(run, tmp_path / "field.glb", resolution=32))
    assert np.allclose(meshes.read(tmp_path / "field.glb").bounds.mean(axis=0), (1.0, 2.0, 3.0), atol=0.02)


def test_wrong_wishes_get_one_sentence_and_leave_no_file(run: Path, tmp_path: Path):
    config = ExportConfig(run, tmp_path / "m.stl")
    with pytest.raises(ValueError, match="a mesh is not written as .stl; use .obj or .ply or .glb"):
        export_command(config)
    with pytest.raises(ValueError, match="points are not written as .obj; use .ply"):
        export_command(replace(config, output=tmp_path / "m.obj", points=10))
    with pytest.raises(ValueError, match="resolution 2: must be 8 to 2048"):
        export_command(replace(config, output=tmp_path / "m.obj", resolution=2))
    with pytest.raises(ValueError, match="count -1: must be 1"):
        export_command(replace(config, output=tmp_path / "m.ply", points=-1))
    with pytest.raises(ValueError, match="there is no surface at this threshold"):
        export_command(replace(config, output=tmp_path / "m.obj", threshold=9.0, resolution=16))
    with pytest.raises(FormatError, match="there is no such file or folder"):
        export_command(replace(config, field=tmp_path / "absent.safetensors", output=tmp_path / "m.obj"))
    assert list(tmp_path.iterdir()) == []
    meshes.write(tmp_path / "ball.ply", ball_mesh(subdivisions=1))
    with pytest.raises(FormatError, match="ball.ply: file: is a mesh already; give a field, Gaussians, or the folder"):
        export_command(replace(config, field=tmp_path / "ball.ply", output=tmp_path / "m.glb"))
    assert [path.name for path in tmp_path.iterdir()] == ["ball.ply"]
