"""Proves that Gaussians are trained on a GPU as on the CPU: the same steps, whole runs with their files, edits.

Where there is no GPU a device stands for one (`far_device`) that holds no array of the CPU for its own, with gsplat's
own torch functions in the place of its kernels. Tests marked gpu run on a GPU with gsplat's kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import gsplat
import gsplat_functions
import pytest
import torch
from far_device import far_device
from posed_ball import write_posed_ball

from h3d.models import datasets
from h3d.models.datasets import PosedImages
from h3d.models.density import DefaultStrategy, McmcStrategy
from h3d.models.selection import Rows, Selection
from h3d.models.training.edits import Delete, Restore
from h3d.models.training.gaussians import GaussiansTraining, train
from h3d.renderers import backends

SMALL = GaussiansTraining(
    initial_points=40,
    cap=60,
    sh_degree=1,
    sh_interval=4,
    default=DefaultStrategy(refine_start=1, refine_every=3, grow_grad2d=1e-6, reset_every=8),
    mcmc=McmcStrategy(refine_start=1, refine_every=3),
)


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> PosedImages:
    return datasets.read(write_posed_ball(tmp_path_factory.mktemp("ball"), cameras=6, size=16))


@pytest.fixture(params=["far", pytest.param("cuda", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device that "cuda" means."""
    with ExitStack() as stack:
        if request.param == "cuda":
            yield backends.gaussians_device("cuda")
            return
        here = torch.device("cpu")
        far = stack.enter_context(far_device(monkeypatch))
        monkeypatch.setattr(backends, "gaussians_device", lambda wanted: here if wanted == "cpu" else far)
        monkeypatch.setattr(backends, "choose", lambda wanted: "cpu" if wanted == "cpu" else "cuda")
        monkeypatch.setattr(gsplat, "rasterization", gsplat_functions.rasterization)
        monkeypatch.setattr(gsplat, "spherical_harmonics", gsplat_functions.spherical_harmonics)
        yield far


@pytest.mark.parametrize(
    "changes", [{}, {"strategy": "mcmc"}, {"refine_cameras": True, "exposure": True, "antialiased": True}]
)
def test_the_first_steps_are_those_of_the_cpu(ball: PosedImages, gpu: torch.device, changes):
    config = replace(SMALL, **changes)
    ours, theirs = (list(islice(train(ball, replace(config, backend=b)), 8)) for b in ("cuda", "cpu"))
    for a, b in zip(ours, theirs, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=5e-3), a.step
        assert a.count == b.count and a.problem == b.problem == ""
    assert ours[-1].count > SMALL.initial_points, "rows have been added"


def test_a_run_goes_on_from_its_file_is_edited_and_shown_from_the_cpu(
    ball: PosedImages, gpu: torch.device, tmp_path: Path
):
    config = replace(SMALL, backend="cuda", refine_cameras=True)
    whole = list(islice(train(ball, config), 6))
    next(islice(train(ball, config), 3, None)).checkpoint(tmp_path / "c.safetensors")
    rest = train(ball, config, resume=tmp_path / "c.safetensors")
    last = list(islice(rest, 2))[-1]
    assert last.step == 6 and last.loss == pytest.approx(whole[-1].loss, rel=1e-3)
    shown = last.snapshot()
    assert type(shown.means) is torch.Tensor and shown.means.device.type == "cpu"
    gone = Rows.of(shown.ids[:5])
    assert last.live.edit(Delete(Selection().then("add", gone))) == Restore(gone)
    step = next(rest)
    assert len(last.snapshot()) == step.count and not bool(torch.isin(gone.array, step.snapshot().ids).any())
    step.live.edit(Restore(gone))
    assert bool(torch.isin(gone.array, step.snapshot().ids).all())


def test_without_a_gpu_there_is_a_sentence(ball: PosedImages):
    reason = backends.why_not("cuda")
    if reason == "":
        pytest.skip("gsplat works on a GPU here")
    with pytest.raises(RuntimeError, match="^cuda: "):
        train(ball, replace(SMALL, backend="cuda"))
