"""Proves nerfstudio's checkpoints: both implementations against float64 formulas, spaces, folders, refusals."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio_reference import Reference
from snapshot_files import nerfstudio_state, write_checkpoint

from h3d.models import nerfstudio_field
from h3d.models.field_view import FieldView
from h3d.models.formats import nerfstudio_checkpoint
from h3d.models.formats.errors import FormatError
from h3d.models.formats.nerfstudio_cells import resampled
from h3d.models.nerfstudio_field import NerfstudioField
from h3d.renderers.fields import GRID_CELLS, morton_encode

CONFIG = """!!python/object:nerfstudio.engine.trainer.TrainerConfig
_target: !!python/name:nerfstudio.engine.trainer.Trainer ''
pipeline: !!python/object:nerfstudio.pipelines.dynamic_batch.DynamicBatchPipelineConfig
  datamanager: !!python/object:nerfstudio.data.X
    cone_angle: 9.0
  model: !!python/object:nerfstudio.models.instant_ngp.InstantNGPModelConfig
    _target: !!python/name:nerfstudio.models.instant_ngp.NGPModel ''
    background_color: random
    cone_angle: {cone}
    disable_scene_contraction: {bounded}
    loss_coefficients: &id001
      cone_angle: 7.0
  target_num_samples: 262144
