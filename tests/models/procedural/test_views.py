"""Proves that pictures of procedural objects are ground truth: cover, depth and colour agree with the solid."""

from __future__ import annotations

import numpy as np
import pytest

from h3d.models.procedural import make_object, random_poses, render_views, view_camera
from h3d.models.procedural.solid import OBJECT_RADIUS, Paint, Part, Solid
from h3d.models.procedural.views import ELEVATIONS_DEGREES, RADII, lit
from h3d.renderers.cameras import pixel_directions

WHITE_BALL = Solid((Part("sphere", (OBJECT_RADIUS,), (0, 0, 0), Paint((1.0, 1.0, 1.0))),))


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_depth_leads_to_the_surface_and_cover_is_where_there_is_depth(seed: int):
    solid = make_object(seed).solid
    camera = view_camera(40.0, 25.0, 2.0, 48)
    seen = render_views(solid, [camera], supersampling=1)
    hit = seen.alpha[0] > 0.5
    assert 50 < hit.sum() < 0.8 * hit.size
    np.testing.assert_array_equal(hit, seen.depth[0] > 0.0)
    rays = pixel_directions(camera, (0, 0, 48, 48)).reshape(48, 48, 3)
    t = seen.depth[0] / (rays @ camera.forward)
    points = (camera.position + t[..., None] * rays)[hit].astype(np.float32)
    assert np.abs(solid.distance(points)).max() < 0.02
    # Nothing stands before it: the way there is free.
    for share in (0.5, 0.8, 0.95):
        between = (camera.position + share * t[..., None] * rays)[hit].astype(np.float32)
        assert (solid.distance(between) > 0.0).all()


def test_rays_beside_the_object_meet_nothing():
    solid = make_object(5).solid
    camera = view_camera(200.0, 10.0, 2.1, 40)
    seen = render_views(solid, [camera], supersampling=1)
    rays = pixel_directions(camera, (0, 0, 40, 40)).reshape(40, 40, 3)
    empty = rays[seen.alpha[0] == 0.0]
    for t in np.linspace(1.2, 2.9, 60):
        assert (solid.distance((camera.position + t * empty).astype(np.float32)) > -1e-3).all()


def test_a_ball_has_the_size_and_the_distance_of_a_ball():
    seen = render_views(WHITE_BALL, [view_camera(70.0, 30.0, 2.0, 64)], supersampling=2)
    angle = np.arcsin(OBJECT_RADIUS / 2.0)
    radius = np.tan(angle) / np.tan(np.radians(49.1 / 2)) * 32
    # Rays that graze are taken to have arrived some thousandths before the surface: a sixth of a pixel all around.
    assert seen.alpha[0].sum() == pytest.approx(np.pi * radius**2, rel=0.015)
    assert seen.depth[0, 32, 32] == pytest.approx(2.0 - OBJECT_RADIUS, abs=0.01)


def test_a_point_has_one_colour_from_every_side():
    # The top of the ball, from all around it: the light stands in object space.
    cameras = [view_camera(azimuth, 50.0, 2.0, 64) for azimuth in (0.0, 90.0, 180.0, 270.0)]
    seen = render_views(WHITE_BALL, cameras, supersampling=1)
    top = np.array([0.0, 0.0, OBJECT_RADIUS])
    colors = []
    for view, camera in enumerate(cameras):
        x, y, z = camera.viewmat[:3, :3] @ top + camera.viewmat[:3, 3]
        u, v = camera.K[0, 0] * x / z + camera.K[0, 2], camera.K[1, 1] * y / z + camera.K[1, 2]
        colors.append(seen.rgb[view, int(v), int(u)])
    assert np.ptp(colors, axis=0).max() < 0.03
    expected = lit(np.ones((1, 3), np.float32), np.array([[0, 0, 1]], np.float32))[0]
    np.testing.assert_allclose(colors[0], expected, atol=0.03)


def test_azimuth_zero_sees_the_front_and_elevation_rises():
    np.testing.assert_allclose(view_camera(0.0, 0.0, 2.0, 8).position, [0, 2, 0], atol=1e-9)
    assert view_camera(0.0, 40.0, 2.0, 8).position[2] > 1.0


def test_pictures_are_premultiplied_and_a_background_fills_the_rest():
    seen = render_views(make_object(2).solid, [view_camera(0.0, 20.0, 2.0, 32)])
    assert (seen.rgb <= seen.alpha[..., None] + 1e-6).all()
    over = seen.over(0.5)
    np.testing.assert_allclose(over[seen.alpha == 0.0], 0.5)


def test_views_together_are_the_views_one_by_one():
    solid = make_object(9).solid
    cameras = [view_camera(float(a), float(e), float(r), 24) for a, e, r in random_poses(np.random.default_rng(0), 3)]
    together = render_views(solid, cameras)
    for k, camera in enumerate(cameras):
        np.testing.assert_array_equal(together.rgb[k], render_views(solid, [camera]).rgb[0])


def test_random_poses_stay_in_their_ranges():
    poses = random_poses(np.random.default_rng(3), 500)
    assert (poses.min(axis=0) >= [0.0, ELEVATIONS_DEGREES[0], RADII[0]]).all()
    assert (poses.max(axis=0) <= [360.0, ELEVATIONS_DEGREES[1], RADII[1]]).all()


def test_cameras_of_two_sizes_or_inside_the_object_are_refused():
    with pytest.raises(ValueError, match="of one size"):
        render_views(WHITE_BALL, [view_camera(0, 0, 2, 8), view_camera(0, 0, 2, 9)])
    with pytest.raises(ValueError, match="within the object's ball"):
        render_views(WHITE_BALL, [view_camera(0, 0, 0.5, 8)])
