"""Proves that a feature is moved to where another camera sees the same surface, and only where it does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from h3d.models.hash3d.warp import Sight, warped
from h3d.models.procedural import make_object, render_views, view_camera
from h3d.renderers.cameras import Camera

SIZE = 24
FOV = 0.8


def sight_of(camera: Camera, depth: np.ndarray) -> Sight:
    return Sight(torch.from_numpy(camera.camera_to_world), camera.fov_y_radians, torch.from_numpy(depth).float())


def shifted(x: float) -> torch.Tensor:
    """A camera at x that looks along z."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    return pose


def wall(x: float, z: float = 2.0) -> Sight:
    return Sight(shifted(x), FOV, torch.full((SIZE, SIZE), z))


def slow(value: torch.Tensor, stored: Sight, asking: Sight) -> torch.Tensor:
    """Pixel by pixel, between four neighbours, for square features."""
    result, size = value.clone(), value.shape[-1]
    focal = [0.5 * size / math.tan(0.5 * s.fov_y_radians) for s in (asking, stored)]
    inverse = torch.linalg.inv(stored.camera_to_world)
    for y in range(size):
        for x in range(size):
            z = float(asking.depth[y, x])
            if z <= 0:
                continue
            local = torch.tensor([(x + 0.5 - size / 2) * z / focal[0], (y + 0.5 - size / 2) * z / focal[0], z, 1.0])
            there = inverse @ asking.camera_to_world @ local.double()
            u, v = (float(there[i] / there[2] * focal[1] + size / 2) for i in (0, 1))
            if not (0 <= u < size and 0 <= v < size):
                continue
            known = float(stored.depth[int(v), int(u)])
            if known <= 0 or abs(known - float(there[2])) >= 0.05 * float(there[2]):
                continue
            u, v = u - 0.5, v - 0.5
            corners = [(math.floor(v) + j, math.floor(u) + i) for j in (0, 1) for i in (0, 1)]
            total = torch.zeros_like(value[..., 0, 0])
            for cv, cu in corners:
                share = (1 - abs(v - cv)) * (1 - abs(u - cu))
                total += share * value[..., min(max(cv, 0), size - 1), min(max(cu, 0), size - 1)]
            result[..., y, x] = total
    return result


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("turn", [12.0, 40.0])
def test_it_is_the_slow_warp_of_pictures_of_a_thing(seed: int, turn: float):
    cameras = [view_camera(azimuth, 15.0, 2.0, SIZE) for azimuth in (30.0, 30.0 + turn)]
    depth = render_views(make_object(seed).solid, cameras).depth
    stored, asking = (sight_of(camera, d) for camera, d in zip(cameras, depth, strict=True))
    value = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    found, expected = warped(value, stored, asking), slow(value, stored, asking)
    # Float rounding may put a place on the other side of a pixel's edge.
    assert ((found - expected).abs().amax(dim=(0, 1)) > 1e-4).float().mean() < 0.01
    assert (found - value).abs().mean() > 0.05


def test_the_picture_itself_moves_with_its_camera():
    # A point of the picture that reads its own azimuth comes out as the other camera would draw it.
    cameras = [view_camera(azimuth, 15.0, 2.0, 64) for azimuth in (0.0, 20.0)]
    seen = render_views(make_object(5).solid, cameras)
    stored, asking = (sight_of(camera, d) for camera, d in zip(cameras, seen.depth, strict=True))
    pictures = torch.from_numpy(seen.over(0.5)).permute(0, 3, 1, 2).float()
    moved = warped(pictures[:1], stored, asking)[0]
    inside = torch.from_numpy(seen.alpha[1]) > 0.99
    before = (pictures[0] - pictures[1]).abs().mean(dim=0)[inside].mean()
    after = (moved - pictures[1]).abs().mean(dim=0)[inside].mean()
    assert after < 0.6 * before


def test_a_camera_that_moves_aside_shifts_a_wall():
    pixel = 2 * 2.0 * math.tan(FOV / 2) / SIZE
    value = torch.randn(1, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = warped(value, wall(0.0), wall(3 * pixel))
    torch.testing.assert_close(found[..., :-3], value[..., 3:], rtol=1e-4, atol=1e-4)
    # What the stored picture does not reach stays as it lay.
    assert torch.equal(found[..., -3:], value[..., -3:])


def test_what_is_hidden_or_not_there_stays():
    value = torch.randn(1, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    near = Sight(shifted(0.0), FOV, torch.full((SIZE, SIZE), 1.0))
    assert torch.equal(warped(value, near, wall(0.3)), value), "the stored view sees something nearer"
    nothing = Sight(shifted(0.3), FOV, torch.zeros(SIZE, SIZE))
    assert torch.equal(warped(value, wall(0.0), nothing), value)
    assert torch.equal(warped(value, nothing, wall(0.0)), value)