"""


def run_folder(tmp_path: Path, state: dict[str, torch.Tensor], *, bounded: bool = False, **transform: Any) -> Path:
    """outputs/EXPERIMENT/instant-ngp/TIME as nerfstudio leaves it."""
    folder = tmp_path / "run"
    write_checkpoint(folder / "nerfstudio_models" / "step-000029999.ckpt", state)
    (folder / "config.yml").write_text(CONFIG.format(cone=0.002, bounded=str(bounded).lower()))
    straight = {"transform": np.eye(4)[:3].tolist(), "scale": 1.0}
    (folder / "dataparser_transforms.json").write_text(json.dumps(transform or straight))
    return folder


@pytest.mark.parametrize("implementation", ["torch", "tcnn"])
@pytest.mark.parametrize("bounded", [False, True])
def test_fields_give_the_density_and_colour_of_nerfstudios_formulas(tmp_path: Path, implementation: str, bounded: bool):
    state = nerfstudio_state(implementation, levels=1 if bounded else 2)
    field = nerfstudio_checkpoint.read(run_folder(tmp_path, state, bounded=bounded))
    reference = Reference(state, contraction=not bounded)
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1.2, 1.2, (60, 3)) * (1.0 if bounded else rng.uniform(0.3, 6.0, (60, 1)))
    directions = rng.normal(size=(60, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = [reference.query(p, d) for p, d in zip(positions, directions, strict=True)]
    unit = torch.from_numpy((positions + 1.0) / 2.0).float()
    density, rgb = field.query(unit, torch.from_numpy(directions).float())
    # A side of the unit cube is 2 lengths of nerfstudio's.
    assert np.allclose(density / 2.0, [d for d, _ in expected], rtol=2e-3, atol=1e-7)
    seen = np.array([d for d, _ in expected]) > 0
    assert np.allclose(rgb.numpy()[seen], np.array([c for _, c in expected])[seen], atol=1e-4)
    assert bool(seen.all()) or bounded


def test_what_a_run_says_of_itself_is_taken(tmp_path: Path):
    field = nerfstudio_checkpoint.read(run_folder(tmp_path, nerfstudio_state("torch"), bounded=True))
    assert not field.contracted and field.cone_angle == 0.002
    assert field.remark == "nerfstudio's instant-ngp after 29999 steps"
    alone = write_checkpoint(tmp_path / "elsewhere" / "a.ckpt", nerfstudio_state("torch"))
    field = nerfstudio_checkpoint.read(alone)
    assert field.contracted and field.cone_angle == 0.004
    assert "taken to be contracted" in field.remark and "nerfstudio's own coordinates" in field.remark


def test_the_newest_checkpoint_of_a_run_is_read(tmp_path: Path):
    folder = run_folder(tmp_path, nerfstudio_state("torch"))
    write_checkpoint(folder / "nerfstudio_models" / "step-000100000.ckpt", nerfstudio_state("torch"), step=100000)
    (folder / "nerfstudio_models" / "step-latest.ckpt").write_bytes(b"")
    assert "100000 steps" in nerfstudio_checkpoint.read(folder).remark
    assert "100000 steps" in nerfstudio_checkpoint.read(folder / "nerfstudio_models").remark


def test_rays_go_from_the_data_sets_world_through_the_dataparsers_transform(tmp_path: Path):
    turn = [[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, -0.25], [1.0, 0.0, 0.0, 0.125]]
    field = nerfstudio_checkpoint.read(run_folder(tmp_path, nerfstudio_state("torch"), transform=turn, scale=0.5))
    # A point of the world (x, y, z) is at 0.5 * (y + 0.5, z - 0.25, x + 0.125).
    world = torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64)
    assert (field.scene_from_world @ world)[:3].tolist() == [1.25, 1.375, 0.5625]
    assert field.up == (1.0, 0.0, 0.0)
    assert field.ngp_scale == pytest.approx(0.25)
    assert np.allclose(field.bounds[1] - field.bounds[0], 4.0)


def test_a_field_is_rendered_through_its_occupied_cells(tmp_path: Path):
    state = nerfstudio_state("torch")
    cells = torch.zeros(2, 128, 128, 128, dtype=torch.bool)
    cells[0, 96:, 40:88, 40:88] = True  # x from 0.5 to 1.
    state["_model.occupancy_grid.binaries"] = cells
    state["_model.field.mlp_base.model.1.layers.1.bias"][0] = 6.0
    field = nerfstudio_checkpoint.read(run_folder(tmp_path, state))
    origins = torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.9, 0.0], [0.7, 0.0, 3.0]])
    directions = torch.tensor([[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    seen = field.render(origins, directions, view=FieldView(normals=True))
    assert seen.alpha.tolist() == [1.0, 0.0, 1.0]
    assert seen.depth[0] == pytest.approx(2.0, abs=0.1) and seen.depth[2] == pytest.approx(3.0 - 0.375, abs=0.1)
    assert seen.normals is not None and bool(torch.isfinite(seen.normals).all())


def test_boxes_and_grids_of_other_shapes_are_put_into_the_cube():
    cells = torch.zeros(16, 8, 32, dtype=torch.bool)
    cells[4, 2, 16] = True
    box = torch.tensor([[0.0, 0.25, 0.0], [1.0, 0.75, 1.0]])
    values = resampled(cells, box)
    found = values.reshape(-1).nonzero()[:, 0]
    x, y, z = torch.meshgrid(torch.arange(32, 40), torch.arange(32 + 16, 32 + 24), torch.arange(64, 68), indexing="ij")
    expected = morton_encode(torch.stack([x, y, z], dim=-1).reshape(-1, 3))
    assert found.tolist() == sorted(expected.tolist())


def test_cells_of_the_usual_grid_are_taken_one_by_one():
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(128, 128, 128, generator=generator) > 0.5
    cube = torch.tensor([[0.0] * 3, [1.0] * 3])
    exact = resampled(cells, cube)
    assert exact.shape == (GRID_CELLS,)
    for place in ((0, 0, 0), (127, 1, 64), (5, 90, 17)):
        assert bool(exact[morton_encode(torch.tensor(place))]) == bool(cells[place])
    assert torch.equal(exact, resampled(cells, cube + 1e-9 * torch.tensor([[0.0] * 3, [1.0] * 3])))


def test_a_field_saved_as_our_own_is_read_back_bit_for_bit(tmp_path: Path):
    field = nerfstudio_checkpoint.read(run_folder(tmp_path, nerfstudio_state("tcnn")))
    field.save(tmp_path / "a.safetensors")
    back = nerfstudio_field.load(tmp_path / "a.safetensors")
    assert (back.encoding, back.contracted, back.cone_angle, back.up, back.remark) == (
        field.encoding,
        field.contracted,
        field.cone_angle,
        field.up,
        field.remark,
    )
    for name in ("table", "bits", "box", "unit_from_scene", "scene_from_world"):
        assert torch.equal(getattr(back, name), getattr(field, name)), name
    for name in ("density_weights", "rgb_weights"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(back, name), getattr(field, name), strict=True)), name
    _refuses_wrong_arrays(tmp_path, field)


def _refuses_wrong_arrays(tmp_path: Path, field: NerfstudioField) -> None:
    from dataclasses import replace

    for wrong, sentence in (
        (replace(field, table=field.table[:-1]), "table: its shape is"),
        (replace(field, rgb_weights=field.rgb_weights[1:]), "rgb_weights: the matrices"),
        (replace(field, cone_angle=-1.0), "cone_angle: is -1.0"),
    ):
        wrong.save(tmp_path / "wrong.safetensors")
        with pytest.raises(FormatError, match=sentence):
            nerfstudio_field.load(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"occupancy_grid.binaries": None}, "checkpoint: it has no occupancy grid"),
        (
            {"occupancy_grid.binaries": None, "proposal_networks.0.aabb": torch.zeros(2, 3)},
            "it looks like nerfacto, which samples by proposal networks",
        ),
        (
            {"occupancy_grid.binaries": None, "gauss_params.features_dc": torch.zeros(2, 3)},
            "it looks like splatfacto, which holds Gaussians",
        ),
        ({"field.mlp_base.model.0.hash_table": None}, "it has no hash table"),
        ({"field.mlp_base.model.0.hash_table": torch.zeros(3, 2)}, "hash_table: its shape is \\[3, 2\\], it must be"),
        ({"field.mlp_base.model.0.hash_table": torch.zeros(256, 3)}, "encoding: features: 3; must be 1, 2, 4 or 8"),
        ({"field.mlp_head.layers.0.weight": None}, "mlp_head.layers.0.weight: is not in the checkpoint"),
        ({"field.mlp_head.layers.1.bias": torch.zeros(5)}, "layers.1.bias: its shape is \\[5\\], it must be \\[64\\]"),
        ({"field.mlp_head.layers.2.weight": torch.zeros(4, 64)}, "layers.2.bias: its shape is"),
        ({"field.aabb": torch.zeros(2, 3)}, "field.aabb: .* is no box"),
        ({"field.aabb": torch.full((2, 3), float("nan"))}, "field.aabb: .* is no box"),
        ({"field.num_levels": torch.tensor(99)}, "encoding: levels: 99; must be 1 to 32"),
        ({"field.max_res": torch.tensor(-4)}, "encoding: "),
        ({"occupancy_grid.binaries": torch.zeros(9, 8, 8, 8, dtype=torch.bool)}, "must be 1 to 8 grids of 8 to 512"),
        ({"field.mlp_base.model.0.hash_table": torch.full((256, 2), float("inf"))}, "table: a value is not finite"),
    ],
)
def test_a_checkpoint_that_cannot_be_drawn_gets_one_sentence(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], sentence: str
):
    state = nerfstudio_state("torch", levels=1)
    for name, value in changes.items():
        state.pop(f"_model.{name}", None)
        if value is not None:
            state[f"_model.{name}"] = value
    with pytest.raises(FormatError, match=sentence) as caught:
        nerfstudio_checkpoint.read(write_checkpoint(tmp_path / "a.ckpt", state))
    assert re.fullmatch(r"[^\n]+: [^\n]+; [^\n]+", str(caught.value))


def test_a_checkpoint_with_a_network_of_another_size_is_said(tmp_path: Path):
    state = nerfstudio_state("tcnn", levels=1)
    state["_model.field.mlp_head.tcnn_encoding.params"] = torch.zeros(1234)
    with pytest.raises(FormatError, match="colour network: 1,234 parameters are those of no network from 63 to 3"):
        nerfstudio_checkpoint.read(write_checkpoint(tmp_path / "a.ckpt", state))


def test_a_checkpoint_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    torch.save({"pipeline": nerfstudio_state("torch", levels=1), "extra": Hostile()}, tmp_path / "a.ckpt")
    with pytest.raises(FormatError, match=r"it asks for \w+\.system to be called"):
        nerfstudio_checkpoint.read(tmp_path / "a.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"transform": [[1, 0, 0, 0]], "scale": 1}',
        '{"transform": [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], "scale": 1}',
        '{"transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, NaN]], "scale": 1}',
        '{"transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "scale": 0}',
    ],
)
def test_a_transform_that_is_none_is_said(tmp_path: Path, text: str):
    folder = run_folder(tmp_path, nerfstudio_state("torch", levels=1))
    (folder / "dataparser_transforms.json").write_text(text)
    with pytest.raises(FormatError, match="dataparser_transforms.json: transform: cannot be used"):
        nerfstudio_checkpoint.read(folder)


def test_a_folder_without_a_checkpoint_is_said(tmp_path: Path):
    with pytest.raises(FormatError, match="holds no nerfstudio_models/step-"):
        nerfstudio_checkpoint.read(tmp_path)
