"""Proves that marks are the same whether a picture is drawn whole or in tiles, and say what they should."""

import numpy as np
import pytest

from h3d.app.figures import colormaps, stamps


def test_a_stamp_over_tiles_is_the_stamp_over_the_whole():
    random = np.random.default_rng(0)
    rgb, alpha = random.random((60, 200, 3), np.float32), random.random((60, 200), np.float32)
    marks = [stamps.label("name", 5, 3, 12), stamps.color_bar("title", colormaps.HEAT, 0, 1, 200, 60)]
    whole = rgb.copy(), alpha.copy()
    stamps.stamp_onto(marks, *whole, (0, 0))
    for x0, x1 in ((0, 33), (33, 34), (34, 200)):
        part = rgb[:, x0:x1].copy(), alpha[:, x0:x1].copy()
        stamps.stamp_onto(marks, *part, (x0, 0))
        assert np.array_equal(part[0], whole[0][:, x0:x1])
        assert np.array_equal(part[1], whole[1][:, x0:x1])
    assert not np.array_equal(whole[0], rgb)


def test_stamps_partly_or_wholly_outside_are_cut():
    rgb, alpha = np.zeros((10, 10, 3), np.float32), np.zeros((10, 10), np.float32)
    stamps.stamp_onto(
        [stamps.filled(-3, -3, 5, 5, (1, 1, 1)), stamps.filled(50, 50, 5, 5, (1, 1, 1))], rgb, alpha, (0, 0)
    )
    assert alpha[:2, :2].all() and alpha.sum() == 4


@pytest.mark.parametrize(
    "value, span, text",
    [
        (0.1, 0.2, "0.1"),
        (-0.05, 0.1, "-0.05"),
        (0.0, 2.0, "0"),
        (-0.0001, 2.0, "0"),
        (1234.5, 900.0, "1234"),
        (3.456, 1.2, "3.46"),
    ],
)
def test_numbers_have_the_digits_that_their_range_needs(value, span, text):
    assert stamps._number(value, span) == text


def test_bytes_and_floats_get_the_same_marks():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8)
    rgb, alpha = pixels.astype(np.float32) / 255, np.ones((40, 90), np.float32)
    marks = [stamps.label("A", 4, 4, 14)]
    stamps.stamp_onto(marks, rgb, alpha, (0, 0))
    stamps.stamp_onto_bytes(marks, pixels, (0, 0))
    assert np.abs(pixels - rgb * 255).max() <= 0.51
