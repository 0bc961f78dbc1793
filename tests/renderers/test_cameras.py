"""Cameras: matrices are inverses, points land where they should, the JSON file round-trips or says what is wrong."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from h3d.renderers.cameras import (
    camera_from_json,
    camera_to_json,
    look_at,
    orbit,
    quat_to_rotation,
    rotation_to_quat,
)

unit_range = st.floats(-1, 1)
quaternions = st.tuples(unit_range, unit_range, unit_range, unit_range).filter(lambda q: np.linalg.norm(q) > 0.1)
UP = np.array([0.0, -1.0, 0.0])


@given(q=quaternions)
def test_quaternions_and_rotations_are_inverse_and_agree_with_scipy(q):
    rotation = quat_to_rotation(np.array(q))
    w, x, y, z = q
    np.testing.assert_allclose(rotation, Rotation.from_quat([x, y, z, w]).as_matrix(), atol=1e-12)
    back = rotation_to_quat(rotation)
    unit = np.array(q) / np.linalg.norm(q)
    assert back[0] >= 0
    assert min(np.abs(back - unit).max(), np.abs(back + unit).max()) < 1e-7


@given(q=quaternions)
def test_viewmat_is_the_inverse_of_the_pose(q):
    camera = look_at(3 * quat_to_rotation(np.array(q))[:, 2], np.array([0.1, 0.2, 0.3]), UP)
    np.testing.assert_allclose(camera.viewmat @ camera.camera_to_world, np.eye(4), atol=1e-12)
    assert np.linalg.det(camera.camera_to_world[:3, :3]) == pytest.approx(1.0)


def test_the_target_lands_in_the_middle_and_up_is_up():
    camera = look_at(np.array([2.0, -1.0, -3.0]), np.array([0.5, 0.5, 0.5]), UP, width=200, height=100)
    target = camera.viewmat @ np.array([0.5, 0.5, 0.5, 1.0])
    assert target[2] > 0
    np.testing.assert_allclose((camera.K @ target[:3])[:2] / target[2], [100, 50])
    above = camera.viewmat @ np.array([0.5, 0.4, 0.5, 1.0])
    assert (camera.K @ above[:3])[1] / above[2] < 50


def test_the_field_of_view_is_the_pictures_height():
    camera = look_at(np.array([0.0, 0, -1]), np.zeros(3), UP, fov_y_radians=math.radians(60), width=300, height=200)
    edge = np.array([0.0, math.tan(math.radians(30)), 1.0])
    assert (camera.K @ edge)[1] == pytest.approx(200)
    assert camera.resized(30, 20).focal == pytest.approx(camera.focal / 10)


def test_looking_along_up_still_gives_a_rotation():
    camera = look_at(np.array([0.0, -2.0, 0.0]), np.zeros(3), UP)
    rotation = camera.camera_to_world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_position_and_target_must_differ():
    with pytest.raises(ValueError, match="they must differ"):
        look_at(np.ones(3), np.ones(3), UP)


@pytest.mark.parametrize("elevation", [-60.0, 0.0, 45.0])
def test_an_orbit_keeps_its_radius_and_rises_towards_up(elevation):
    center = np.array([1.0, 2.0, 3.0])
    camera = orbit(center, 2.5, azimuth_degrees=70, elevation_degrees=elevation, up=UP)
    offset = camera.position - center
    assert np.linalg.norm(offset) == pytest.approx(2.5)
    assert offset @ UP == pytest.approx(2.5 * math.sin(math.radians(elevation)))
    np.testing.assert_allclose(camera.forward, -offset / 2.5, atol=1e-12)


def test_json_round_trips():
    camera = orbit(np.zeros(3), 2.0, azimuth_degrees=30, elevation_degrees=10, up=UP, width=321, height=123)
    back = camera_from_json(json.loads(json.dumps(camera_to_json(camera))))
    np.testing.assert_allclose(back.camera_to_world, camera.camera_to_world)
    assert (back.width, back.height) == (321, 123)
    assert back.fov_y_radians == pytest.approx(camera.fov_y_radians)


GOOD = camera_to_json(look_at(np.array([0.0, 0, -1]), np.zeros(3), UP))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1, 2], "expected an object"),
        ({k: v for k, v in GOOD.items() if k != "width"}, "width"),
        (GOOD | {"camera_to_world": [[1, 2], [3, 4]]}, "4x4"),
        (GOOD | {"camera_to_world": (2 * np.eye(4)).tolist()}, "not a rotation"),
        (GOOD | {"camera_to_world": np.diag([-1.0, 1, 1, 1]).tolist()}, "not a rotation"),
        (GOOD | {"fov_y_degrees": 180}, "fov_y_degrees=180"),
        (GOOD | {"height": 0}, "height"),
    ],
)
def test_a_bad_camera_file_says_what_is_wrong(value, sentence):
    with pytest.raises(ValueError, match=sentence):
        camera_from_json(value)
