"""Proves the functions on meshes by shapes whose answers are known: boxes and balls."""

from __future__ import annotations

import numpy as np
from known_fields import ball_mesh, box_mesh

from h3d.models.meshes import Mesh
from h3d.models.meshes.mesh import SurfaceSampler, open_edges


def parted(mesh: Mesh) -> Mesh:
    """Every face with corners of its own, as STL has them."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(mesh.faces.size, dtype=np.int32).reshape(-1, 3))


def test_a_box_has_its_area_its_volume_and_its_bounds():
    mesh = box_mesh(-1.0, 2.0)
    assert np.isclose(mesh.areas.sum(), 54.0) and np.isclose(mesh.volume, 27.0)
    assert mesh.bounds.tolist() == [[-1.0] * 3, [2.0] * 3]


def test_only_a_welded_mesh_shows_that_it_is_closed():
    apart = parted(box_mesh())
    assert len(apart.vertices) == 36 and open_edges(apart) == 36
    whole = apart.welded()
    assert len(whole.vertices) == 8 and len(whole.faces) == 12 and open_edges(whole) == 0
    assert np.isclose(whole.volume, apart.volume)


def test_welding_takes_zero_and_minus_zero_for_one_place_and_drops_faces_without_area():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0], [5, 5, 5]])
    mesh = Mesh(vertices, np.array([[0, 1, 2], [0, 3, 1]], np.int32)).welded()
    assert len(mesh.vertices) == 3 and mesh.faces.shape == (1, 3)


def test_a_missing_face_opens_three_edges_and_a_turned_one_too():
    mesh = box_mesh()
    assert open_edges(Mesh(mesh.vertices, mesh.faces[1:])) == 3
    turned = mesh.faces.copy()
    turned[0] = turned[0, ::-1]
    assert open_edges(Mesh(mesh.vertices, turned)) == 3


def test_the_largest_component_is_the_one_of_most_area_though_not_of_most_faces():
    large, small = box_mesh(-1.0, 1.0), ball_mesh(0.1)
    both = Mesh(
        np.concatenate([small.vertices + 5.0, large.vertices]),
        np.concatenate([small.faces, large.faces + len(small.vertices)]).astype(np.int32),
        colors=np.concatenate([np.zeros((len(small.vertices), 3)), np.ones((8, 3))]).astype(np.float32),
    )
    found = both.largest_component()
    assert np.array_equal(found.vertices, large.vertices) and np.isclose(found.volume, 8.0)
    assert found.colors is not None and (found.colors == 1.0).all()


def test_points_are_strewn_by_area():
    # A face of area 3 beside one of area 1, in different planes.
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 10], [2, 0, 10], [0, 1, 10]])
    mesh = Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    points, faces = SurfaceSampler(mesh)(np.random.default_rng(0).random((40_000, 3)))
    assert abs((faces == 0).mean() - 0.75) < 0.01
    assert (points[:, 2] == np.where(faces == 0, 0.0, 10.0)).all()
    # Even within a face: the mean of the points is the mean of the corners.
    assert np.allclose(points[faces == 0].mean(axis=0), vertices[:3].mean(axis=0), atol=0.02)


def test_a_moved_mesh_keeps_unit_normals():
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrix[:3, 3] = [1.0, 2.0, 3.0]
    moved = ball_mesh().with_normals().transformed(matrix)
    assert moved.normals is not None
    assert np.allclose(moved.normals, (moved.vertices - matrix[:3, 3]) / 2.0, atol=0.02)
    assert np.isclose(moved.volume, 8.0 * ball_mesh().volume)
