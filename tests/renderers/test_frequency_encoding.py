"""The frequency encoding is NeRF's: sines and cosines of octaves, level by level, checked against its formula."""

from __future__ import annotations

import math

import pytest
import torch

from h3d.renderers.frequency_encoding import FrequencyConfig, frequency_encode


@pytest.mark.parametrize("dims", [2, 3])
def test_features_are_sines_and_cosines_of_octaves(dims):
    config = FrequencyConfig(dims, levels=5)
    positions = torch.rand(7, dims, generator=torch.Generator().manual_seed(0))
    encoded = frequency_encode(positions, config)
    assert encoded.shape == (7, config.width) == (7, 5 * 2 * dims)
    for point, features in zip(positions.tolist(), encoded.tolist(), strict=True):
        expected = []
        for level in range(5):
            angles = [2**level * math.pi * x for x in point]
            expected += [*map(math.sin, angles), *map(math.cos, angles)]
        assert features == pytest.approx(expected, abs=1e-5)


def test_levels_switched_off_give_zeros():
    positions, config = torch.rand(4, 3), FrequencyConfig(levels=3)
    whole, masked = frequency_encode(positions, config), frequency_encode(positions, config, level_mask=0b101)
    assert torch.equal(masked[:, :6], whole[:, :6]) and torch.equal(masked[:, 12:], whole[:, 12:])
    assert bool((masked[:, 6:12] == 0).all())


def test_impossible_configurations_and_arrays_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="dims: 4; must be 2 or 3"):
        FrequencyConfig(dims=4)  # type: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="levels: 17; must be 1 to 16"):
        FrequencyConfig(levels=17)
    with pytest.raises(ValueError, match=r"positions: its shape is \[5, 2\]; it must be \[P, D\] with D = 3"):
        frequency_encode(torch.rand(5, 2), FrequencyConfig())
    with pytest.raises(ValueError, match="level_mask: 1024; must have 10 bits, 0 to 1023"):
        frequency_encode(torch.rand(5, 3), FrequencyConfig(), level_mask=1024)
