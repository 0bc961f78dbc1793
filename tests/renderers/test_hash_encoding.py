"""The hash encoding is tiny-cuda-nn's: its sizes, its indexing, its interpolation; and its gradients are right.

Checked against a float64 reference that goes corner by corner, torch's own derivative of that reference, and finite
differences of the kernel itself away from the borders of cells (where the encoding has a kink).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from grid_reference import away_from_borders, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.renderers import num_threads, set_num_threads
from h3d.renderers.hash_encoding import (
    Dims,
    FeatureCount,
    HashGridConfig,
    hash_encode,
    initial_table,
    layout,
    num_entries,
    per_level_scale,
)

SMALL = HashGridConfig(levels=4, log2_table_size=9, base_resolution=3, per_level_scale=2.1)
"""Levels of 3 and 7 corners a side are dense, those of 14 and 28 hashed."""


def table_for(config: HashGridConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(num_entries(config), config.features, generator=generator) - 0.5).to(dtype)


def gradients(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, weights: torch.Tensor, mask=None):
    """Of sum(weights * features), by the kernels: positions', table's."""
    positions, table = positions.clone().requires_grad_(), table.clone().requires_grad_()
    loss = (hash_encode(positions, table, config, level_mask=mask) * weights).sum()
    return torch.autograd.grad(loss, [positions, table])


def weights_for(positions: torch.Tensor, config: HashGridConfig, seed: int = 1) -> torch.Tensor:
    return torch.randn(positions.shape[0], config.width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def threads() -> Iterator[None]:
    before = num_threads()
    yield
    set_num_threads(before)


def nerf(finest: float, levels: int = 8, features: FeatureCount = 4) -> HashGridConfig:
    return HashGridConfig(levels=levels, features=features, per_level_scale=per_level_scale(16, finest, levels))


@pytest.mark.parametrize(
    ("config", "parameters", "dense"),
    [
        (nerf(2048), 11_681_792, 3),
        (nerf(2048 * 4), 12_855_296, 2),
        (nerf(2048 * 16), 13_041_664, 2),
        (nerf(2048 * 128), 13_647_872, 2),
        (nerf(2048, levels=16, features=2), 12_196_240, 5),
        (nerf(2048 * 4, levels=16, features=2), 13_074_912, 4),
        (nerf(2048 * 16, levels=16, features=2), 13_623_184, 4),
    ],
)
def test_the_official_configurations_have_their_known_parameter_counts(config, parameters, dense):
    levels = layout(config)
    assert num_entries(config) * config.features == parameters
    assert [level.dense for level in levels] == [True] * dense + [False] * (len(levels) - dense)


def test_the_official_levels_have_their_known_resolutions():
    known = [16, 40, 96, 232, 566, 1379, 3361, 8192]
    resolutions = [level.resolution for level in layout(nerf(8192))]
    # The last one, 8191.005 in float32 rounded up, is 8193; where levels are hashed it tells nothing but whether.
    assert resolutions[:7] == known[:7] and abs(resolutions[7] - known[7]) <= 1
    assert layout(nerf(2048 * 128))[-1].resolution == 262_144


def test_rounding_to_float32_decides_resolutions_as_it_does_in_tiny_cuda_nn():
    # 2^(1/3) is a little above its cube root in float32, so that level 3 k has one corner more than 16 * 2^k.
    image = HashGridConfig(dims=2, log2_table_size=24, per_level_scale=per_level_scale(16, 512, 16))
    assert [level.resolution for level in layout(image)][::3] == [16, 33, 65, 129, 257, 513]
    assert all(level.dense for level in layout(image))
    assert num_entries(image) * 2 == 1_423_440


def test_levels_follow_each_other_and_start_at_multiples_of_eight():
    for config in (SMALL, HashGridConfig(), HashGridConfig(dims=2, base_resolution=1, per_level_scale=1.0)):
        end = 0
        for level in layout(config):
            assert level.offset == end and level.size % 8 == 0
            end += level.size
        assert end == num_entries(config)


@pytest.mark.parametrize("dims", get_args(Dims))
@pytest.mark.parametrize("features", get_args(FeatureCount))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_and_gradients_are_those_of_the_reference(dims, features, dtype):
    config = HashGridConfig(dims, 4, features, log2_table_size=8, base_resolution=4, per_level_scale=2.0)
    assert {level.dense for level in layout(config)} == {True, False}
    positions, table = away_from_borders(config, 37, seed=dims, margin=1e-4), table_for(config, dtype=dtype)
    weights = weights_for(positions, config)
    exact_positions, exact_table = positions.double().requires_grad_(), table.double().requires_grad_()
    expected = encode(exact_positions, exact_table, config)
    torch.testing.assert_close(hash_encode(positions, table, config).double(), expected, rtol=0.0, atol=2e-6)
    by_position, by_table = gradients(positions, table, config, weights)
    exact = torch.autograd.grad((expected * weights).sum(), [exact_positions, exact_table])
    assert by_table.dtype == dtype
    torch.testing.assert_close(by_position.double(), exact[0], rtol=1e-4, atol=1e-3)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-3  # A gradient of a half table is rounded to halves.
    torch.testing.assert_close(by_table.double(), exact[1], rtol=tolerance, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(
    base=st.integers(1, 20),
    scale=st.floats(1.0, 3.0),
    levels=st.integers(1, 6),
    log2_size=st.integers(3, 12),
    dims=st.sampled_from(get_args(Dims)),
    seed=st.integers(0, 999),
)
def test_any_configuration_gives_the_references_features(base, scale, levels, log2_size, dims, seed):
    config = HashGridConfig(dims, levels, 2, log2_size, base, scale)
    positions = torch.rand(9, dims, generator=torch.Generator().manual_seed(seed))
    table = table_for(config, seed)
    # At a finest scale of 20 * 3^5 a float32 position is good to 3e-4 of a cell.
    torch.testing.assert_close(
        hash_encode(positions, table, config).double(),
        encode(positions.double(), table.double(), config),
        rtol=0.0,
        atol=2e-3,
    )


@pytest.mark.parametrize("dims", get_args(Dims))
def test_the_far_border_wraps_into_its_dense_level(dims):
    # At 1 the upper corners lie beyond the last row: tiny-cuda-nn numbers them on and wraps, so must we.
    config = HashGridConfig(dims, levels=1, base_resolution=4, log2_table_size=12)
    positions, table = torch.ones(1, dims), table_for(config)
    expected = encode(positions.double(), table.double(), config)
    torch.testing.assert_close(hash_encode(positions, table, config).double(), expected, rtol=0.0, atol=1e-6)


def test_finite_differences_agree_with_the_position_gradient():
    positions, table = away_from_borders(SMALL, 60, seed=3, margin=0.05), table_for(SMALL)
    weights = weights_for(positions, SMALL)
    by_position, _ = gradients(positions, table, SMALL, weights)
    step = 2.0**-10  # Below the margin: 0.05 cells of the finest level are 1 / 540.
    for d in range(SMALL.dims):
        shift = torch.zeros(SMALL.dims)
        shift[d] = step
        up, down = (hash_encode(positions + s, table, SMALL).double() for s in (shift, -shift))
        slope = ((up - down) * weights).sum(1) / (2.0 * step)
        # Linear along each axis within a cell, so only rounding is left.
        torch.testing.assert_close(by_position[:, d].double(), slope, rtol=1e-3, atol=5e-3)


def test_finite_differences_agree_with_the_table_gradient():
    positions, table = torch.rand(200, 3, generator=torch.Generator().manual_seed(4)), table_for(SMALL)
    weights = weights_for(positions, SMALL)
    _, by_table = gradients(positions, table, SMALL, weights)
    for row, column in torch.nonzero(by_table.abs() > 0.1)[::40].tolist():
        bumped = table.clone()
        bumped[row, column] += 1.0
        change = (hash_encode(positions, bumped, SMALL) - hash_encode(positions, table, SMALL)).double()
        assert float((change * weights).sum()) == pytest.approx(float(by_table[row, column]), rel=1e-4, abs=1e-4)


def test_levels_switched_off_give_zeros_and_get_no_gradient():
    positions, table, mask = away_from_borders(SMALL, 40, seed=5, margin=1e-4), table_for(SMALL), 0b0101
    features = hash_encode(positions, table, SMALL, level_mask=mask)
    expected = encode(positions.double(), table.double(), SMALL, mask)
    torch.testing.assert_close(features.double(), expected, rtol=0.0, atol=2e-6)
    assert bool((features[:, 2:4] == 0).all()) and bool((features[:, 0:2] != 0).any())
    by_position, by_table = gradients(positions, table, SMALL, weights_for(positions, SMALL), mask)
    for index, level in enumerate(layout(SMALL)):
        touched = bool((by_table[level.offset : level.offset + level.size] != 0).any())
        assert touched == bool(mask >> index & 1)
    all_off = gradients(positions, table, SMALL, weights_for(positions, SMALL), 0)
    assert bool((by_position != 0).any()) and bool((all_off[0] == 0).all()) and bool((all_off[1] == 0).all())


@pytest.mark.parametrize("points", [1, 15, 16, 17, 511, 513, 5000])
def test_the_same_bits_at_every_number_of_threads(threads, points):
    config = HashGridConfig(levels=6, log2_table_size=11, base_resolution=4, per_level_scale=1.8)
    positions, table = torch.rand(points, 3, generator=torch.Generator().manual_seed(6)), table_for(config)
    weights = weights_for(positions, config)
    results = []
    for count in (1, 2, 3, 8):
        set_num_threads(count)
        results.append((hash_encode(positions, table, config), *gradients(positions, table, config, weights)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_point_is_encoded_alike_in_any_company():
    positions, table = torch.rand(700, 3, generator=torch.Generator().manual_seed(7)), table_for(SMALL)
    together = hash_encode(positions, table, SMALL)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(8))
    assert torch.equal(hash_encode(positions[order], table, SMALL), together[order])
    assert torch.equal(torch.cat([hash_encode(positions[i : i + 1], table, SMALL) for i in range(30)]), together[:30])


def test_positions_beyond_the_cube_get_the_border_and_no_gradient():
    outside = torch.tensor([[-0.3, 0.4, 1.7], [0.2, float("inf"), 0.3], [float("nan"), 0.5, 0.5], [-1e30, 1e30, 0.5]])
    border = torch.tensor([[0.0, 0.4, 1.0], [0.2, 1.0, 0.3], [0.0, 0.5, 0.5], [0.0, 1.0, 0.5]])
    table = table_for(SMALL)
    assert torch.equal(hash_encode(outside, table, SMALL), hash_encode(border, table, SMALL))
    by_position, _ = gradients(outside, table, SMALL, weights_for(outside, SMALL))
    assert by_position[0, [0, 2]].tolist() == [0.0, 0.0] and float(by_position[0, 1]) != 0.0
    assert by_position[3, :2].tolist() == [0.0, 0.0]


def test_no_points_are_no_trouble():
    table = table_for(SMALL)
    assert hash_encode(torch.zeros(0, 3), table, SMALL).shape == (0, SMALL.width)
    _, by_table = gradients(torch.zeros(0, 3), table, SMALL, torch.zeros(0, SMALL.width))
    assert by_table.shape == table.shape and bool((by_table == 0).all())


def test_arrays_that_are_not_contiguous_are_read_rightly():
    positions = torch.rand(3, 50, generator=torch.Generator().manual_seed(9)).T
    table = table_for(SMALL).T.contiguous().T
    assert not positions.is_contiguous() and not table.is_contiguous()
    expected = hash_encode(positions.contiguous(), table.contiguous(), SMALL)
    assert torch.equal(hash_encode(positions, table, SMALL), expected)


def test_a_fresh_table_is_small_and_follows_its_seed():
    tables = [initial_table(SMALL, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])
    assert 0.9e-4 < float(tables[0].abs().max()) <= 1e-4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dims": 4}, "dims: 4; must be 2 or 3"),
        ({"features": 3}, "features: 3; must be 1, 2, 4 or 8"),
        ({"levels": 0}, "levels: 0; must be 1 to 32"),
        ({"log2_table_size": 30}, "log2_table_size: 30; must be 3 to 24"),
        ({"per_level_scale": float("nan")}, "per_level_scale: nan; must be 1 to 16"),
        ({"per_level_scale": 8.0, "levels": 32}, "per_level_scale: 8.0 makes level 31 .* use fewer levels"),
    ],
)
def test_impossible_configurations_are_refused_with_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        HashGridConfig(**options)


def test_wrong_arrays_are_refused_with_a_sentence():
    table, positions = table_for(SMALL), torch.rand(5, 3)
    with pytest.raises(ValueError, match=r"positions: its shape is \[5, 2\]; it must be \[P, D\] with D = 3"):
        hash_encode(positions[:, :2], table, SMALL)
    with pytest.raises(ValueError, match=r"table: its shape is .*; it must be \[E, F\] with E = \d+, F = 2"):
        hash_encode(positions, table[:-1], SMALL)
    with pytest.raises(ValueError, match="positions: they are torch.float64; must be torch.float32"):
        hash_encode(positions.double(), table, SMALL)
    with pytest.raises(ValueError, match="table: it is torch.bfloat16; must be torch.float32 or torch.float16"):
        hash_encode(positions, table.bfloat16(), SMALL)
    for mask in (-1, 16):
        with pytest.raises(ValueError, match=f"level_mask: {mask}; must have 4 bits, 0 to 15"):
            hash_encode(positions, table, SMALL, level_mask=mask)
