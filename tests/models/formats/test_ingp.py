"""Proves instant-ngp's snapshots: layout and counts of the official configurations, exact round trips, refusals."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from grid_reference import encode, network
from snapshot_files import GRID, density_cells, parameters, snapshot, write_snapshot

from h3d.models.datasets import NgpSpace
from h3d.models.formats import ingp
from h3d.models.formats.errors import FormatError
from h3d.models.hash_grid import HashGridField, load
from h3d.renderers import harmonics
from h3d.renderers.fields import GRID_CELLS, FieldOptions, render_rays
from h3d.renderers.hash_encoding import HashGridConfig, initial_table, num_entries, per_level_scale
from h3d.renderers.mlp import initial_weights

ARRAYS = ("table", "thickness", "aabb", "ngp_from_world")


def same(a: HashGridField, b: HashGridField) -> bool:
    """Bit for bit."""
    networks = zip((*a.density_weights, *a.rgb_weights), (*b.density_weights, *b.rgb_weights), strict=True)
    arrays = all(torch.equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)
    values = (a.encoding, a.rgb_activation, a.up) == (b.encoding, b.rgb_activation, b.up)
    return arrays and values and all(torch.equal(x, y) for x, y in networks)


def official(seed: int = 0, **changes: Any) -> HashGridField:
    """An untrained field of instant-ngp's configs/nerf/base.json for aabb_scale 4."""
    generator = torch.Generator().manual_seed(seed)
    encoding = HashGridConfig(levels=8, features=4, log2_table_size=19, per_level_scale=per_level_scale(16, 8192, 8))
    return replace(
        HashGridField(
            encoding=encoding,
            table=initial_table(encoding, generator),
            density_weights=tuple(initial_weights((32, 64, 16), generator)),
            rgb_weights=tuple(initial_weights((32, 64, 64, 3), generator)),
            thickness=torch.zeros(3, GRID_CELLS),
            aabb=torch.tensor([[-1.5] * 3, [2.5] * 3]),
            ngp_from_world=torch.from_numpy(NgpSpace(0.33, (0.5, 0.5, 0.5)).matrix),
        ),
        **changes,
    )


