"""Proves distances to meshes against formulas, and what is said of meshes that are not closed."""

from __future__ import annotations

import numpy as np
import pytest
from known_fields import ball_mesh, box_mesh

from h3d.models.meshes import Mesh, MeshDistance, NoInside
from h3d.renderers import num_threads, set_num_threads


def box_distance(points: np.ndarray) -> np.ndarray:
    """Exact signed distance to the box from -1 to 1."""
    off = np.abs(points) - 1.0
    return np.linalg.norm(np.maximum(off, 0.0), axis=1) + np.minimum(off.max(axis=1), 0.0)


def points(count: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-2.0, 2.0, (count, 3)).astype(np.float32)


def test_distances_to_a_box_are_those_of_the_formula():
    found = MeshDistance(box_mesh()).signed(points())
    assert np.allclose(found, box_distance(points()), atol=1e-5)
    assert np.array_equal(MeshDistance(box_mesh()).inside(points()), found < 0.0)


def test_a_mesh_turned_inside_out_has_the_same_inside():
    mesh = box_mesh()
    turned = Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())
    assert np.array_equal(MeshDistance(turned).signed(points()), MeshDistance(mesh).signed(points()))


@pytest.mark.parametrize("missing", [0, 3], ids=["closed", "with holes"])
def test_the_same_points_get_the_same_bits_at_every_number_of_threads(missing: int):
    mesh = ball_mesh()
    distance = MeshDistance(Mesh(mesh.vertices, mesh.faces[missing:]))
    threads = num_threads()
    first = distance.signed(points())
    try:
        set_num_threads(1)
        assert np.array_equal(distance.signed(points()), first)
    finally:
        set_num_threads(threads)


def test_rays_meet_a_box_where_they_should():
    origins = np.array([[-3.0, 0.2, 0.3], [-3.0, 2.0, 0.0]])
    t, normals = MeshDistance(box_mesh()).first_hits(origins, np.array([[1.0, 0, 0], [1.0, 0, 0]]))
    assert np.isclose(t[0], 2.0) and np.isinf(t[1])
    assert np.allclose(np.abs(normals[0]), [1.0, 0, 0])


def test_a_small_hole_is_remarked_and_hardly_changes_what_is_inside():
    mesh = ball_mesh()
    distance = MeshDistance(Mesh(mesh.vertices, mesh.faces[4:]))
    distance.require_inside()
    assert "the mesh is not watertight" in distance.remark and "edges are not shared by" in distance.remark
    truth = np.linalg.norm(points(), axis=1) < 1.0
    assert (distance.inside(points()) == truth).mean() > 0.995
    assert MeshDistance(mesh).remark == ""


def test_what_has_no_inside_is_refused_with_the_reason():
    sheet = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0.1], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    with pytest.raises(NoInside, match="encloses nothing"):
        MeshDistance(sheet).require_inside()
    mesh = ball_mesh()
    bowl = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces].mean(axis=1)[:, 2] < 0.3])
    with pytest.raises(NoInside, match=r"can be told apart in \d+ % of the mesh's box only"):
        MeshDistance(bowl).require_inside()
    MeshDistance(box_mesh()).require_inside()
