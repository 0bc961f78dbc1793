"""Proves splatfacto's checkpoints: every column, the data parser's transform undone, folders, refusals."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from snapshot_files import nerfstudio_state, splatfacto_state, write_checkpoint

from h3d.models import formats
from h3d.models.field_files import is_field
from h3d.models.formats import nerfstudio_checkpoint
from h3d.models.formats.errors import FormatError
from h3d.renderers.gaussians import RasterOptions, rasterize_gaussians

CONFIG = """!!python/object:nerfstudio.engine.trainer.TrainerConfig
pipeline: !!python/object:nerfstudio.pipelines.base_pipeline.VanillaPipelineConfig
  model: !!python/object:nerfstudio.models.splatfacto.SplatfactoModelConfig
    rasterize_mode: {mode}
    sh_degree: 3
"""
TURN = np.array([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]])
SHIFT, SCALE = np.array([0.3, -0.2, 1.5]), 0.25


def run_folder(
    tmp_path: Path, state: dict[str, torch.Tensor], *, mode: str = "classic", transform: bool = True
) -> Path:
    """outputs/EXPERIMENT/splatfacto/TIME as nerfstudio leaves it."""
    folder = tmp_path / "2026-01-01_000000"
    write_checkpoint(folder / "nerfstudio_models" / "step-000029999.ckpt", state)
    (folder / "config.yml").write_text(CONFIG.format(mode=mode))
    if transform:
        rows = np.concatenate([TURN, SHIFT[:, None]], axis=1)
        content = {"transform": rows.tolist(), "scale": SCALE}
        (folder / "dataparser_transforms.json").write_text(json.dumps(content))
    return folder


def column(state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return state[f"_model.gauss_params.{name}"]


def test_every_column_is_where_it_belongs(tmp_path: Path):
    state = splatfacto_state()
    read = formats.read(run_folder(tmp_path, state, transform=False))
    assert torch.equal(read.means, column(state, "means"))
    assert torch.equal(read.log_scales, column(state, "scales"))
    assert torch.equal(read.logit_opacities, column(state, "opacities")[:, 0])
    assert torch.equal(read.sh[:, 0], column(state, "features_dc"))
    assert torch.equal(read.sh[:, 1:], column(state, "features_rest"))
    quats = column(state, "quats")
    torch.testing.assert_close(read.quats, quats / quats.norm(dim=1, keepdim=True))
    assert not read.antialiased
    assert read.remark == (
        "nerfstudio's splatfacto after 29999 steps, in nerfstudio's own coordinates, "
        "there is no dataparser_transforms.json beside it"
    )


def test_the_data_parsers_transform_is_undone(tmp_path: Path):
    state = splatfacto_state()
    read = formats.read(run_folder(tmp_path, state, mode="antialiased"))
    assert read.antialiased and read.remark == "nerfstudio's splatfacto after 29999 steps"
    # nerfstudio goes from the world to its own coordinates by (TURN x + SHIFT) SCALE.
    there = (read.means.double().numpy() @ TURN.T + SHIFT) * SCALE
    np.testing.assert_allclose(there, column(state, "means").numpy(), atol=1e-5)
    sizes = read.log_scales + np.log(SCALE)
    torch.testing.assert_close(sizes, column(state, "scales"))


def test_what_our_own_method_of_nerfstudio_says_of_antialiasing_is_taken(tmp_path: Path):
    folder = run_folder(tmp_path, splatfacto_state())
    ours = (
        "  model: !!python/object:h3d.app.nerfstudio_method.GaussiansModelConfig\n    training: !!python/object:x.Y\n"
    )
    (folder / "config.yml").write_text(f"pipeline: !!python/object:a.B\n{ours}      antialiased: true\n")
    assert formats.read(folder).antialiased


def test_the_same_picture_is_seen_from_the_same_place_in_either_world(tmp_path: Path):
    state = splatfacto_state(60)
    scene = formats.read(run_folder(tmp_path / "scene", state, transform=False))
    world = formats.read(run_folder(tmp_path / "world", state))
    camera = np.eye(4)
    camera[:3, 3] = [0.1, 0.2, -6.0]
    moved = np.eye(4)
    moved[:3, :3] = TURN.T @ camera[:3, :3]
    moved[:3, 3] = TURN.T @ (camera[:3, 3] / SCALE - SHIFT)
    K = torch.tensor([[50.0, 0.0, 24.0], [0.0, 50.0, 18.0], [0.0, 0.0, 1.0]])
    pictures = []
    for rows, pose in ((scene, camera), (world, moved)):
        viewmats = torch.from_numpy(np.linalg.inv(pose)).float()[None]
        arrays = (rows.means, rows.quats, rows.scales, rows.opacities, rows.sh)
        options = RasterOptions(depth=False, backend="cpu")
        pictures.append(rasterize_gaussians(*arrays, viewmats, K[None], 48, 36, options=options).rgb)
    assert float(pictures[0].std()) > 0.05
    torch.testing.assert_close(pictures[0], pictures[1], atol=2e-3, rtol=0.0)


def test_without_harmonics_colours_are_a_sigmoid(tmp_path: Path):
    state = splatfacto_state(degree=0)
    read = formats.read(run_folder(tmp_path, state))
    assert read.sh.shape == (20, 1, 3)
    rgb = 0.5 + 0.28209479177387814 * read.sh[:, 0]
    torch.testing.assert_close(rgb, column(state, "features_dc").sigmoid())


@pytest.mark.parametrize("wrapped", ["_model.module.", "module._model."])
def test_older_names_and_those_of_several_gpus_are_read(tmp_path: Path, wrapped: str):
    state = splatfacto_state()
    old = {wrapped + name.split(".")[-1]: value for name, value in state.items() if "gauss_params" in name}
    read = formats.read(write_checkpoint(tmp_path / "a.ckpt", old))
    assert torch.equal(read.means, column(state, "means"))


def test_rows_that_are_not_finite_are_left_out_and_counted(tmp_path: Path):
    state = splatfacto_state()
    column(state, "means")[3, 1] = float("nan")
    column(state, "scales")[7, 0] = float("inf")
    read = formats.read(write_checkpoint(tmp_path / "a.ckpt", state))
    assert len(read) == 18 and "2 rows that are not finite were left out" in read.remark
    assert torch.equal(read.means[3], column(state, "means")[4])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quats": None}, "gauss_params.quats: is not in the checkpoint"),
        ({"opacities": torch.zeros(4, 1)}, r"opacities: its shape is \[4, 1\], it must be \[20, 1\]"),
        ({"features_rest": torch.zeros(20, 24, 3)}, "features_rest: has 24 harmonics a row"),
        ({"means": torch.full((20, 3), float("nan"))}, "the file holds 0 Gaussians"),
        ({"quats": torch.zeros(20, 4)}, "vertex 0: .* is all zero"),
    ],
)
def test_a_checkpoint_that_cannot_be_drawn_gets_one_sentence(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], sentence: str
):
    state = splatfacto_state()
    for name, value in changes.items():
        state.pop(f"_model.gauss_params.{name}")
        if value is not None:
            state[f"_model.gauss_params.{name}"] = value
    with pytest.raises(FormatError, match=sentence) as caught:
        formats.read(write_checkpoint(tmp_path / "a.ckpt", state))
    assert re.fullmatch(r"[^\n]+: [^\n]+; [^\n]+", str(caught.value))


def test_a_mirrored_transform_is_refused(tmp_path: Path):
    folder = run_folder(tmp_path, splatfacto_state())
    mirrored = {"transform": np.diag([1.0, 1.0, -1.0, 1.0])[:3].tolist(), "scale": 1.0}
    (folder / "dataparser_transforms.json").write_text(json.dumps(mirrored))
    with pytest.raises(FormatError, match="cannot be used \\(transform must not mirror\\)"):
        formats.read(folder)


def test_a_checkpoint_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    torch.save({"pipeline": splatfacto_state(), "extra": Hostile()}, tmp_path / "a.ckpt")
    with pytest.raises(FormatError, match=r"it asks for \w+\.system to be called"):
        formats.read(tmp_path / "a.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_fields_and_gaussians_of_nerfstudio_find_their_own_door(tmp_path: Path):
    splats = run_folder(tmp_path, splatfacto_state())
    field = write_checkpoint(tmp_path / "field.ckpt", nerfstudio_state("torch", levels=1))
    assert not is_field(splats) and is_field(field)
    assert formats.find_scene(splats).name == "step-000029999.ckpt"
    with pytest.raises(FormatError, match=r"it holds no Gaussians \(it looks like instant-ngp\)"):
        formats.read(field)
    with pytest.raises(FormatError, match="it looks like splatfacto, which holds Gaussians"):
        nerfstudio_checkpoint.read(splats)