def small(seed: int = 0, **changes: Any) -> HashGridField:
    """A field with values that are no halves, of a network that is not the official one."""
    generator = torch.Generator().manual_seed(seed)
    return replace(
        HashGridField(
            encoding=GRID,
            table=torch.rand(num_entries(GRID), 2, generator=generator),
            density_weights=tuple(initial_weights((8, 24, 24, 16), generator)),
            rgb_weights=tuple(initial_weights((32, 32, 3), generator)),
            thickness=torch.rand(2, GRID_CELLS, generator=generator),
            aabb=torch.tensor([[-0.5] * 3, [1.5] * 3]),
            ngp_from_world=torch.from_numpy(NgpSpace(0.25, (0.1, 0.2, 0.3)).matrix),
            up=(0.0, -1.0, 0.0),
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("levels", "features", "finest", "count"),
    [
        (8, 4, 2048 * 1, 11_681_792),
        (8, 4, 2048 * 4, 12_855_296),
        (8, 4, 2048 * 16, 13_041_664),
        (8, 4, 2048 * 128, 13_647_872),
        (16, 2, 2048 * 4, 13_074_912),
        (16, 2, 2048 * 16, 13_623_184),
        (16, 2, 2048 * 1, 12_196_240),
    ],
)
def test_official_grids_have_their_published_counts(levels: int, features: Any, finest: int, count: int):
    scale = per_level_scale(16, finest, levels)
    config = HashGridConfig(levels=levels, features=features, per_level_scale=scale)
    assert num_entries(config) * features == count


def test_an_official_snapshot_has_the_published_layout(tmp_path: Path):
    field = official()
    ingp.write(tmp_path / "a.ingp", field)
    root = msgspec.msgpack.decode(gzip.decompress((tmp_path / "a.ingp").read_bytes()))
    held = root["snapshot"]
    assert held["n_params"] == 12_855_296 + 10_240
    assert len(held["density_grid_binary"]) == 2 * 3 * 128**3 and held["density_grid_size"] == 128
    assert root["encoding"]["per_level_scale"] == pytest.approx(2.43803, abs=1e-5)
    assert [root[name]["n_hidden_layers"] for name in ("network", "rgb_network")] == [1, 2]
    params = np.frombuffer(held["params_binary"], "<f2")
    density_in, density_out, rgb_in, rgb_hidden, rgb_out = np.split(
        params[:10_240], np.cumsum([64 * 32, 16 * 64, 64 * 32, 64 * 64])
    )
    for stored, weights in (
        (density_in, field.density_weights[0]),
        (density_out, field.density_weights[1]),
        (rgb_in, field.rgb_weights[0]),
        (rgb_hidden, field.rgb_weights[1]),
        (rgb_out[: 3 * 64], field.rgb_weights[2]),
    ):
        assert np.array_equal(stored, weights.half().numpy().ravel())
    assert not rgb_out[3 * 64 :].any() and len(rgb_out) == 16 * 64
    assert np.array_equal(params[10_240:], field.table.half().numpy().ravel())


@pytest.mark.parametrize(("otype", "multiple"), [("FullyFusedMLP", 16), ("CutlassMLP", 8), ("FullyFusedMLP", 8)])
@pytest.mark.parametrize("suffix", [".ingp", ".msgpack"])
def test_a_snapshot_written_by_hand_is_read_as_it_was_meant(tmp_path: Path, otype: str, multiple: int, suffix: str):
    # The third has the padding of a machine that ran the fused network as the other one.
    content = snapshot(multiple=multiple)
    content["network"]["otype"] = content["rgb_network"]["otype"] = otype
    field = ingp.read(write_snapshot(tmp_path / f"a{suffix}", content))
    parts = {name: torch.from_numpy(part.astype(np.float32)) for name, part in parameters(multiple=multiple).items()}
    assert torch.equal(field.table, parts["grid"])
    assert torch.equal(field.density_weights[0], parts["density_in"][:, : GRID.width])
    assert torch.equal(field.density_weights[1], parts["density_out"])
    assert torch.equal(field.rgb_weights[2], parts["rgb_out"][:3])
    assert torch.equal(field.thickness, torch.from_numpy(density_cells(2).astype(np.float32)))
    assert field.aabb.tolist() == [[-0.5] * 3, [1.5] * 3]
    assert field.remark == "an instant-ngp snapshot after 35000 steps"
    points = np.random.default_rng(0).normal(size=(20, 3))
    moved = points @ field.ngp_from_world.numpy()[:3, :3].T + field.ngp_from_world.numpy()[:3, 3]
    # instant-ngp: scale, offset, then (x, y, z) <- (y, z, x).
    assert np.allclose(moved, (points * 0.125 + [0.25, 0.5, 0.75])[:, [1, 2, 0]])
    assert np.allclose(moved, NgpSpace(0.125, (0.25, 0.5, 0.75)).points_to_ngp(points))


def test_a_snapshot_gives_the_density_and_colour_of_its_formulas(tmp_path: Path):
    field = ingp.read(write_snapshot(tmp_path / "a.msgpack", snapshot()))
    parts = {name: torch.from_numpy(part.astype(np.float64)) for name, part in parameters().items()}
    generator = torch.Generator().manual_seed(1)
    positions = torch.rand(50, 3, generator=generator, dtype=torch.float64) * 2.0 - 0.5
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=1)
    encoded = encode((positions + 0.5) / 2.0, parts["grid"], GRID)
    filled = torch.nn.functional.pad(encoded, (0, 8))
    features = network(filled, [parts["density_in"], parts["density_out"]])
    inputs = torch.cat([features, harmonics.basis(directions, 3)], dim=1)
    raw = network(inputs, [parts["rgb_in"], parts["rgb_hidden"], parts["rgb_out"]])[:, :3]
    density, rgb = field.query(positions.float(), directions.float())
    assert torch.allclose(density.double(), torch.exp(features[:, 0]), rtol=1e-4)
    assert torch.allclose(rgb.double(), torch.sigmoid(raw), atol=1e-5)


