"""Proves that a picture's rectangles are the whole picture's, bit for bit, and that each mode shows what it says."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from h3d.app.figures import images
from h3d.app.figures.display import Display, Mode, Shape
from h3d.app.figures.pictures import View
from h3d.app.figures.splat_parts import visible_count
from h3d.app.workspace.scene import Layer
from h3d.models.gaussians import from_rows
from h3d.renderers import harmonics

MODES = get_args(Mode)
BACKGROUND = (0.2, 0.1, 0.4)


def shown(view: View, **changes) -> View:
    return replace(view, display=replace(view.display, background=BACKGROUND, **changes))


def over(rgb: np.ndarray, alpha: np.ndarray, background: tuple[float, float, float]) -> np.ndarray:
    return rgb + (1.0 - alpha)[..., None] * np.array(background, np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_a_rectangle_is_that_part_of_the_whole_picture(view, camera, mode):
    view = shown(view, mode=mode)
    whole, whole_float = images.render(view, camera, depth=True), images.render_float(view, camera, depth=True)
    assert whole.depth is not None
    for rect in ((0, 0, 150, 40), (17, 5, 83, 93), (149, 92, 150, 93)):
        x0, y0, x1, y1 = rect
        part = images.render(view, camera, rect=rect, depth=True)
        assert np.array_equal(part.pixels, whole.pixels[y0:y1, x0:x1])
        assert part.depth is not None and np.array_equal(part.depth, whole.depth[y0:y1, x0:x1])
        part = images.render_float(view, camera, rect=rect)
        assert np.array_equal(part.rgb, whole_float.rgb[y0:y1, x0:x1])
        assert np.array_equal(part.alpha, whole_float.alpha[y0:y1, x0:x1])


@pytest.mark.parametrize("mode", MODES)
def test_the_fast_picture_is_the_float_picture_over_the_background(view, camera, mode):
    view = shown(view, mode=mode)
    fast, tile = images.render(view, camera), images.render_float(view, camera)
    slow = images.to_bytes(over(tile.rgb, tile.alpha, BACKGROUND))
    assert np.abs(fast.pixels.astype(int) - slow).max() <= 1
    assert fast.pixels.dtype == np.uint8 and fast.pixels.shape == (93, 150, 3)


@pytest.mark.parametrize("shape", get_args(Shape))
def test_every_shape_draws_something_of_its_own(view, camera, shape):
    drawn = images.render(shown(view, shape=shape), camera).pixels
    empty = images.render(View((), Display(background=BACKGROUND)), camera).pixels
    assert (drawn != empty).any(axis=-1).mean() > 0.1
    if shape != "splats":
        assert (drawn != images.render(shown(view), camera).pixels).mean() > 0.05


def test_a_scene_without_visible_layers_is_its_background(layers, camera):
    for mode in MODES:
        for nothing in ((), tuple(replace(layer, visible=False) for layer in layers)):
            picture = images.render(shown(View(nothing), mode=mode), camera, depth=True)
            expected = (0, 0, 0) if mode == "alpha" else np.array(BACKGROUND) * 255
            assert np.abs(picture.pixels.astype(int) - np.round(expected)).max() <= 1
            assert picture.depth is not None and not picture.depth.any()


def test_hidden_rows_and_layers_are_as_if_they_were_not_there(layers, camera):
    first, second = layers
    kept = replace(second, asset=second.asset.keep(~second.hidden_rows), hidden_rows=None)
    assert np.array_equal(
        images.render(View((first, second)), camera).pixels, images.render(View((first, kept)), camera).pixels
    )
    alone = images.render(View((first,)), camera).pixels
    assert np.array_equal(images.render(View((first, replace(second, visible=False))), camera).pixels, alone)
    assert visible_count(layers) == 300 + int((~second.hidden_rows).sum())


def test_a_placed_layer_is_its_rows_moved(layers, camera):
    second = replace(layers[1], hidden_rows=None)
    moved = second.asset.transformed(np.array(second.wxyz), np.array(second.position), second.scale)
    placed = images.render_float(View((second,)), camera)
    baked = images.render_float(View((Layer(key=9, name="baked", asset=moved),)), camera)
    assert np.abs(placed.rgb - baked.rgb).max() < 2e-3


def test_supersampling_is_the_mean_of_a_larger_picture(view, camera):
    large = camera.resized(camera.width * 3, camera.height * 3)
    big, small = images.render_float(view, large), images.render_float(view, camera, samples=3)
    mean = big.rgb.reshape(93, 3, 150, 3, 3).mean(axis=(1, 3))
    assert np.abs(small.rgb - mean).max() < 1e-5


def test_the_depth_mode_covers_the_visible_depths_with_near_bright(layers, camera):
    view = shown(View(layers), mode="depth")
    picture = images.render(view, camera, depth=True)
    assert picture.legend is not None and picture.depth is not None and picture.alpha is not None
    _, near, far = picture.legend
    solid = picture.alpha > 0.9
    inside = (picture.depth[solid] > near - 0.1) & (picture.depth[solid] < far + 0.1)
    assert inside.mean() > 0.95
    brightness = picture.pixels[solid].astype(float).sum(axis=-1)
    assert np.corrcoef(brightness, picture.depth[solid])[0, 1] < -0.8
    again = images.render(view, camera.resized(300, 186))
    assert again.legend == picture.legend, "the range must not depend on the size of the picture"


def test_the_alpha_mode_is_grey_and_the_normals_mode_points_at_the_eye(view, camera):
    tile = images.render_float(view, camera)
    grey = images.render(shown(view, mode="alpha"), camera).pixels
    assert np.array_equal(grey[..., 0], images.to_bytes(tile.alpha))
    normals = images.render_float(shown(view, mode="normals"), camera)
    solid = normals.alpha > 0.95
    vectors = 2.0 * normals.rgb[solid] / normals.alpha[solid][:, None] - 1.0
    assert (vectors @ camera.forward < 0.05).mean() > 0.98


def test_contribution_heat_follows_what_a_gaussian_gives_to_the_picture(camera):
    def opaque(x: float, logit: float):
        return from_rows(
            means=[[x, 0.0, 0.0]],
            quats=[[1.0, 0, 0, 0]],
            log_scales=np.full((1, 3), np.log(0.2)),
            logit_opacities=[logit],
            sh=np.zeros((1, 1, 3)),
        )

    view = View(
        (Layer(1, "strong", opaque(-0.5, 5.0)), Layer(2, "weak", opaque(0.5, -1.5))), Display(mode="contribution")
    )
    painter = images.painter(view, camera)
    heats = [harmonics.dc_to_rgb(scene.sh).sum() for scene in painter.scenes]
    assert heats[0] > heats[1] + 1.0
    assert painter.legend is not None and painter.legend[1:] == (0.0, 1.0)


def test_a_gaussian_keeps_its_colour_when_others_go(layers, camera):
    view = View((layers[0],), Display(mode="top_id"))
    whole = images.painter(view, camera).row_colors
    kept = replace(layers[0], asset=layers[0].asset.keep(torch.arange(50, 300)))
    fewer = images.painter(View((kept,), view.display), camera).row_colors
    assert whole is not None and fewer is not None
    assert np.array_equal(whole[51:], fewer[1:])


def test_an_unknown_model_is_named(camera):
    wrong = Layer(key=1, name="field", asset="not a model")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"layer 'field' is a str; pictures are made of Gaussians and of fields"):
        images.render(View((wrong,)), camera)
