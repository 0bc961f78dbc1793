"""Proves the codes of light: sRGB up to 1, smooth beyond, and exactly undone."""

from __future__ import annotations

import numpy as np
import torch

from h3d.models.light import BRIGHTEST_CODE, SLOPE, code_of, light_of


def test_up_to_one_the_code_is_srgb():
    light = np.linspace(0.0, 1.0, 999)
    srgb = [12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in light]
    np.testing.assert_allclose(code_of(torch.from_numpy(light)), srgb, atol=1e-12)


def test_light_of_undoes_code_of_over_the_whole_range_of_half_floats():
    light = torch.cat([torch.zeros(1), torch.logspace(-7, float(np.log10(65504.0)), 999)]).double()
    torch.testing.assert_close(light_of(code_of(light)), light, rtol=1e-6, atol=1e-9)
    assert float(code_of(light).max()) <= BRIGHTEST_CODE + 1e-6


def test_the_code_has_no_step_and_no_bend_at_one():
    light = torch.tensor([1.0 - 1e-4, 1.0, 1.0 + 1e-4]).double()
    below, above = torch.diff(code_of(light)) / 1e-4
    assert abs(float(below) - SLOPE) < 1e-4 and abs(float(above) - SLOPE) < 1e-4


def test_what_is_below_black_is_black_and_what_is_too_bright_is_bounded():
    assert code_of(torch.tensor([-1.0])).item() == 0.0
    assert light_of(torch.tensor([-0.5])).item() == 0.0
    assert light_of(torch.tensor([1e9])).item() <= 65504.0 * 1.001