@pytest.mark.parametrize("is_hdr", [False, True])
def test_a_snapshot_is_drawn_as_its_density_and_colour_say(tmp_path: Path, is_hdr: bool):
    content = snapshot()
    content["snapshot"]["nerf"]["dataset"]["is_hdr"] = is_hdr
    content["snapshot"]["density_grid_binary"] = b""
    field = ingp.read(write_snapshot(tmp_path / "a.msgpack", content))
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand(16, 3, generator=generator) - torch.tensor([0.0, 0.0, 3.0])
    towards = torch.rand(16, 3, generator=generator) - origins
    directions = torch.nn.functional.normalize(towards, dim=1)
    options = FieldOptions(cone_angle=1 / 256, stop_transmittance=1e-4)
    expected = render_rays(field.query, origins, directions, grid=field.grid, aabb=field.aabb, options=options)
    matrix = torch.linalg.inv(field.ngp_from_world)
    world = (origins.double() @ matrix[:3, :3].T + matrix[:3, 3]).float()
    turned = torch.nn.functional.normalize(directions.double() @ matrix[:3, :3].T, dim=1).float()
    seen = field.render(world, turned)
    assert float(expected.alpha.max()) > 0.5
    assert torch.allclose(seen.alpha, expected.alpha, atol=1e-3)
    assert torch.allclose(seen.rgb, expected.rgb, rtol=1e-2, atol=5e-3)


def test_what_is_read_is_written_and_read_again_bit_for_bit(tmp_path: Path):
    first = ingp.read(write_snapshot(tmp_path / "a.ingp", snapshot()))
    for name in ("b.ingp", "b.msgpack"):
        ingp.write(tmp_path / name, first)
        again = ingp.read(tmp_path / name)
        assert same(first, again) and again.remark == first.remark
    ingp.write(tmp_path / "c.ingp", ingp.read(tmp_path / "b.ingp"))
    assert (tmp_path / "c.ingp").read_bytes() == (tmp_path / "b.ingp").read_bytes()


def test_a_field_comes_back_as_its_halves(tmp_path: Path):
    field = small()
    ingp.write(tmp_path / "a.ingp", field)
    halves = {
        "table": field.table.half().float(),
        "thickness": field.thickness.half().float(),
        "density_weights": tuple(w.half().float() for w in field.density_weights),
        "rgb_weights": tuple(w.half().float() for w in field.rgb_weights),
    }
    assert same(ingp.read(tmp_path / "a.ingp"), replace(field, **halves))


def test_the_same_field_gives_the_same_bytes_wherever_it_has_been(tmp_path: Path):
    ingp.write(tmp_path / "a.ingp", small())
    ingp.read(tmp_path / "a.ingp").save(tmp_path / "a.safetensors")
    ingp.write(tmp_path / "b.ingp", load(tmp_path / "a.safetensors"))
    assert (tmp_path / "a.ingp").read_bytes() == (tmp_path / "b.ingp").read_bytes()


def test_keys_of_other_programs_survive_in_snapshots_and_through_our_own_files(tmp_path: Path):
    content = snapshot()
    content["snapshot"]["optimizer_binary"] = b"moments"
    field = ingp.read(write_snapshot(tmp_path / "a.ingp", content))
    field.save(tmp_path / "a.safetensors")
    ingp.write(tmp_path / "b.msgpack", load(tmp_path / "a.safetensors"))
    again = msgspec.msgpack.decode((tmp_path / "b.msgpack").read_bytes())
    for key in ("training_step", "loss", "camera", "exposure", "render_aabb", "up_dir"):
        assert again["snapshot"][key] == content["snapshot"][key], key
    held = again["snapshot"]["nerf"]["dataset"]
    assert held.items() >= content["snapshot"]["nerf"]["dataset"].items()
    assert again["optimizer"] == content["optimizer"] and again["loss"] == content["loss"]
    assert "optimizer_binary" not in again["snapshot"]


