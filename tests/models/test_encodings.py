"""Proves the encodings that are compared: dense grids match in size, a tied matrix sums, headers round trip."""

from __future__ import annotations

import pytest
import torch

from h3d.models.encodings import (
    Encoding,
    dense_like,
    encode,
    encoding_from,
    encoding_header,
    fresh_table,
    table_shape,
    tied,
)
from h3d.renderers.frequency_encoding import FrequencyConfig
from h3d.renderers.hash_encoding import HashGridConfig, layout, num_entries
from h3d.renderers.mlp import mlp


@pytest.mark.parametrize("size", [12, 14, 17, 19])
def test_a_dense_grid_has_about_as_many_parameters_and_every_corner_to_itself(size: int):
    hashed = HashGridConfig(levels=8, features=4, log2_table_size=size, per_level_scale=1.8)
    dense = dense_like(hashed)
    assert all(level.dense for level in layout(dense))
    assert (dense.levels, dense.features, dense.base_resolution) == (8, 4, 16)
    assert 0.9 * num_entries(hashed) <= num_entries(dense) <= num_entries(hashed)
    assert layout(dense)[-1].resolution < layout(hashed)[-1].resolution


def test_a_tied_first_matrix_reads_the_sum_of_the_levels():
    config = HashGridConfig(levels=5, features=2, log2_table_size=8, base_resolution=4)
    generator = torch.Generator().manual_seed(0)
    table = 1e4 * fresh_table(config, generator)
    first, last = torch.randn(16, 2, generator=generator), torch.randn(3, 16, generator=generator)
    encoded = encode(torch.rand(20, 3, generator=generator), table, config)
    summed = encoded.reshape(20, 5, 2).sum(dim=1)
    torch.testing.assert_close(mlp(encoded, (tied(first, config), last)), mlp(summed.contiguous(), (first, last)))


@pytest.mark.parametrize("encoding", [HashGridConfig(levels=4, log2_table_size=8), FrequencyConfig(levels=6)])
def test_an_encoding_comes_back_from_its_header_and_fits_its_table(encoding: Encoding):
    assert encoding_from(encoding_header(encoding)) == encoding
    table = fresh_table(encoding, torch.Generator())
    assert tuple(table.shape) == table_shape(encoding)
    assert encode(torch.rand(3, 3), table, encoding).shape == (3, encoding.width)
    assert bool((encode(torch.rand(3, 3), table, encoding, level_mask=0) == 0).all())


def test_headers_written_before_there_were_other_encodings_are_hash_grids():
    assert "kind" not in encoding_header(HashGridConfig())
    with pytest.raises(ValueError, match="kind: 'wavelet'; must be hash or frequency"):
        encoding_from({"kind": "wavelet"})
