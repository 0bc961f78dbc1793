"""The Triton twin of the hash encoding means what the CPU's does: features, both gradients, masks, borders, halves.

Without a GPU, Triton's interpreter runs the kernels in a process of its own, and its compiler makes them for GPUs that
are not there; where there is a GPU the same cases run on it (marked gpu). Skipped, with the reason, where Triton cannot
be imported. The networks' twin is torch's own products, which need no GPU to be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from h3d.renderers import mlp as door
from h3d.renderers.cuda import mlp as cuda_mlp

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="there is no Triton; pip install triton (Linux)")


def run(program: str, *arguments: str, **environment: str) -> Any:
    """What a program of this folder prints last, which is JSON."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check_cases(results: dict[str, Any]) -> None:
    assert results["no points"][:2] == [[0, 6], [0, 3]]
    assert len(results["cases"]) == 20
    for name, differences in results["cases"].items():
        assert len(differences) == (3 if name in ("32 levels, the last on", "nerfstudio") else 5), name
        for what, difference in differences.items():
            # A slope is a difference of features times up to a thousand cells, a gradient of a half table is rounded,
            # and older interpreters round twice where a GPU fuses.
            halves = "float16" in name and what == "table"
            bound = 4e-3 if halves else {"features": 3e-6, "table": 2e-5}.get(what.split(",")[0], 1e-3)
            assert difference < bound, (name, what)


@needs_triton
def test_interpreted_kernels_agree_with_the_cpu_and_the_reference():
    check_cases(run("triton_cases.py", "cpu", TRITON_INTERPRET="1"))


@needs_triton
def test_the_compiler_makes_the_kernels_for_gpus(tmp_path: Path):
    # The interpreter is Python and takes what the compiler refuses.
    sizes = run("triton_compiled.py", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    assert len(sizes) == 24 and min(sizes.values()) > 1000


@pytest.mark.gpu
@needs_triton
def test_kernels_on_a_gpu_agree_with_the_cpu_and_the_reference():
    check_cases(run("triton_cases.py", "cuda"))


def test_networks_of_torch_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 32, generator=generator)
    weights = door.initial_weights((32, 64, 64, 3), generator)
    arrays = [inputs.requires_grad_(), *(w.requires_grad_() for w in weights)]
    ours, theirs = cuda_mlp.mlp(inputs, weights), door.mlp(inputs, weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), arrays) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_networks_on_a_gpu_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    inputs, weights = torch.randn(500, 32, generator=generator), door.initial_weights((32, 64, 3), generator)
    there = door.mlp(inputs.cuda(), [matrix.cuda() for matrix in weights])
    torch.testing.assert_close(there.cpu(), door.mlp(inputs, weights), rtol=1e-4, atol=1e-4)


def test_without_triton_there_is_a_sentence():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "try:\n    import h3d.renderers.cuda.hash_encoding\n"
        "except RuntimeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cuda: hash grids need Triton, which does not load" in done.stdout
    assert "pip install triton, or move the arrays to cpu" in done.stdout