def test_up_is_kept_in_the_axes_of_the_photos(tmp_path: Path):
    content = snapshot()
    content["snapshot"]["up_dir"] = [0.0, 0.0, 1.0]
    assert ingp.read(write_snapshot(tmp_path / "a.ingp", content)).up == (1.0, 0.0, 0.0)
    ingp.write(tmp_path / "b.ingp", small(up=(0.0, 0.6, 0.8)))
    assert ingp.read(tmp_path / "b.ingp").up == (0.0, 0.6, 0.8)


def test_photos_of_mitsuba_keep_their_axes(tmp_path: Path):
    content = snapshot()
    content["snapshot"]["nerf"]["dataset"]["from_mitsuba"] = True
    field = ingp.read(write_snapshot(tmp_path / "a.ingp", content))
    expected = np.diag([0.125, 0.125, 0.125, 1.0])
    expected[:3, 3] = [0.25, 0.5, 0.75]
    assert np.array_equal(field.ngp_from_world.numpy(), expected)
    ingp.write(tmp_path / "b.ingp", field)
    assert same(field, ingp.read(tmp_path / "b.ingp"))


def test_hdr_photos_make_an_exponential_colour(tmp_path: Path):
    content = snapshot()
    content["snapshot"]["nerf"]["dataset"]["is_hdr"] = True
    field = ingp.read(write_snapshot(tmp_path / "a.ingp", content))
    plain = ingp.read(write_snapshot(tmp_path / "b.ingp", snapshot()))
    positions, directions = torch.rand(30, 3), torch.nn.functional.normalize(torch.randn(30, 3), dim=1)
    logistic = plain.query(positions, directions)[1]
    assert torch.allclose(field.query(positions, directions)[1], logistic / (1.0 - logistic), rtol=1e-3)
    assert "HDR" in field.remark
    field.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").rgb_activation == "exponential"


def test_remarks_say_what_is_not_applied_or_missing(tmp_path: Path):
    content = snapshot()
    content["snapshot"]["render_aabb"] = {"min": [0.1] * 3, "max": [0.9] * 3}
    content["snapshot"]["density_grid_binary"] = b""
    field = ingp.read(write_snapshot(tmp_path / "a.ingp", content))
    assert "its crop box is not applied" in field.remark and "without a density grid" in field.remark
    assert bool((field.grid.bits == 255).all())


def _set(content: dict[str, Any], place: str, value: Any) -> None:
    *path, name = place.split(".")
    for step in path:
        content = content[step]
    content[name] = value


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("snapshot.version", 0, "snapshot: version 0, must be 1 or newer"),
        ("snapshot.mode", "sdf", "snapshot: its mode is 'sdf', only 'nerf' is read"),
        ("snapshot.params_type", "double", "parameters: params_type is 'double'"),
        ("snapshot.n_params", 7, "parameters: n_params is 7, params_binary has"),
        ("snapshot.aabb", {"min": [0, 0, 0], "max": [1, 1, 2]}, "aabb: is "),
        ("snapshot.nerf.aabb_scale", 3, "aabb_scale: is 3, must be a power of two"),
        ("snapshot.nerf.aabb_scale", 2**40, "aabb_scale: is 1099511627776"),
        ("snapshot.density_grid_size", 64, "density grid: its side is 64"),
        ("snapshot.density_grid_binary", b"\0\0", "density grid: has 2 bytes, 2 cascades have"),
        ("snapshot.nerf.dataset.scale", float("nan"), "dataset: scale nan"),
        ("snapshot.nerf.dataset.n_extra_learnable_dims", 16, "dataset: its colours depend on 16 more inputs"),
        ("snapshot.nerf.dataset.has_light_dirs", True, "dataset: its colours depend on 3 more inputs"),
        ("encoding.otype", "Frequency", "encoding: positions are encoded by 'Frequency', must be a hash grid"),
        ("encoding.otype", "DenseGrid", "encoding: positions are encoded by 'DenseGrid'"),
        ("encoding.interpolation", "Smoothstep", "encoding: the grid is CoherentPrime and Smoothstep"),
        ("encoding.n_levels", 1 << 40, "encoding: levels: 1099511627776; must be 1 to 32"),
        ("encoding.log2_hashmap_size", 24, "parameters: holds [0-9,]+, its configuration needs [0-9,]+ "),
        ("encoding.per_level_scale", float("nan"), "encoding: per_level_scale: nan"),
        ("network.n_neurons", 1 << 30, "network: 1 layers of 1073741824"),
        ("network.activation", "Sine", "network: is a FullyFusedMLP with Sine and None"),
        ("network.n_output_dims", 8, "network: gives 8 features"),
        ("rgb_network.n_hidden_layers", 5, "parameters: holds "),
        ("dir_encoding", {"otype": "Frequency"}, "dir_encoding: directions are encoded by 'Frequency'"),
        ("network", 5, "keys: no NeRF snapshot of instant-ngp \\(Expected `object`, got `int` - at `\\$.network`"),
    ],
)
def test_a_snapshot_that_cannot_be_drawn_gets_one_sentence(tmp_path: Path, place: str, value: Any, sentence: str):
    content = snapshot()
    _set(content, place, value)
    path = write_snapshot(tmp_path / "a.msgpack", content)
    with pytest.raises(FormatError, match=f"a.msgpack: {sentence}") as caught:
        ingp.read(path)
    assert re.fullmatch(r"[^\n]+; [^\n]+", str(caught.value))


