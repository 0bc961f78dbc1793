"""Proves that a field is trained on a GPU as on the CPU: the same steps, whole runs with their files, and pictures.

Where there is no GPU a device stands for one (`far_device`) that holds no array of the CPU for its own; with the CPU's
kernel of the hash encoding, since Triton's has its own proof. Tests marked gpu run on a GPU, Triton's kernel included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from far_device import far_device
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.field_view import FieldView
from h3d.models.hash_grid import HashGridField, load
from h3d.models.training.hash_grid import HashGridTraining, train
from h3d.models.training.photos import PhotosTask
from h3d.renderers import backends

SMALL = HashGridTraining(levels=4, log2_table_size=12, finest_resolution=64, samples_per_step=1 << 11)


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> PosedImages:
    return datasets.read(write_posed_ball(tmp_path_factory.mktemp("ball"), cameras=12, size=32))


@pytest.fixture(params=["far", pytest.param("cuda", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device that "cuda" means."""
    with ExitStack() as stack:
        if request.param == "cuda":
            yield backends.field_device("cuda")
            return
        far = stack.enter_context(far_device(monkeypatch))
        here = torch.device("cpu")
        for module in ("h3d.renderers.backends", "h3d.models.training.photos"):
            monkeypatch.setattr(f"{module}.field_device", lambda wanted: here if wanted == "cpu" else far)
        yield far


@pytest.mark.parametrize("changes", [{}, {"refine_cameras": True}, {"encoding": "frequency"}, {"combine": "sum"}])
def test_the_first_steps_are_those_of_the_cpu(ball: PosedImages, gpu: torch.device, changes):
    config = replace(SMALL, **changes)
    # What rounding decides grows from step to step: gradients that are 1e-6 apart are 1e-2 apart after 20 steps. Nine
    # have two updates of the occupancy grid among them.
    ours, theirs = (list(islice(train(ball, replace(config, backend=b)), 9)) for b in ("cuda", "cpu"))
    for a, b in zip(ours, theirs, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=2e-3)
        assert a.rays == pytest.approx(b.rays, rel=1e-2) and a.samples == pytest.approx(b.samples, rel=1e-2)
    assert ours[0].samples > 500


def test_a_run_goes_on_from_its_file_and_is_judged(ball: PosedImages, gpu: torch.device, tmp_path: Path):
    config = replace(SMALL, backend="cuda", refine_cameras=True)
    whole = list(islice(train(ball, config), 12))
    next(islice(train(ball, config), 7, None)).checkpoint(tmp_path / "c.safetensors")
    rest = list(islice(train(ball, config, resume=tmp_path / "c.safetensors"), 4))
    assert [step.step for step in rest] == [9, 10, 11, 12]
    assert [step.loss for step in rest] == pytest.approx([step.loss for step in whole[8:]], rel=1e-3)
    field = rest[-1].snapshot()
    field.save(tmp_path / "field.safetensors")
    again = load(tmp_path / "field.safetensors")
    assert all(type(f.table) is torch.Tensor and f.table.device.type == "cpu" for f in (field, again))
    assert torch.equal(again.table, field.table)
    ours, theirs = (PhotosTask(ball, replace(config, backend=b)).judge(field).metrics for b in ("cuda", "cpu"))
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(
    "view",
    [
        FieldView(),
        FieldView(quick=True, crop_high=(0.6, 1.0, 1.0)),
        FieldView(normals=True),
        FieldView(slice_axis="z", slice_at=0.5),
    ],
    ids=["whole", "crop", "normals", "slice"],
)
@pytest.mark.parametrize("encoding", ["hash", "frequency"])
def test_a_field_on_a_gpu_is_looked_at_from_the_cpu(ball: PosedImages, gpu: torch.device, view: FieldView, encoding):
    field = next(islice(train(ball, replace(SMALL, encoding=encoding)), 30, None)).snapshot()
    there = field.to(gpu)
    assert there.table.device == gpu and there.to(gpu) is there
    aside = 0.2 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(aside + torch.tensor([0.0, 0.0, -1.0]), dim=1)
    origins = torch.tensor([0.1, 0.2, 3.0]).expand(300, 3)
    ours, theirs = (f.render(origins, directions, view=view) for f in (there, field))
    assert 0.0 < float(theirs.alpha.mean())
    for name in ("rgb", "alpha", "depth"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert type(a) is torch.Tensor and a.device.type == "cpu"
        # The quick look shares colours among faint samples on the CPU only.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=5e-2 if view.quick else 2e-3)
    assert (ours.normals is not None) == view.normals
    densities = [f.density(torch.full((5, 3), 0.5)) for f in (there, field)]
    torch.testing.assert_close(*densities, rtol=1e-4, atol=1e-4)
    assert isinstance(there, HashGridField) and there.facts == field.facts


def test_without_a_gpu_there_is_a_sentence_before_anything_is_read(ball: PosedImages, tmp_path: Path):
    if backends.why_no_fields_on_cuda() == "":
        pytest.skip("there is a GPU here")
    assert backends.field_device("auto").type == "cpu"
    with pytest.raises(RuntimeError, match="^cuda: torch .* (is built without CUDA|finds no CUDA device)"):
        PhotosTask.open(write_posed_ball(tmp_path, cameras=2, test_cameras=1, size=16), {"backend": "cuda"})
