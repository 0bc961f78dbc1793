"""Proves that curves are drawn where they were measured, each only as far as it goes, on axes that hold all of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from h3d.app.panels.curves import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Curve, plot


def points(svg: str) -> list[np.ndarray]:
    """Pixels of each polyline, [P, 2]."""
    found = re.findall(r'<polyline points="([^"]+)"', svg)
    return [np.array([[float(v) for v in pair.split(",")] for pair in path.split()]) for path in found]


def test_two_curves_share_axes_and_each_ends_where_it_ends():
    long = Curve(np.array([0.0, 5.0, 10.0]), np.array([1.0, 2.0, 3.0]), "red")
    short = Curve(np.array([0.0, 5.0]), np.array([2.0, 2.0]), "blue")
    a, b = points(plot("psnr", [long, short]))
    right, middle = WIDTH - 4.0, 0.5 * (LEFT + WIDTH - 4.0)
    assert a[:, 0] == pytest.approx([LEFT, middle, right], abs=0.1)
    assert a[:, 1] == pytest.approx([HEIGHT - BOTTOM, 0.5 * (HEIGHT - BOTTOM + TOP), TOP], abs=0.1)
    assert b[:, 0] == pytest.approx([LEFT, middle], abs=0.1) and b[0, 1] == pytest.approx(a[1, 1])


def test_losses_fall_by_their_logarithm_and_what_is_no_number_is_left_out():
    curve = Curve(np.arange(4.0), np.array([1.0, np.nan, 0.1, 0.01]), "red")
    (drawn,) = points(plot("loss", [curve], logarithmic=True))
    assert len(drawn) == 3 and drawn[1, 1] == pytest.approx(0.5 * (drawn[0, 1] + drawn[2, 1]), abs=0.1)


def test_one_point_is_a_dot_and_none_is_a_title_that_is_escaped():
    one = plot("psnr", [Curve(np.array([3.0]), np.array([20.0]), "red")])
    assert "<circle" in one and "polyline" not in one
    empty = plot("<b>", [Curve(np.zeros(0), np.zeros(0), "red")])
    assert "&lt;b&gt;" in empty and "<b>" not in empty
