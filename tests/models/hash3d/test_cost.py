"""Proves the count of multiply-adds: against a convolution and a product by hand, and against the paper's share."""

from __future__ import annotations

import pytest
from tiny_unets import ATTENTION_INSIDE

from h3d.models.hash3d.cost import STABLE_DIFFUSION_1_5, cost


def test_a_hit_costs_at_most_18_percent_of_stable_diffusions_layers():
    # The paper's tables give 28.6 G of 168.78 G at 32 x 32, which is 16.9 %; they count layers, not attention.
    found = cost(STABLE_DIFFUSION_1_5, 64, 64)
    assert found.layers_share == pytest.approx(0.169, abs=0.0005)
    assert found.full_layers == pytest.approx(678.60e9 / 2, rel=0.005)
    # Two products of 4096 x 4096 x 320 in each of the three blocks of a hit, and small ones with 77 words.
    assert found.hit_attention == 3 * 2 * 4096 * (4096 + 77) * 320
    assert found.share < 0.23


def test_more_pixels_cost_in_proportion_but_attention_does_not():
    config = {
        "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 2,
        "cross_attention_dim": 16, "attention_head_dim": 8, "norm_num_groups": 8, **ATTENTION_INSIDE,
    }  # fmt: skip
    small, large = cost(config, 16, 16, tokens=1), cost(config, 32, 32, tokens=1)
    assert small.hit_attention == large.hit_attention == 0
    assert large.full_layers == pytest.approx(4 * small.full_layers, rel=0.01)
    assert large.full_attention > 10 * small.full_attention
