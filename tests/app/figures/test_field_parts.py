"""Proves that fields stand where their layers say, in every mode, and that fields and Gaussians hide one another."""

import math
from dataclasses import replace

import numpy as np
import pytest
from analytic_fields import BallField
from balls import ball

from h3d.app.figures import images
from h3d.app.figures.display import Display
from h3d.app.figures.pictures import View
from h3d.app.workspace.scene import Layer
from h3d.renderers.cameras import look_at

BLUE, RED = (0.1, 0.2, 0.9), (0.9, 0.1, 0.1)
CAMERA = look_at(
    np.array([0.0, 0.0, -6.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]), fov_y_radians=0.8, width=160, height=120
)
MIDDLE = (60, 80)  # row and column of the picture's middle


def field(position=(0.0, 0.0, 0.0), **changes) -> Layer:
    return Layer(1, "field", BallField(rgb=BLUE), position=position, **changes)


def splats(position=(0.0, 0.0, 0.0)) -> Layer:
    return Layer(2, "splats", ball(RED), position=position)


def test_a_field_is_drawn_where_its_layer_stands_and_at_its_size():
    turned = field((0.5, 0.3, 1.0), scale=0.5, wxyz=(math.cos(0.4), 0.0, math.sin(0.4), 0.0))
    picture = images.render(View((turned,)), CAMERA, depth=True)
    assert picture.alpha is not None and picture.depth is not None
    rows, columns = np.nonzero(picture.alpha > 0.5)
    scale = CAMERA.focal / 7.0  # pixels of a unit at the ball's distance
    assert np.mean(columns) == pytest.approx(80 + 0.5 * scale, abs=1.0)
    assert np.mean(rows) == pytest.approx(60 + 0.3 * scale, abs=1.0)
    assert len(rows) == pytest.approx(math.pi * (0.5 * scale) ** 2, rel=0.05)
    assert picture.depth[rows, columns].min() == pytest.approx(6.5, abs=0.01)


@pytest.mark.parametrize(("nearer", "expected"), [("field", BLUE), ("splats", RED)])
def test_the_nearer_of_a_field_and_gaussians_hides_the_other(nearer, expected):
    layers = (field((0, 0, -2.0 if nearer == "field" else 2.0)), splats((0, 0, 2.0 if nearer == "field" else -2.0)))
    picture = images.render(View(layers), CAMERA)
    assert np.abs(picture.pixels[MIDDLE] / 255.0 - expected).max() < 0.06
    swapped = images.render(View(layers[::-1]), CAMERA)
    assert np.array_equal(picture.pixels, swapped.pixels), "the order of layers must not matter"


def test_two_fields_hide_one_another_by_depth():
    near = replace(field((0, 0, -3.0), scale=0.3), key=3, asset=BallField(rgb=(0.0, 1.0, 0.0)))
    picture = images.render(View((field(), near)), CAMERA)
    assert tuple(picture.pixels[MIDDLE]) == (0, 255, 0)
    blue = (picture.pixels == np.round(np.array(BLUE) * 255)).all(axis=-1)
    assert blue.sum() > 500


def test_rectangles_of_a_mixed_picture_are_parts_of_the_whole_and_floats_agree_with_bytes():
    view = View((field((0.7, 0, 0)), splats()), Display(background=(0.2, 0.3, 0.4)))
    whole, tile = images.render(view, CAMERA), images.render_float(view, CAMERA)
    over = tile.rgb + (1.0 - tile.alpha)[..., None] * np.array([0.2, 0.3, 0.4], np.float32)
    assert np.array_equal(images.to_bytes(over), whole.pixels)
    part = images.render(view, CAMERA, rect=(33, 21, 121, 90))
    assert np.array_equal(part.pixels, whole.pixels[21:90, 33:121])


def test_the_modes_of_fields():
    view = View((field(),))

    def shown(**changes):
        return images.render(View(view.layers, Display(**changes)), CAMERA)

    normals = shown(mode="normals").pixels[MIDDLE] / 255.0
    assert np.allclose(normals, [0.5, 0.5, 0.0], atol=0.03), "the middle of the ball points at the eye, against z"
    cost = shown(mode="cost")
    assert cost.legend == ("samples of a ray", 0.0, 10.0)
    assert tuple(shown(mode="alpha").pixels[MIDDLE]) == (255, 255, 255)
    near, far = shown(mode="depth").legend[1:]  # type: ignore[index]
    assert 4.9 < near < 5.1 and 5.5 < far < 6.0
    assert not shown(mode="contribution").pixels.any(), "it is a mode of Gaussians"


def test_a_layer_that_is_turned_turns_its_normals():
    turned = Layer(1, "f", BallField(), wxyz=(math.cos(0.5), 0.0, math.sin(0.5), 0.0))
    plain = images.render(View((field(),), Display(mode="normals")), CAMERA).pixels
    assert np.abs(images.render(View((turned,), Display(mode="normals")), CAMERA).pixels.astype(int) - plain).max() <= 1


def test_a_stop_of_exposure_doubles_the_light():
    def middle(stops: float) -> float:
        pixel = images.render(View((field(),), Display(exposure=stops)), CAMERA).pixels[MIDDLE][1] / 255.0
        return ((pixel + 0.055) / 1.055) ** 2.4

    assert middle(1.0) == pytest.approx(2.0 * middle(0.0), rel=0.05)
    assert middle(-1.0) == pytest.approx(0.5 * middle(0.0), rel=0.05)
