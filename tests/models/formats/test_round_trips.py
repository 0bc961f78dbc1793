"""Every format that is written gives back what it was given, within the quantisation that it states."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from splat_files import Recipe, largest, matched, quaternion_error, recipes, scene

from h3d.models import formats
from h3d.models.formats.rows import LOGIT_LIMIT
from h3d.models.gaussians import Gaussians

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HALF_BYTE = 0.5 / 255 + 1e-6


def round_trip(folder: Path, suffix: str, value: Gaussians) -> Gaussians:
    path = folder / f"scene{suffix}"
    formats.write(path, value)
    return formats.read(path)


@SETTINGS
@given(recipe=recipes())
def test_ply_is_exact_and_keeps_the_order(tmp_path, recipe):
    value = scene(recipe)
    loaded = round_trip(tmp_path, ".ply", value)
    for field in ("means", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(loaded, field), getattr(value, field))
    assert quaternion_error(value, loaded) < 1e-6
    assert loaded.antialiased == recipe.antialiased


@SETTINGS
@given(recipe=recipes())
def test_compressed_ply_stays_within_a_step_of_its_chunk(tmp_path, recipe):
    value = scene(recipe)
    loaded = matched(value, round_trip(tmp_path, ".compressed.ply", value))
    extent = value.means.max(dim=0).values - value.means.min(dim=0).values
    steps = torch.tensor([2047, 1023, 2047])
    assert ((loaded.means - value.means).abs() <= extent / steps * 0.51 + 1e-6 * recipe.extent).all()
    spread = value.log_scales.max(dim=0).values - value.log_scales.min(dim=0).values
    assert ((loaded.log_scales - value.log_scales).abs() <= spread / steps * 0.51 + 1e-5).all()
    colors = value.sh[:, 0].max(dim=0).values - value.sh[:, 0].min(dim=0).values
    assert ((loaded.sh[:, 0] - value.sh[:, 0]).abs() <= colors / 255 * 0.51 + 1e-5).all()
    assert largest(loaded.sh[:, 1:] - value.sh[:, 1:]) <= 8 / 256 + 1e-6
    assert largest(loaded.opacities - value.opacities) <= HALF_BYTE
    assert quaternion_error(value, loaded) <= 0.0015
    assert loaded.antialiased == recipe.antialiased


@SETTINGS
@given(recipe=recipes())
def test_splat_keeps_positions_and_sizes_and_drops_sh(tmp_path, recipe):
    value = scene(recipe)
    loaded = matched(value, round_trip(tmp_path, ".splat", value))
    assert torch.equal(loaded.means, value.means)
    assert largest(loaded.log_scales - value.log_scales) <= 1e-4
    clipped = (0.5 + 0.28209479177387814 * value.sh[:, 0]).clamp(0, 1)
    assert largest(0.5 + 0.28209479177387814 * loaded.sh[:, 0] - clipped) <= HALF_BYTE
    assert largest(loaded.opacities - value.opacities) <= HALF_BYTE
    assert quaternion_error(value, loaded) <= 1.5 / 128
    assert loaded.sh_degree == 0


@SETTINGS
@given(recipe=recipes())
@pytest.mark.parametrize("version", [3, 4])
def test_spz_stays_within_its_fixed_steps(tmp_path, version, recipe):
    value = scene(recipe)
    path = tmp_path / "scene.spz"
    formats.spz.write(path, value, version=version)
    loaded = matched(value, formats.read(path))
    assert largest(loaded.means - value.means) <= max(recipe.extent / 2**18, 0.51 / 4096 * (recipe.extent > 30))
    assert largest(loaded.log_scales - value.log_scales.clamp(-10, 255 / 16 - 10)) <= 0.5 / 16 + 1e-5
    reach = 0.5 / 0.15
    assert largest(loaded.sh[:, 0] - value.sh[:, 0].clamp(-reach, reach)) <= 0.5 / 255 / 0.15 + 1e-5
    steps = torch.where(torch.arange(value.sh.shape[1] - 1) < 3, 1 / 32, 1 / 16)[:, None]
    assert ((loaded.sh[:, 1:] - value.sh[:, 1:].clamp(-1, 127 / 128)).abs() <= steps + 1e-5).all()
    assert largest(loaded.opacities - value.opacities) <= HALF_BYTE
    assert quaternion_error(value, loaded) <= 0.003
    assert loaded.antialiased == recipe.antialiased


@SETTINGS
@given(recipe=recipes())
@pytest.mark.parametrize("name", ["scene.sog", "folder/meta.json"])
def test_sog_stays_within_its_codebooks(tmp_path, name, recipe):
    value = scene(recipe)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    formats.write(folder / name, value)
    loaded = matched(value, formats.read(folder / name))
    reach = torch.log1p(value.means.abs().max(dim=0).values) * 2 + 1e-9
    step = reach / 65535 * (1 + value.means.abs())
    assert ((loaded.means - value.means).abs() <= step + 1e-6 * recipe.extent).all()
    # With 256 codes for values spread over a range, half of them evenly, none is farther than a step of 1/127.
    spread = float(value.log_scales.max() - value.log_scales.min())
    assert largest(loaded.log_scales - value.log_scales) <= spread / 100 + 1e-5
    colors = float(value.sh[:, 0].max() - value.sh[:, 0].min())
    assert largest(loaded.sh[:, 0] - value.sh[:, 0]) <= colors / 100 + 1e-5
    if recipe.degree > 0:
        rest = float(value.sh[:, 1:].max() - value.sh[:, 1:].min())
        assert largest(loaded.sh[:, 1:] - value.sh[:, 1:]) <= rest / 100 + 1e-5
    assert largest(loaded.opacities - value.opacities) <= HALF_BYTE
    assert quaternion_error(value, loaded) <= 0.009
    assert loaded.antialiased == recipe.antialiased


@pytest.mark.parametrize("suffix", list(formats.WRITABLE))
def test_opacity_of_exactly_0_or_1_comes_back_finite(tmp_path, suffix):
    value = scene(Recipe(seed=1, count=2, degree=0, extent=1.0))
    value.logit_opacities[:] = torch.tensor([-math.inf, math.inf])
    path = tmp_path / ("meta.json" if suffix == "meta.json" else f"scene{suffix}")
    formats.write(path, value)
    logits = matched(value, formats.read(path)).logit_opacities
    assert logits.tolist() == pytest.approx([-LOGIT_LIMIT, LOGIT_LIMIT])


def test_writing_spz_turns_axes_so_that_only_y_and_z_change_sign_on_disk(tmp_path):
    value = scene(Recipe(seed=2, count=1, degree=1, extent=1.0))
    value.means[:] = torch.tensor([0.25, 0.5, -0.125])
    formats.spz.write(tmp_path / "a.spz", value, version=3)
    import gzip

    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    bits = data[13]
    stored = [int.from_bytes(data[at : at + 3], "little", signed=True) / 2**bits for at in (16, 19, 22)]
    assert stored == [0.25, -0.5, 0.125]
