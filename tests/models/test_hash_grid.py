"""Proves hash-grid fields as values: files round trip exactly, damaged ones are said, rays reach NGP space right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from h3d.models import hash_grid
from h3d.models.datasets import NgpSpace
from h3d.models.hash_grid import HashGridField
from h3d.models.hash_grid_view import rays_to_ngp
from h3d.renderers.fields import GRID_CELLS
from h3d.renderers.frequency_encoding import FrequencyConfig
from h3d.renderers.hash_encoding import HashGridConfig, initial_table
from h3d.renderers.mlp import initial_weights


@pytest.fixture
def field() -> HashGridField:
    """Untrained, of a table large enough that nothing is near zero; a cube of side 2."""
    generator = torch.Generator().manual_seed(0)
    encoding = HashGridConfig(levels=4, log2_table_size=10)
    return HashGridField(
        encoding=encoding,
        table=1e4 * initial_table(encoding, generator),
        density_weights=tuple(initial_weights((8, 16, 16), generator)),
        rgb_weights=tuple(initial_weights((32, 16, 16, 3), generator)),
        thickness=torch.rand(2, GRID_CELLS, generator=generator),
        aabb=torch.tensor([[-0.5] * 3, [1.5] * 3]),
        ngp_from_world=torch.from_numpy(NgpSpace(0.25, (0.1, 0.2, 0.3)).matrix),
        remark="made up",
    )


def test_a_saved_field_is_read_back_bit_for_bit(field: HashGridField, tmp_path: Path):
    field.save(tmp_path / "f.safetensors")
    back = hash_grid.load(tmp_path / "f.safetensors")
    assert back.encoding == field.encoding and back.remark == "made up"
    positions = torch.rand(100, 3)
    directions = torch.nn.functional.normalize(torch.randn(100, 3), dim=1)
    for a, b in zip(field.query(positions, directions), back.query(positions, directions), strict=True):
        assert torch.equal(a, b)
    for name in ("table", "thickness", "aabb", "ngp_from_world"):
        assert torch.equal(getattr(field, name), getattr(back, name))


def test_a_field_of_frequencies_is_saved_and_read_back_too(field: HashGridField, tmp_path: Path):
    encoding = FrequencyConfig(levels=4)
    weights = tuple(initial_weights((encoding.width, 16, 16, 16), torch.Generator().manual_seed(1)))
    waves = replace(field, encoding=encoding, table=torch.zeros(0, 1), density_weights=weights)
    waves.save(tmp_path / "f.safetensors")
    back = hash_grid.load(tmp_path / "f.safetensors")
    positions = torch.rand(10, 3)
    assert back.encoding == encoding and torch.equal(back.density(positions), waves.density(positions))
    assert waves.density(positions).std() > 0


def test_damaged_and_foreign_files_get_one_sentence(field: HashGridField, tmp_path: Path):
    path = tmp_path / "f.safetensors"
    field.save(path)
    content = path.read_bytes()
    for part in (b"", content[:20], content[:-100]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            hash_grid.load(path)
    path.write_bytes(content.replace(hash_grid.FORMAT.encode(), b"h3d hash grid field 9"))
    with pytest.raises(ValueError, match="the format is 'h3d hash grid field 9'"):
        hash_grid.load(path)
    for wrong, sentence in (
        (replace(field, table=field.table[:-1]), "table: its shape is"),
        (replace(field, thickness=field.thickness[:1]), "thickness: its shape is"),
        (replace(field, rgb_weights=field.rgb_weights[1:]), "rgb_weights: the matrices"),
    ):
        wrong.save(path)
        with pytest.raises(ValueError, match=sentence):
            hash_grid.load(path)


def test_world_rays_come_to_ngp_space_as_points_do(field: HashGridField):
    space = NgpSpace(0.25, (0.1, 0.2, 0.3))
    origins, directions = np.random.default_rng(0).normal(size=(2, 10, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    moved, turned = rays_to_ngp(field.ngp_from_world, torch.from_numpy(origins), torch.from_numpy(directions))
    assert np.allclose(moved, space.points_to_ngp(origins), atol=1e-6)
    ahead = space.points_to_ngp(origins + 4.0 * directions)
    assert np.allclose(moved + turned, ahead, atol=1e-6)


def test_a_cell_below_zero_is_never_occupied_and_the_mean_bounds_the_threshold():
    thickness = torch.full((1, GRID_CELLS), -1.0)
    thickness[0, :8] = 0.001
    grid = hash_grid.occupancy(thickness)
    assert grid.bits[0, 0] == 255 and int(grid.bits.sum()) == 255


def test_cubes_are_covered_by_as_few_cascades_as_hold_them():
    assert [hash_grid.cascades_of(side) for side in (1.0, 2.0, 4.0, 128.0)] == [1, 2, 3, 8]
    assert hash_grid.cone_angle(1.0) == 0.0 and hash_grid.cone_angle(4.0) == 1 / 256
