"""What each reader accepts: every layout, scalar type, order of fields and version, with values worked out by hand."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
import torch
from splat_files import (
    C0,
    Recipe,
    largest,
    matched,
    pack_3dgs,
    pack_ksplat,
    pack_ply,
    pack_spz,
    ply_names,
    quaternion_error,
    rows_of,
    scene,
)

from h3d.models import formats
from h3d.models.formats.axes import flipped
from h3d.renderers import harmonics


def load(tmp_path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    return formats.read(tmp_path / name)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_is_read_in_every_encoding_and_degree(tmp_path, encoding, degree):
    value = scene(Recipe(seed=3, count=70, degree=degree, extent=4.0))
    loaded = load(tmp_path, "a.ply", pack_3dgs(value, encoding=encoding))
    for field in ("means", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(loaded, field), getattr(value, field))
    assert loaded.ids.tolist() == list(range(70))


def test_ply_fields_are_found_by_name_in_any_order_with_extra_ones_and_other_types(tmp_path):
    value = scene(Recipe(seed=4, count=50, degree=2, extent=4.0))
    names, table = ply_names(2), rows_of(value)
    columns = {name: table[:, names.index(name)] for name in reversed(names)}
    columns = {"red": np.full(50, 7), "nx": np.zeros(50), **columns, "segment": np.arange(50)}
    types = {"red": "uchar", "segment": "int", "x": "double", "rot_3": "double"}
    loaded = load(tmp_path, "a.ply", pack_ply(columns, types=types))
    assert torch.equal(loaded.means, value.means)
    assert torch.equal(loaded.sh, value.sh)
    assert torch.equal(loaded.log_scales, value.log_scales)


def test_f_rest_of_a_ply_is_channel_major(tmp_path):
    value = scene(Recipe(seed=5, count=1, degree=1, extent=1.0))
    table = dict(zip(ply_names(1), rows_of(value).T, strict=True))
    for index in range(9):
        table[f"f_rest_{index}"] = np.array([float(index)])
    loaded = load(tmp_path, "a.ply", pack_ply(table))
    assert loaded.sh[0, 1:].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize("comment", ["SplatRenderMode: mip", "antialiased 1", "Antialiased: true"])
def test_a_comment_says_that_a_ply_is_antialiased(tmp_path, comment):
    value = scene(Recipe(seed=6, count=3, degree=0, extent=1.0))
    assert load(tmp_path, "a.ply", pack_3dgs(value, comments=("made by us", comment))).antialiased
    assert not load(tmp_path, "b.ply", pack_3dgs(value, comments=("antialiased 0",))).antialiased


def test_a_2dgs_ply_becomes_flat_gaussians_and_says_so(tmp_path):
    value = scene(Recipe(seed=7, count=3, degree=0, extent=1.0))
    table = dict(zip(ply_names(0), rows_of(value).T, strict=True))
    del table["scale_2"]
    loaded = load(tmp_path, "a.ply", pack_ply(table))
    expected = loaded.log_scales[:, :2].min(dim=1).values + math.log(0.01)
    assert torch.allclose(loaded.log_scales[:, 2], expected)
    assert "2DGS" in loaded.remark


def test_sh_of_degree_4_is_cut_to_3_and_says_so(tmp_path):
    value = scene(Recipe(seed=8, count=2, degree=0, extent=1.0))
    table = dict(zip(ply_names(0), rows_of(value).T, strict=True))
    table |= {f"f_rest_{i}": np.full(2, float(i)) for i in range(72)}
    loaded = load(tmp_path, "a.ply", pack_ply(table))
    assert loaded.sh[0, 1:, 1].tolist() == list(range(24, 39))
    assert "degree 4" in loaded.remark


def test_infinite_opacity_and_size_of_log_minus_infinity_mean_exactly_0_or_1(tmp_path):
    value = scene(Recipe(seed=9, count=2, degree=0, extent=1.0))
    value.logit_opacities[:] = torch.tensor([-math.inf, math.inf])
    value.log_scales[0, 0] = -math.inf
    loaded = load(tmp_path, "a.ply", pack_3dgs(value))
    assert loaded.opacities.tolist() == pytest.approx([1e-6, 1 - 1e-6], abs=1e-7)
    assert loaded.log_scales[0, 0] == -20


def test_quaternions_of_any_length_are_normalised(tmp_path):
    value = scene(Recipe(seed=10, count=3, degree=0, extent=1.0))
    table = rows_of(value)
    table[0, -4:] *= 1e-25
    table[1, -4:] *= 1e25
    columns = {name: table[:, i] for i, name in enumerate(ply_names(0))}
    assert quaternion_error(value, load(tmp_path, "a.ply", pack_ply(columns))) < 1e-6


def test_a_compressed_ply_of_12_floats_a_chunk_has_colours_between_0_and_1(tmp_path):
    bounds = [f"{side}_{part}{axis}" for part in ("", "scale_") for side in ("min", "max") for axis in "xyz"]
    fields = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1", *(f"property float {b}" for b in bounds)]
    lines += ["element vertex 1", *(f"property uint {f}" for f in fields), "end_header", ""]
    position = 2047 << 21 | 0 << 11 | 2047
    rotation = 2 << 30 | 512 << 20 | 512 << 10 | 1023
    data = struct.pack("<12f", 1, 2, 3, 5, 6, 7, -4, -4, -4, -2, -2, -2)
    data += struct.pack("<4I", position, rotation, 2047 << 21, 255 << 24 | 0 << 16 | 51 << 8 | 204)
    loaded = load(tmp_path, "a.compressed.ply", "\n".join(lines).encode() + data)
    assert loaded.means.tolist() == [[5, 2, 7]]
    assert loaded.log_scales.tolist() == [[-2, -4, -4]]
    assert (0.5 + C0 * loaded.sh[0, 0]).tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert loaded.opacities.tolist() == pytest.approx([0.8])
    # The third of w x y z was left out; the last is at its largest, sqrt(1/2).
    assert loaded.quats[0].tolist() == pytest.approx([0, 0, 0.5**0.5, 0.5**0.5], abs=2e-3)


def test_a_splat_row_is_read_as_its_layout_says(tmp_path):
    row = struct.pack("<6f", 1, -2, 3, 0.5, 1, 2) + bytes([255, 0, 51, 204]) + bytes([128, 128, 255, 128])
    loaded = load(tmp_path, "a.splat", row)
    assert loaded.means.tolist() == [[1, -2, 3]]
    assert loaded.scales[0].tolist() == pytest.approx([0.5, 1, 2])
    assert (0.5 + C0 * loaded.sh[0, 0]).tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert loaded.opacities.tolist() == pytest.approx([0.8])
    assert loaded.quats.tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_ksplat_is_read_at_every_level_and_degree(tmp_path, level, degree):
    value = scene(Recipe(seed=11, count=300, degree=degree, extent=20.0))
    loaded = load(tmp_path, "a.ksplat", pack_ksplat(value, level))
    assert formats.describe(tmp_path / "a.ksplat").version == f"0.1, level {level}"
    loaded = matched(value, loaded)
    assert largest(loaded.means - value.means) <= (1e-6 if level == 0 else 5 / 65535)
    assert largest(loaded.log_scales - value.log_scales) <= (1e-5 if level == 0 else 1e-3)
    assert largest(loaded.opacities - value.opacities) <= 0.5 / 255 + 1e-6
    assert quaternion_error(value, loaded) <= (1e-6 if level == 0 else 1e-3)
    assert largest(loaded.sh[:, 1:] - value.sh[:, 1:]) <= (1e-6, 1e-3, 3 / 255)[level]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_spz_is_read_in_every_gzip_version(tmp_path, version, degree):
    value = scene(Recipe(seed=12, count=60, degree=degree, extent=4.0))
    loaded = load(tmp_path, "a.spz", pack_spz(value, version))
    assert largest(loaded.means - value.means) <= (2e-3 if version == 1 else 0.51 / 4096)
    assert largest(loaded.log_scales - value.log_scales.clamp(-10, 5.9375)) <= 0.51 / 16
    assert largest(loaded.sh[:, 1:] - value.sh[:, 1:].clamp(-1, 127 / 128)) <= 0.51 / 128
    assert largest(loaded.opacities - value.opacities) <= 0.51 / 255
    # Bytes of x y z leave w uncertain where it is small.
    assert quaternion_error(value, loaded) <= (0.003 if version == 3 else 0.13)


@pytest.mark.parametrize(("number", "name"), [(4, "RUB"), (6, "RDF"), (1, "LDB"), (8, "RUF"), (12, "RFU"), (13, "LBD")])
def test_the_coordinate_extension_of_spz_turns_every_system_to_right_down_forward(tmp_path, number, name):
    value = scene(Recipe(seed=13, count=40, degree=1, extent=4.0))
    # As if (x, y, z) on disk pointed along the letters of the name: the packer itself flips y and z.
    data = bytearray(gzip.decompress(pack_spz(flipped(value, (1, -1, -1)), 3)))
    data[14] |= 2
    record = struct.pack("<III", 0xADBE0003, 4, number)
    loaded = load(tmp_path, "a.spz", gzip.compress(bytes(data) + record))
    to_ours = {"R": (1, 0, 0), "L": (-1, 0, 0), "D": (0, 1, 0), "U": (0, -1, 0), "F": (0, 0, 1), "B": (0, 0, -1)}
    matrix = torch.tensor([to_ours[letter] for letter in name], dtype=torch.float32)
    assert largest(loaded.means - value.means @ matrix) < 0.51 / 4096
    covariance = covariances(value)
    assert largest(covariances(loaded) - matrix.T @ covariance @ matrix) < 0.1 * largest(covariance)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    before = torch.einsum("dk,nkc->ndc", harmonics.basis(directions, 1), value.sh)
    after = torch.einsum("dk,nkc->ndc", harmonics.basis(directions @ matrix, 1), loaded.sh)
    assert largest(after - before) < 0.03


def covariances(value) -> torch.Tensor:
    w, x, y, z = value.quats.unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    rotation = torch.stack(rows, -1).reshape(-1, 3, 3)
    return rotation @ torch.diag_embed(value.scales.square()) @ rotation.transpose(1, 2)


def test_a_point_cloud_becomes_small_round_gaussians_and_says_so(tmp_path):
    x, y = np.meshgrid(np.arange(10.0), np.arange(10.0))
    columns = {"x": x.ravel(), "y": y.ravel(), "z": np.zeros(100)}
    columns |= {"red": np.full(100, 255), "green": np.zeros(100), "blue": np.full(100, 51)}
    types = {"red": "uchar", "green": "uchar", "blue": "uchar"}
    loaded = load(tmp_path, "a.ply", pack_ply(columns, types=types))
    # Inside the grid the three nearest others are one unit away; at the corners one is sqrt(2) away.
    assert loaded.scales[55].tolist() == pytest.approx([0.5] * 3)
    assert loaded.scales[0].tolist() == pytest.approx([(2 + 2**0.5) / 6] * 3)
    assert (0.5 + C0 * loaded.sh[0, 0]).tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert loaded.quats[0].tolist() == [1, 0, 0, 0]
    assert "point cloud" in loaded.remark


def test_points_at_one_place_and_lone_points_keep_sane_sizes(tmp_path):
    rng = np.random.default_rng(0)
    points = np.concatenate([np.zeros((5000, 3)), rng.uniform(-1, 1, (500, 3)), [[1e6, 0, 0]]])
    loaded = load(tmp_path, "a.ply", pack_ply({name: points[:, i] for i, name in enumerate("xyz")}))
    assert float(loaded.scales.max()) < 2
    assert float(loaded.scales.min()) > 1e-5
    assert "grey" in loaded.remark


def test_a_cloud_of_one_point_is_read(tmp_path):
    loaded = load(tmp_path, "a.ply", pack_ply({"x": np.ones(1), "y": np.ones(1), "z": np.ones(1)}))
    assert len(loaded) == 1
