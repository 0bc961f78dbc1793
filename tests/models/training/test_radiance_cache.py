"""Proves the radiance cache: it learns a scene's light to a small bias, is far less noisy than whole paths, goes on
after a stop bit for bit, and is read back as it was saved."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from surface_scenes import write_scene

from h3d.models.field_files import read_field
from h3d.models.field_view import FieldView
from h3d.models.formats.errors import FormatError
from h3d.models.formats.tensors import read_safetensors, write_safetensors
from h3d.models.path_traced import FORMAT, PathTracedScene, camera_rays, load, ray_numbers
from h3d.models.surface_scene import SurfaceScene, read_scene
from h3d.models.training.cache_task import RadianceCacheTask
from h3d.models.training.radiance_cache import CacheTraining, train
from h3d.models.training.tasks import model_for, open_task
from h3d.renderers import CancelFlag, Cancelled

SMALL = CacheTraining(log2_table_size=11, levels=4, finest_resolution=64, paths_per_step=1024)
GAP = Path(__file__).parents[3] / "assets" / "scenes" / "gap.scene.json"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> SurfaceScene:
    return read_scene(write_scene(tmp_path_factory.mktemp("scene") / "room.scene.json"))


@pytest.fixture(scope="module")
def learnt(room: SurfaceScene) -> PathTracedScene:
    return next(islice(train(room, SMALL, name="room"), 249, None)).snapshot()


def test_what_the_cache_says_is_the_light_of_the_scene(room: SurfaceScene, learnt: PathTracedScene):
    rays = camera_rays(room.camera.resized(48, 32))
    wanted = PathTracedScene(room).mean(*rays, first=1 << 20, samples=1024)
    passes = torch.stack([learnt.render(*rays, view=FieldView(sample=sample)).rgb for sample in range(48)])
    assert abs(float(passes.mean() / wanted.mean()) - 1.0) < 0.03
    assert float((passes.mean(dim=0) - wanted).abs().mean() / wanted.mean()) < 0.08
    untrained = next(train(room, SMALL)).snapshot()
    assert abs(float(untrained.render(*rays).rgb.mean() / wanted.mean()) - 1.0) > 0.1


def test_a_pass_with_the_cache_is_less_noisy_and_without_it_is_the_plain_one(
    room: SurfaceScene, learnt: PathTracedScene
):
    rays = camera_rays(room.camera.resized(48, 32))
    spread = {
        cached: torch.stack(
            [learnt.render(*rays, view=FieldView(sample=sample, cached=cached)).rgb for sample in range(16)]
        ).var(dim=0)
        for cached in (True, False)
    }
    assert float(spread[True].mean()) < 0.7 * float(spread[False].mean())
    plain = PathTracedScene(room).render(*rays, view=FieldView(sample=3)).rgb
    assert torch.equal(learnt.render(*rays, view=FieldView(sample=3, cached=False)).rgb, plain)


def test_in_a_room_lit_through_a_gap_a_pass_has_a_fifth_of_the_error():
    scene = read_scene(GAP)
    field = next(islice(train(scene, CacheTraining()), 249, None)).snapshot()
    rays = camera_rays(scene.camera.resized(60, 40))
    wanted = PathTracedScene(scene).mean(*rays, first=1 << 20, samples=1024)
    errors = {
        cached: torch.stack(
            [(field.render(*rays, view=FieldView(sample=s, cached=cached)).rgb - wanted).square() for s in range(8)]
        ).mean()
        for cached in (True, False)
    }
    assert float(errors[True]) < 0.2 * float(errors[False])  # A seventh was measured.


def test_a_part_of_a_picture_is_as_it_is_in_the_whole(learnt: PathTracedScene):
    origins, directions = camera_rays(learnt.scene.camera.resized(48, 32))
    for cached in (True, False):
        view = FieldView(sample=5, cached=cached)
        whole, part = (
            learnt.render(origins[rows], directions[rows], view=view).rgb for rows in (slice(None), slice(500, 700))
        )
        assert torch.equal(part, whole[500:700])


def test_rays_have_numbers_of_their_own():
    _, directions = camera_rays(read_scene(GAP).camera.resized(200, 150))
    numbers = ray_numbers(directions)
    assert numbers.dtype == torch.int32 and len(numbers.unique()) > 0.999 * len(numbers)


def test_a_run_goes_on_bit_for_bit(room: SurfaceScene, tmp_path: Path):
    steps = train(room, SMALL)
    step = next(islice(steps, 4, None))
    step.checkpoint(tmp_path / "c.safetensors")
    on = next(islice(steps, 4, None)).snapshot()
    again = next(islice(train(room, SMALL, resume=tmp_path / "c.safetensors"), 4, None)).snapshot()
    assert on.cache is not None and again.cache is not None and on.cache.step == again.cache.step == 10
    assert torch.equal(on.cache.table, again.cache.table)
    assert all(torch.equal(a, b) for a, b in zip(on.cache.weights, again.cache.weights, strict=True))
    with pytest.raises(FormatError, match="levels differ from the run's"):
        next(train(room, replace(SMALL, levels=5), resume=tmp_path / "c.safetensors"))


def test_the_field_is_read_back_as_it_was_saved(learnt: PathTracedScene, tmp_path: Path):
    learnt.save(tmp_path / "field.safetensors")
    back = read_field(tmp_path / "field.safetensors")
    assert isinstance(back, PathTracedScene) and back.facts == learnt.facts and back.remark == learnt.remark
    rays = camera_rays(learnt.scene.camera.resized(30, 20))
    assert torch.equal(back.render(*rays).rgb, learnt.render(*rays).rgb)


def test_damaged_fields_get_a_sentence(learnt: PathTracedScene, tmp_path: Path):
    learnt.save(tmp_path / "good.safetensors")
    header, tensors = read_safetensors(tmp_path / "good.safetensors", FORMAT)
    wrong = [
        ({}, {"table": tensors["table"][:-1]}, "table: its shape is"),
        ({}, {"weights.1": tensors["weights.1"][:, :-1]}, "weights: the matrices"),
        ({}, {"table": tensors["table"].double()}, "arrays: some are not float32"),
        ({"scale": 0.0}, {}, "scale or cube are not above 0"),
        ({"cube": {}}, {}, "something is missing or of the wrong kind"),
        ({"scene": "{"}, {}, "it is not JSON"),
    ]
    for more, arrays, sentence in wrong:
        with open(tmp_path / "bad.safetensors", "wb") as stream:
            write_safetensors(stream, header | more, tensors | arrays)
        with pytest.raises(FormatError, match=sentence):
            load(tmp_path / "bad.safetensors")


def test_the_task_judges_what_was_learnt(room: SurfaceScene, learnt: PathTracedScene, tmp_path: Path):
    path = write_scene(tmp_path / "room.scene.json")
    task = open_task(path, settings={"levels": 4})
    assert model_for(path) == "radiance_cache" and isinstance(task, RadianceCacheTask)
    judged = task.judge(learnt, quick=True)
    assert judged.metrics["psnr"] > 22.0 and abs(judged.metrics["bias"]) < 0.1 and judged.picture is None
    plain = task.judge(PathTracedScene(room), quick=True)
    assert plain.metrics["mse"] > judged.metrics["mse"]
    assert "whole paths a pixel" in judged.sentence and "bias" in judged.sentence
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        task.judge(learnt, cancel=flag)


def test_a_scene_without_light_gets_a_sentence(tmp_path: Path):
    path = write_scene(
        tmp_path / "dark.scene.json", materials={n: {"albedo": [0.5] * 3} for n in ("white", "red", "lamp")}
    )
    with pytest.raises(ValueError, match="dark.scene.json: no light was met; give a material an emission"):
        next(open_task(path).train())
