"""NGP unit space: the transform is instant-ngp's, its inverse undoes it, and fitting puts cameras where it says."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import FLIP, ring
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.datasets import NgpSpace
from h3d.models.datasets.ngp_space import common_middle, fitted
from h3d.renderers.cameras import look_at

numbers = st.floats(-100, 100)


def ngp_matrix(opengl: np.ndarray, scale: float, offset: np.ndarray) -> np.ndarray:
    """instant-ngp's conversion of a transform_matrix, step by step."""
    result = opengl[:3].copy()
    result[:, 1] *= -1
    result[:, 2] *= -1
    result[:, 3] = result[:, 3] * scale + offset
    return result[[1, 2, 0]]


def test_poses_agree_with_the_conversion_written_out():
    for pose in ring(5):
        space = NgpSpace(0.4, (0.1, 0.2, 0.3))
        np.testing.assert_allclose(
            space.pose_to_ngp(pose)[:3], ngp_matrix(pose @ FLIP, 0.4, np.array([0.1, 0.2, 0.3])), atol=1e-12
        )


@given(st.floats(0.01, 100), st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers))
def test_the_way_back_undoes_the_way_there(scale, offset, point):
    space = NgpSpace(scale, offset)
    tolerance = 1e-9 * max(1.0, 100 / scale)
    np.testing.assert_allclose(space.points_from_ngp(space.points_to_ngp(np.array(point))), point, atol=tolerance)
    np.testing.assert_array_equal(space.directions_from_ngp(space.directions_to_ngp(np.array(point))), point)
    pose = ring(3)[1]
    pose[:3, 3] = point
    np.testing.assert_allclose(space.pose_from_ngp(space.pose_to_ngp(pose)), pose, atol=tolerance)


def test_the_matrix_says_the_same_as_the_functions():
    space = NgpSpace(0.4, (0.1, 0.2, 0.3))
    point = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose((space.matrix @ [*point, 1])[:3], space.points_to_ngp(point))
    np.testing.assert_allclose(space.matrix[:3, :3] @ point / 0.4, space.directions_to_ngp(point))


def test_the_common_middle_is_where_the_viewing_axes_meet():
    np.testing.assert_allclose(common_middle(np.stack(ring(7, center=(1, 2, 3)))), [1, 2, 3], atol=1e-9)


@pytest.mark.parametrize("outward", [True, False], ids=["outward", "parallel"])
def test_cameras_without_a_common_middle_are_centred_themselves(outward):
    poses = np.stack(ring(8, center=(1, 2, 3)))
    if outward:
        poses[:, :3, [0, 2]] *= -1  # A half turn about the camera's vertical axis.
    else:
        poses[:, :3, :3] = look_at(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])).camera_to_world[:3, :3]
    np.testing.assert_allclose(common_middle(poses), poses[:, :3, 3].mean(axis=0), atol=1e-9)


def test_fitting_keeps_scene_and_cameras_in_a_cube_of_a_power_of_two():
    poses = np.stack(ring(9, radius=30.0, center=(100, 0, 0)))
    for spread in (1.0, 40.0):
        points = np.random.default_rng(0).normal(size=(200, 3)) * spread + [100, 0, 0]
        space, aabb_scale = fitted(poses, points)
        inside = np.abs(space.points_to_ngp(points) - 0.5).max(axis=1) <= aabb_scale / 2
        assert aabb_scale in (1, 2, 4, 8, 16)
        assert inside.mean() >= 0.95
        placed = np.stack([space.pose_to_ngp(pose)[:3, 3] for pose in poses])
        assert np.linalg.norm(placed - 0.5, axis=1).mean() == pytest.approx(4 * 0.33)


def test_a_single_camera_and_one_standing_still_are_fitted_to_something_finite():
    for poses in (np.stack(ring(1)), np.stack(ring(1) * 3)):
        space, aabb_scale = fitted(poses, None)
        assert np.isfinite(space.matrix).all()
        assert space.scale > 0
        assert aabb_scale >= 1
