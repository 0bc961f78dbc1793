"""Proves that each half of a comparison is the full picture's half, and that differences and metrics are right."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from h3d.app.figures import colormaps, compare, images
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.pictures import View
from h3d.renderers import harmonics


@pytest.fixture
def pair(layers) -> tuple[View, View]:
    return View(layers, Display(background=(0.1, 0.2, 0.3))), View(layers[:1], Display(sh_degree=0))


@pytest.mark.parametrize("mode", ["rgb", "depth", "contribution"])
@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
@pytest.mark.parametrize("split", [0.0, 0.37, 1.0])
def test_a_wipe_is_the_two_full_pictures_halves(pair, camera, mode, orientation, split):
    a, b = (replace(view, display=replace(view.display, mode=mode)) for view in pair)
    wiped = compare.render(Comparison(a, b, split=split, orientation=orientation, line=False), camera, depth=True)
    first, second = (images.render(view, camera, depth=True) for view in (a, b))
    at = round(split * (camera.width if orientation == "vertical" else camera.height))
    front = np.s_[:, :at] if orientation == "vertical" else np.s_[:at]
    behind = np.s_[:, at:] if orientation == "vertical" else np.s_[at:]
    assert np.array_equal(wiped.pixels[front], first.pixels[front])
    assert np.array_equal(wiped.pixels[behind], second.pixels[behind])
    assert wiped.depth is not None and first.depth is not None and second.depth is not None
    assert np.array_equal(wiped.depth[front], first.depth[front])
    assert np.array_equal(wiped.depth[behind], second.depth[behind])


def test_the_line_covers_only_a_few_columns_and_is_white(pair, camera):
    plain = compare.render(Comparison(*pair, line=False), camera).pixels
    lined = compare.render(Comparison(*pair), camera).pixels
    changed = np.flatnonzero((plain != lined).any(axis=(0, 2)))
    assert changed.min() >= 75 - 3 and changed.max() <= 75 + 3
    assert (lined[:, 75] == 255).all()


def test_side_by_side_shows_both_from_the_same_place_at_half_width(pair, camera):
    joined = compare.render(Comparison(*pair, mode="side_by_side", line=False), camera)
    half = camera.resized(75, 93)
    assert np.array_equal(joined.pixels[:, :75], images.render(pair[0], half).pixels)
    assert np.array_equal(joined.pixels[:, 75:], images.render(pair[1], half).pixels)
    odd = compare.render(Comparison(*pair, mode="side_by_side"), camera.resized(151, 93))
    assert odd.pixels.shape == (93, 151, 3)


def test_a_flip_shows_one_of_the_two(pair, camera):
    a = compare.render(Comparison(*pair, mode="flip", show="a"), camera)
    b = compare.render(Comparison(*pair, mode="flip", show="b"), camera)
    assert np.array_equal(a.pixels, images.render(pair[0], camera).pixels)
    assert np.array_equal(b.pixels, images.render(pair[1], camera).pixels)
    assert not np.array_equal(a.pixels, b.pixels)


def test_a_difference_is_signed_symmetric_and_neutral_where_nothing_changed(layers, camera):
    base = layers[0]
    brighter = base.asset.sh.clone()
    brighter[:, 0] += 0.15 / harmonics.C0
    shifted = replace(base, asset=replace(base.asset, sh=brighter))
    a, b = View((base,)), View((shifted,))
    rise = compare.render(Comparison(a, b, mode="difference", difference_range=0.2), camera)
    fall = compare.render(Comparison(b, a, mode="difference", difference_range=0.2), camera)
    assert rise.legend is not None and rise.legend[1:] == (-0.2, 0.2)
    first, second = (images.render(view, camera).pixels.astype(int) for view in (a, b))
    change = second - first
    place = np.abs(change) == np.abs(change).max(axis=-1, keepdims=True)
    strongest = np.where(place, change, 0).sum(axis=-1) / place.sum(axis=-1)
    expected = colormaps.colored(strongest / 255, colormaps.DIVERGING, -0.2, 0.2)
    assert np.abs(rise.pixels - images.to_bytes(expected).astype(int)).max() <= 6
    moved = change.max(axis=-1) > 10
    assert moved.any()
    assert (rise.pixels[moved][:, 0].astype(int) > rise.pixels[moved][:, 2]).all(), "more is red"
    assert (fall.pixels[moved][:, 2].astype(int) > fall.pixels[moved][:, 0]).all(), "less is blue"
    still = (change == 0).all(axis=-1)
    assert (np.ptp(rise.pixels[still].astype(int), axis=-1) <= 6).all()


def test_a_swap_of_colours_with_equal_means_is_not_lost(layers, camera):
    base = layers[0]
    swapped = replace(base, asset=replace(base.asset, sh=base.asset.sh.flip(-1).contiguous()))
    picture = compare.render(Comparison(View((base,)), View((swapped,)), mode="difference"), camera)
    saturated = np.ptp(picture.pixels[:40].astype(int), axis=-1) > 40
    assert saturated.mean() > 0.05


def test_the_automatic_range_is_round_and_the_bar_is_drawn(pair, camera):
    large = camera.resized(600, 372)
    painter = compare.painter(Comparison(*pair, mode="difference"), large)
    assert painter.legend is not None
    bound = painter.legend[2]
    assert any(math.isclose(bound, step * 10.0**power) for step in (1, 2, 5) for power in (-2, -1, 0))
    assert len(painter.stamps) == 1
    bar = painter.stamps[0]
    drawn = painter.picture().pixels[bar.y : bar.y + bar.alpha.shape[0], bar.x : bar.x + bar.alpha.shape[1]]
    for end in (colormaps.DIVERGING[0], colormaps.DIVERGING[-1]):
        assert (np.abs(drawn.astype(int) - np.round(end * 255)).max(axis=-1) <= 1).sum() >= 4
    same = compare.painter(Comparison(pair[0], pair[0], mode="difference"), large)
    assert same.legend is not None and same.legend[2] == pytest.approx(0.01)


@pytest.mark.parametrize("mode", ["wipe", "side_by_side", "difference", "flip"])
def test_tiles_of_a_comparison_join_to_the_whole(pair, camera, mode):
    painter = compare.painter(Comparison(*pair, mode=mode, labels=("one", "two")), camera)
    whole = painter.tile()
    rows, columns = (0, 16, 61, 93), (0, 64, 75, 150)
    for y0, y1 in zip(rows, rows[1:], strict=False):
        for x0, x1 in zip(columns, columns[1:], strict=False):
            tile = painter.tile((x0, y0, x1, y1))
            assert np.array_equal(tile.rgb, whole.rgb[y0:y1, x0:x1])
            assert np.array_equal(tile.alpha, whole.alpha[y0:y1, x0:x1])


def test_metrics_are_those_of_scikit_image(pair, camera):
    metrics = compare.measure(Comparison(*pair), camera)
    a, b = (images.render(view, camera).pixels / 255.0 for view in pair)
    assert metrics.psnr_db == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-3)
    expected = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.ssim == pytest.approx(expected, abs=1e-4)
    hidden = int(torch.arange(300).remainder(7).eq(0).sum())
    assert (metrics.count_a, metrics.count_b) == (600 - hidden, 300)
    assert 0 < metrics.drawn_b <= 300 and metrics.drawn_b < metrics.drawn_a <= 600 - hidden


def test_a_view_compared_with_itself_is_perfect(pair, camera):
    metrics = compare.measure(Comparison(pair[0], pair[0]), camera)
    assert math.isinf(metrics.psnr_db) and metrics.ssim == pytest.approx(1.0, abs=1e-6)
