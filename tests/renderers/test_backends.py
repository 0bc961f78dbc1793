"""Backends say which of them work here and why the others do not; importing probes nothing."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from rasterizer_reference import random_scene

from h3d.renderers import RasterOptions, backends, rasterize_scenes

CAMERA = (torch.eye(4)[None], torch.tensor([[[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]]))


def test_the_cpu_backend_works_here():
    assert "cpu" in backends.available()
    assert backends.why_not("cpu") == ""
    assert backends.choose("cpu") == "cpu"


def test_a_missing_cuda_says_why_in_one_line():
    if "cuda" in backends.available():
        assert backends.choose("auto") == "cuda"
        return
    reason = backends.why_not("cuda")
    assert reason.startswith("cuda: ") and "\n" not in reason
    assert backends.choose("auto") == "cpu"
    with pytest.raises(RuntimeError, match="^cuda: "):
        rasterize_scenes([random_scene(0)], *CAMERA, 64, 48, options=RasterOptions(backend="cuda"))


def test_the_description_names_backend_threads_and_instructions():
    line = backends.describe("cpu")
    assert line.startswith(f"cpu: {backends.num_threads()} thread")
    assert "kernels" in line and "\n" not in line


def test_kernels_of_another_cpu_are_refused_with_a_sentence(monkeypatch):
    compiled = ["avx2", "avx512f"]
    foreign = SimpleNamespace(missing_features=lambda: ["avx512f"], compiled_features=lambda: compiled)
    monkeypatch.setattr("h3d.renderers.cpu._kernels", foreign)
    with pytest.raises(RuntimeError, match="built for avx2, avx512f; this CPU lacks avx512f; .*H3D_ARCH=x86-64-v3"):
        backends.kernels.__wrapped__()


def test_thread_counts_out_of_range_are_refused():
    for threads in (0, -3, 100_000):
        with pytest.raises(ValueError, match="must be 1 to 1024"):
            backends.set_num_threads(threads)


def test_importing_the_renderers_loads_no_kernels_and_no_gsplat():
    code = (
        "import sys, h3d.renderers, h3d.renderers.gaussians, h3d.renderers.backends;"
        "sys.exit(any(name in sys.modules for name in ('h3d.renderers.cpu._kernels', 'gsplat')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _alpha_sum(queue) -> None:
    queue.put(rasterize_scenes([random_scene(0)], *CAMERA, 64, 48).alpha.sum().item())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_can_draw_too():
    expected = rasterize_scenes([random_scene(0)], *CAMERA, 64, 48).alpha.sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_alpha_sum, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0


def test_arrays_of_fields_are_worked_on_where_they_lie():
    assert backends.for_device("auto", torch.device("cpu")) == "cpu"
    assert backends.for_device("cpu", torch.device("cpu")) == "cpu"
    with pytest.raises(ValueError, match="device: the arrays lie on mps; there are kernels for cpu and cuda"):
        backends.for_device("auto", torch.device("mps"))
    with pytest.raises(ValueError, match=r'backend: cpu, but the arrays lie on cuda:0; move them with .to\("cpu"\)'):
        backends.for_device("cpu", torch.device("cuda:0"))
    wrong, sentence = (ValueError, "backend: cuda") if torch.cuda.is_available() else (RuntimeError, "cuda: torch ")
    with pytest.raises(wrong, match=f"^{sentence}"):
        backends.for_device("cuda", torch.device("cpu"))
