"""The tab's camera is the one that viser understands: OpenCV axes, wxyz from camera to world."""

from __future__ import annotations

import math

import numpy as np
import pytest

from h3d.app.viser_client import View
from h3d.renderers.cameras import quat_to_rotation

VIEW = View(position=(1.0, -4.0, 2.0), look_at=(0.0, 0.5, 0.0), fov_y_radians=math.radians(60.0), width=800, height=400)


def test_the_message_s_quaternion_looks_at_the_target_with_up_on_top() -> None:
    rotation = quat_to_rotation(np.array(VIEW.message()["wxyz"]))
    forward = np.subtract(VIEW.look_at, VIEW.position)
    np.testing.assert_allclose(rotation[:, 2], forward / np.linalg.norm(forward), atol=1e-12)
    assert rotation[:, 1] @ np.array(VIEW.up) < 0.0
    assert abs(rotation[:, 0] @ np.array(VIEW.up)) < 1e-12


def test_a_ray_through_the_picture_meets_the_pixel_that_the_camera_projects_to() -> None:
    camera = VIEW.camera
    for x, y in ((0.5, 0.5), (0.0, 0.0), (0.9, 0.2)):
        point = camera.position + 3.0 * np.array(VIEW.ray(x, y))
        u, v, w = camera.K @ (camera.viewmat @ [*point, 1.0])[:3]
        assert (u / w, v / w) == pytest.approx((x * VIEW.width, y * VIEW.height))


def test_moving_takes_any_sequence_and_keeps_the_rest() -> None:
    moved = VIEW.moved(position=np.array([0, -3, 1]), width=320)
    assert moved.position == (0.0, -3.0, 1.0)
    assert (moved.width, moved.height, moved.look_at) == (320, 400, VIEW.look_at)


def test_messages_of_the_server_move_it() -> None:
    view = VIEW.told({"type": "SetCameraPositionMessage", "position": [5, 6, 7]})
    view = view.told({"type": "SetCameraUpDirectionMessage", "position": [0, 1, 0]})
    view = view.told({"type": "SetCameraFovMessage", "fov": 0.5})
    view = view.told({"type": "SetCameraMinOrbitDistanceMessage", "min_orbit_distance": 0.5})
    assert (view.position, view.up, view.fov_y_radians) == ((5.0, 6.0, 7.0), (0.0, 1.0, 0.0), 0.5)
