"""Proves that a cache read from disk goes on as if it had never been left, and that a wrong file gets a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_unets import tiny_inputs, tiny_unet

from h3d.models.formats.errors import FormatError
from h3d.models.hash3d import Config, Grid, Hash3D
from h3d.models.hash3d.warp import Sight

CONFIG = Config(eta=0.7, grids=(Grid(20.0), Grid(90.0)), queue=2, max_age=30, check_share=0.2)


@torch.no_grad()
def run(cache: Hash3D, steps: range) -> list[torch.Tensor]:
    found = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        arguments = tiny_inputs(cache.unet)
        arguments["sample"] = torch.randn(1, 4, 8, 8, generator=generator).to(cache.unet.dtype).repeat(2, 1, 1, 1)
        arguments["timestep"] = 400 + step
        azimuth = float(torch.randint(0, 360, (), generator=generator))
        cache.set_camera(azimuth_degrees=azimuth, elevation_degrees=0, radius=1)
        found.append(cache.unet(**arguments).sample)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_resumed_is_the_run_never_left(tmp_path: Path, dtype: torch.dtype):
    unet = tiny_unet().to(dtype)
    with Hash3D(unet, CONFIG) as cache:
        run(cache, range(40))
        cache.save(tmp_path / "cache.safetensors")
        expected = run(cache, range(40, 80))
    with Hash3D(unet, CONFIG) as resumed:
        resumed.load(tmp_path / "cache.safetensors")
        found = run(resumed, range(40, 80))
    assert all(map(torch.equal, found, expected))
    before, after = cache.statistics(), resumed.statistics()
    assert after.totals == before.totals
    assert (after.counts == before.counts).all()
    assert after.similarity.tolist() == pytest.approx(before.similarity.tolist(), nan_ok=True)
    assert resumed.passes.calls == 80
    assert 0 < after.totals["hits"] < 80


def test_other_grids_and_limits_take_what_was_stored(tmp_path: Path):
    unet = tiny_unet()
    with Hash3D(unet, CONFIG) as cache:
        run(cache, range(30))
        cache.save(tmp_path / "cache.safetensors")
    resumed = Hash3D(unet, Config(grids=(Grid(180.0),), queue=1))
    resumed.load(tmp_path / "cache.safetensors")
    assert resumed.statistics().entries == 2
    assert resumed.statistics().totals["tries"] == cache.statistics().totals["tries"]


def test_an_empty_cache_can_be_kept(tmp_path: Path):
    unet = tiny_unet()
    Hash3D(unet).save(tmp_path / "cache.safetensors")
    resumed = Hash3D(unet)
    resumed.load(tmp_path / "cache.safetensors")
    assert resumed.statistics().entries == 0


def test_what_another_model_computed_is_refused(tmp_path: Path):
    with Hash3D(tiny_unet(seed=0), CONFIG) as cache:
        run(cache, range(5))
        cache.save(tmp_path / "cache.safetensors")
    other = Hash3D(tiny_unet(seed=1), CONFIG)
    with pytest.raises(FormatError, match="another model computed these features; start with an empty cache"):
        other.load(tmp_path / "cache.safetensors")
    assert other.step == 0


def test_a_damaged_file_changes_nothing(tmp_path: Path):
    path = tmp_path / "cache.safetensors"
    unet = tiny_unet()
    with Hash3D(unet, CONFIG) as cache:
        run(cache, range(5))
        cache.save(path)
        before: Any = cache.table
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(FormatError):
            cache.load(path)
        assert cache.table is before


def test_the_official_table_is_not_kept(tmp_path: Path):
    with pytest.raises(ValueError, match="lookup is official, a cache to compare with, which is not saved"):
        Hash3D(tiny_unet(), Config(lookup="official")).save(tmp_path / "cache.safetensors")


@torch.no_grad()
def test_what_cameras_saw_is_kept_with_the_features(tmp_path: Path):
    unet, config = tiny_unet(), Config(eta=1.0, warp=True)
    arguments = tiny_inputs(unet) | {"timestep": 400}

    def look(cache: Hash3D, azimuth: float) -> torch.Tensor:
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = azimuth / 50
        sight = Sight(pose, 0.9, torch.full((8, 8), 2.0))
        cache.set_camera(azimuth_degrees=azimuth, elevation_degrees=0, radius=1, sights=[sight])
        return cache.unet(**arguments).sample

    with Hash3D(unet, config) as cache:
        look(cache, 0.0)
        cache.set_camera(azimuth_degrees=100, elevation_degrees=0, radius=1)
        cache.unet(**arguments)
        cache.save(tmp_path / "cache.safetensors")
        expected, unmoved = look(cache, 10.0), look(cache, 0.0)
    with Hash3D(unet, config) as resumed:
        resumed.load(tmp_path / "cache.safetensors")
        assert torch.equal(look(resumed, 10.0), expected)
        assert resumed.table.nbytes == sum(entry.nbytes for entry in resumed.table.entries)
    assert not torch.equal(expected, unmoved)
