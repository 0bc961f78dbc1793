"""Proves that the scenes of the workloads are what they say: exact counts of real rows, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from h3d.app.bench import scenes
from h3d.app.bench.metrics import Skipped


@pytest.mark.parametrize("count", [1, 400, 1000, 1001, 4700])
def test_tiling_gives_exactly_as_many_rows_as_asked_for(count: int):
    rows = scenes.tiled(scenes.synthetic(1000), count)
    for name in ("ids", "means", "quats", "log_scales", "logit_opacities", "sh"):
        tensor = getattr(rows, name)
        assert len(tensor) == count and tensor.is_contiguous()
    assert len(rows.ids.unique()) == count


def test_copies_stand_side_by_side_and_own_their_memory():
    asset = scenes.synthetic(500)
    rows = scenes.tiled(asset, 1500)
    first, second = rows.means[:500], rows.means[500:1000]
    assert torch.allclose(second - first, (second - first)[0].expand(500, 3), atol=1e-5)
    _, radius = scenes.center_and_radius(asset)
    assert (second - first)[0].norm().item() == pytest.approx(2 * radius, rel=1e-5)
    assert rows.sh.untyped_storage().nbytes() == 3 * asset.sh.untyped_storage().nbytes()


def test_synthetic_rows_are_the_same_every_time():
    assert torch.equal(scenes.synthetic(100).means, scenes.synthetic(100).means)


def test_the_camera_looks_at_the_middle_from_the_distance_asked_for():
    asset = scenes.synthetic(2000)
    center, radius = scenes.center_and_radius(asset)
    camera = scenes.camera(asset, 2.0, 64, 36)
    np.testing.assert_allclose(camera.position + 2.0 * radius * camera.forward, center, atol=1e-9)


def test_without_the_captures_a_sentence_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv("H3D_DATA", raising=False)
    with pytest.raises(Skipped, match="biker.compressed.ply is a real capture; set H3D_DATA"):
        scenes.data_file("biker.compressed.ply")
    monkeypatch.setenv("H3D_DATA", str(tmp_path))
    with pytest.raises(Skipped, match="does not exist; H3D_DATA must hold splats/biker.compressed.ply"):
        scenes.data_file("biker.compressed.ply")
