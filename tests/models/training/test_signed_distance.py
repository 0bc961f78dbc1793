"""Proves the trainer of signed distance fields: it learns a mesh, repeats itself, goes on; and which it refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from known_fields import ball_mesh, box_mesh
from splat_files import Recipe, pack_3dgs, scene

from h3d.models import meshes
from h3d.models.meshes import Mesh
from h3d.models.signed_distance import SignedDistanceField
from h3d.models.training import mesh_points, signed_distance
from h3d.models.training.mesh_points import MeshPoints, PointPool
from h3d.models.training.mesh_task import SignedDistanceTask
from h3d.models.training.signed_distance import SignedDistanceTraining, UnitMesh, mape, train
from h3d.models.training.tasks import model_for, open_task
from h3d.renderers.cancel import CancelFlag, Cancelled

SMALL = SignedDistanceTraining(
    levels=6,
    log2_table_size=13,
    finest_resolution=64,
    hidden=32,
    points_per_step=1 << 12,
    learning_rate=4e-3,
    network_learning_rate=6e-3,
)


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_distance, "POOL_SIZE", 1 << 14)


@pytest.fixture(scope="module")
def ball() -> UnitMesh:
    mesh = ball_mesh(radius=2.0)
    return UnitMesh.of(Mesh(mesh.vertices + [5.0, 0.0, -1.0], mesh.faces), "ball.obj")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mesh") / "ball.obj"
    meshes.write(path, ball_mesh(radius=2.0))
    return path


def test_a_ball_is_learnt_with_its_inside(file: Path):
    task = SignedDistanceTask.open(file, {})
    task = replace(task, config=SMALL)
    steps = list(islice(task.train(), 300))
    judged = task.judge(steps[-1].snapshot())
    assert judged.metrics["surface_error"] < 0.002 and judged.metrics["iou"] > 0.98
    before = task.judge(next(task.train()).snapshot(), quick=True)
    assert before.metrics["iou"] < 0.5
    assert [step.step for step in steps] == list(range(1, 301))
    assert all(a.seconds < b.seconds for a, b in zip(steps, steps[1:], strict=False))


def test_the_judgement_has_a_picture_of_the_mesh_beside_the_field(file: Path):
    task = replace(SignedDistanceTask.open(file, {}), config=SMALL)
    field = list(islice(task.train(), 300))[-1].snapshot()
    judged = task.judge(field)
    assert judged.picture is not None and judged.picture.shape[1] == 2 * judged.picture.shape[0]
    true, learnt = judged.picture.chunk(2, dim=1)
    assert float(true.min()) < 0.9 and float((true - learnt).abs().mean()) < 0.03
    quick = task.judge(field, quick=True)
    assert quick.picture is None and quick.metrics["iou"] == pytest.approx(judged.metrics["iou"], abs=0.02)
    assert task.judge(field).metrics == judged.metrics
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        task.judge(field, cancel=flag)


def test_distances_are_in_the_meshs_own_axes(ball: UnitMesh):
    field = list(islice(train(ball, SMALL), 300))[-1].snapshot()
    assert np.allclose(field.bounds, [[2.8, -2.2, -3.2], [7.2, 2.2, 1.2]], atol=1e-5)
    found = field.query(torch.tensor([[5.0, 2.0, -1.0], [5.0, 0.0, -2.5], [5.0, 2.2, -1.0]]))
    assert torch.allclose(found, torch.tensor([0.0, -0.5, 0.2]), atol=0.05)


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(ball: UnitMesh):
    first = [step.loss for step in islice(train(ball, SMALL), 15)]
    again = [step.loss for step in islice(train(ball, SMALL), 15)]
    other = [step.loss for step in islice(train(ball, replace(SMALL, seed=1)), 15)]
    assert first == again
    assert first != other


def test_a_checkpoint_goes_on_as_if_nothing_had_been(ball: UnitMesh, tmp_path: Path):
    whole = list(islice(train(ball, SMALL), 30))
    steps = list(islice(train(ball, SMALL), 17, 18))
    steps[0].checkpoint(tmp_path / "c.safetensors")
    rest = list(islice(train(ball, SMALL, resume=tmp_path / "c.safetensors"), 12))
    assert [step.step for step in rest] == list(range(19, 31))
    assert [step.loss for step in rest] == [step.loss for step in whole[18:]]
    assert torch.equal(rest[-1].snapshot().table, whole[-1].snapshot().table)


def test_a_checkpoint_of_another_configuration_or_a_damaged_one_is_refused(ball: UnitMesh, tmp_path: Path):
    path = tmp_path / "c.safetensors"
    next(train(ball, SMALL)).checkpoint(path)
    with pytest.raises(ValueError, match="learning_rate, seed differ from the run's"):
        next(train(ball, replace(SMALL, seed=3, learning_rate=1e-3), resume=path))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        next(train(ball, SMALL, resume=path))


def test_a_snapshot_does_not_change_when_training_goes_on(ball: UnitMesh):
    steps = train(ball, SMALL)
    field = next(steps).snapshot()
    before = [t.clone() for t in (field.table, *field.weights)]
    for _ in range(10):
        next(steps)
    assert all(torch.equal(a, b) for a, b in zip(before, (field.table, *field.weights), strict=True))


def test_points_lie_on_near_and_far_from_the_surface_in_their_shares(ball: UnitMesh):
    source = MeshPoints(ball.mesh, ball.box)
    points, distances = source.fresh(4096, torch.Generator().manual_seed(0))
    assert int((distances == 0.0).sum()) == 1024
    true = source.distance.signed(points.numpy())
    # A point on a face is so up to the rounding of its coordinates.
    assert np.allclose(distances, true, atol=1e-6)
    off = distances[distances != 0.0].abs()
    assert 0.2 < float((off < 0.004).float().mean()) < 0.7 and float((off > 0.05).float().mean()) > 0.1
    low, high = torch.from_numpy(ball.box).float()
    assert bool(((points >= low) & (points <= high)).all())
    assert bool((distances[:100] != 0.0).any()) and bool((distances[:100] == 0.0).any())


def test_the_pool_renews_its_oldest_points_and_comes_round(ball: UnitMesh):
    source, generator = MeshPoints(ball.mesh, ball.box), torch.Generator().manual_seed(0)
    pool = PointPool.filled(source, 64, generator)
    before = pool.points.clone()
    pool.renew(source, 32, generator)
    assert not torch.equal(pool.points[:32], before[:32]) and torch.equal(pool.points[32:], before[32:])
    pool.renew(source, 32, generator)
    assert not torch.equal(pool.points[32:], before[32:]) and pool.oldest == 0
    assert mesh_points.ON_SURFACE + mesh_points.NEAR < 1.0


def test_the_loss_is_absolute_near_the_surface_and_relative_far_from_it():
    found, true = torch.tensor([0.001, 0.22]), torch.tensor([0.0, 0.2])
    assert float(mape(found, true)) == pytest.approx(0.5 * (0.001 / 0.01 + 0.02 / 0.21))


def test_a_mesh_is_the_task_of_its_path_and_splats_are_not(file: Path, tmp_path: Path):
    assert model_for(file) == "sdf"
    task = open_task(file, settings={"seed": 5, "background": "white", "log2_table_size": 12, "downscale": "auto"})
    assert isinstance(task, SignedDistanceTask)
    assert task.config.seed == 5 and task.config.log2_table_size == 12
    assert task.remarks == () and task.name == "ball.obj"
    splats = tmp_path / "splats.ply"
    splats.write_bytes(pack_3dgs(scene(Recipe(seed=0, count=10, degree=0, extent=1.0))))
    assert model_for(splats) is None
    with pytest.raises(ValueError, match="has no faces: it holds splats or points"):
        open_task(splats, "sdf")


def test_a_mesh_with_a_hole_is_learnt_with_a_remark_and_a_sheet_is_refused(tmp_path: Path):
    mesh = ball_mesh()
    meshes.write(tmp_path / "hole.obj", Mesh(mesh.vertices, mesh.faces[4:]))
    (remark,) = open_task(tmp_path / "hole.obj").remarks
    assert "not watertight" in remark and "close its holes" in remark
    meshes.write(tmp_path / "sheet.obj", Mesh(box_mesh().vertices, box_mesh().faces[:1]))
    with pytest.raises(ValueError, match="sheet.obj: surface: inside and outside can be told") as caught:
        open_task(tmp_path / "sheet.obj")
    assert "a signed distance needs a closed mesh" in str(caught.value) and "\n" not in str(caught.value)


def test_an_untrained_field_renders_and_is_judged_without_an_inside(ball: UnitMesh):
    state = signed_distance.DistanceTrainer(ball, SMALL).start()
    field = signed_distance.DistanceTrainer(ball, SMALL).snapshot(state)
    assert isinstance(field, SignedDistanceField)
    seen = field.render(torch.tensor([[5.0, 0.0, -20.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    assert bool(torch.isfinite(seen.rgb).all())