@pytest.mark.parametrize("place", ["snapshot", "encoding", "network", "snapshot.params_binary", "snapshot.n_params"])
def test_a_missing_key_is_named(tmp_path: Path, place: str):
    content: Any = snapshot()
    *path, name = place.split(".")
    part = content
    for step in path:
        part = part[step]
    del part[name]
    with pytest.raises(FormatError, match=f"missing required field `{name}`"):
        ingp.read(write_snapshot(tmp_path / "a.msgpack", content))


def test_a_parameter_that_is_no_number_is_named(tmp_path: Path):
    content = snapshot()
    params = bytearray(content["snapshot"]["params_binary"])
    params[200:202] = np.float16(np.nan).tobytes()
    content["snapshot"]["params_binary"] = bytes(params)
    with pytest.raises(FormatError, match="parameters: parameter 100 is nan; the training went astray"):
        ingp.read(write_snapshot(tmp_path / "a.msgpack", content))


def test_cut_and_damaged_streams_are_said(tmp_path: Path):
    path = write_snapshot(tmp_path / "a.ingp", snapshot())
    data = path.read_bytes()
    for damaged, sentence in (
        (data[: len(data) // 2], "compression: the stream has no end"),
        (data + b"more", "compression: 4 bytes follow its end"),
        (data[:100] + bytes(50) + data[150:], "compression: Error -3|MessagePack: |compression: "),
        (b"", "MessagePack: "),
        (gzip.decompress(data)[:-9], "MessagePack: Input data was truncated"),
        (b"\x91" * 100_000, "keys: |MessagePack: "),
        (b"\xdf\xff\xff\xff\xff\xa1a", "MessagePack: "),
    ):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=sentence):
            ingp.read(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path):
    path = tmp_path / "a.ingp"
    path.write_bytes(gzip.compress(bytes(300 << 20), 1))
    with pytest.raises(FormatError, match="unpacks to more than 268,435,456, which no snapshot does"):
        ingp.read(path)


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        (small(table=torch.full((num_entries(GRID), 2), 1e6)), "a parameter is 1e\\+06 in size, halves reach 65504"),
        (small(rgb_weights=tuple(initial_weights((32, 16, 32, 3)))), "hidden layers of the rgb network"),
        (small(density_weights=tuple(initial_weights((8, 12, 16)))), "hidden layers of the density network"),
        (small(aabb=torch.tensor([[0.0] * 3, [1.5] * 3])), "is no cube about 0.5"),
        (small(ngp_from_world=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).double()), "is turned against NGP"),
    ],
)
def test_what_a_snapshot_cannot_say_is_refused_before_anything_is_written(
    tmp_path: Path, field: HashGridField, sentence: str
):
    with pytest.raises(FormatError, match=sentence):
        ingp.write(tmp_path / "a.ingp", field)
    assert list(tmp_path.iterdir()) == []
