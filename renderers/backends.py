"""Which backends this machine has, and why not the others. Nothing is probed before the first question.

"cpu" is the package's own C++ kernels; "cuda" is an NVIDIA GPU: gsplat for Gaussians, Triton and torch for fields.
Gaussians are sent to the backend that was chosen; what fields are made of stays on the device where it lies, which
decides (`for_device`). Answers are kept: a machine does not change under a running program.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Backend = Literal["cpu", "cuda"]
BACKENDS: tuple[Backend, ...] = ("cpu", "cuda")


def available() -> tuple[Backend, ...]:
    """The backends that work here, the preferred one first."""
    return tuple(backend for backend in ("cuda", "cpu") if why_not(backend) == "")


def why_not(backend: Backend) -> str:
    """One line that says why `backend` does not work here, "" where it does."""
    return _why_not_cuda() if backend == "cuda" else _why_not_cpu()


def choose(wanted: Literal["auto", "cpu", "cuda"]) -> Backend:
    """The backend to use for `wanted`.

    Raises:
        RuntimeError: it does not work here; the sentence says why.
    """
    if wanted == "auto":
        working = available()
        if len(working) == 0:
            raise RuntimeError("; ".join(why_not(backend) for backend in BACKENDS))
        return working[0]
    reason = why_not(wanted)
    if reason:
        raise RuntimeError(reason)
    return wanted


def for_device(wanted: Literal["auto", "cpu", "cuda"], device: torch.device) -> Backend:
    """The backend for arrays that lie on `device`; `wanted` may only agree with that. gsplat has no part in it.

    Raises:
        RuntimeError: it does not work here; the sentence says why.
        ValueError: the arrays lie where it does not read them.
    """
    backend = device.type if wanted == "auto" else wanted
    if backend not in BACKENDS:
        raise ValueError(f"device: the arrays lie on {device}; there are kernels for cpu and cuda, move them to one")
    reason = _why_not_cpu() if backend == "cpu" else _why_no_cuda_device()
    if reason:
        raise RuntimeError(reason)
    if backend != device.type:
        raise ValueError(f'backend: {backend}, but the arrays lie on {device}; move them with .to("{backend}")')
    return backend


def field_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Where to put the arrays of a field that is to be worked on by `wanted`.

    Raises:
        RuntimeError: it does not work here; the sentence says why.
    """
    import torch

    reason = "" if wanted == "cpu" else why_no_fields_on_cuda()
    if wanted == "cuda" and reason:
        raise RuntimeError(reason)
    if wanted == "cpu" or reason:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def gaussians_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Where to put Gaussians that are to be learnt by `wanted`.

    Raises:
        RuntimeError: it does not work here; the sentence says why.
    """
    import torch

    return torch.device("cpu") if choose(wanted) == "cpu" else torch.device("cuda", torch.cuda.current_device())


@cache
def why_no_fields_on_cuda() -> str:
    """One line that says why no field can be worked on by a GPU here, "" where one can. gsplat has no part in it."""
    missing = find_spec("triton") is None
    return _why_no_cuda_device() or ("cuda: hash grids need Triton; pip install triton" if missing else "")


def describe(wanted: Literal["auto", "cpu", "cuda"] = "auto") -> str:
    """One line that names the backend in use, threads, CPU features and GPU."""
    backend = choose(wanted)
    if backend == "cuda":
        import torch

        return f"cuda: gsplat on {torch.cuda.get_device_name()}"
    threads = num_threads()
    features = kernels().compiled_features()
    width = "AVX-512" if "avx512dq" in features else "AVX2" if "avx2" in features else f"plain {platform.machine()}"
    return (
        f"cpu: {threads} thread{'s' if threads != 1 else ''}, {width} kernels ({why_not('cuda') or 'cuda works too'})"
    )


def num_threads() -> int:
    """Threads that the CPU kernels use."""
    return kernels().num_threads()


def set_num_threads(threads: int) -> None:
    """Sets the number of threads of the CPU kernels; waits for a picture in the making."""
    if not 1 <= threads <= 1024:
        raise ValueError(f"threads: {threads}; must be 1 to 1024")
    kernels().set_num_threads(threads)


@cache
def kernels() -> ModuleType:
    """The compiled kernels, checked against this CPU.

    Raises:
        RuntimeError: they were not built, or were built for another CPU; the sentence says what to do.
    """
    try:
        from .cpu import _kernels  # type: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise RuntimeError(
            f"cpu: the compiled kernels do not load ({error}); build them with `pip install -e .` in the project folder"
        ) from error
    missing = _kernels.missing_features()
    if missing:
        raise RuntimeError(
            f"cpu: the kernels were built for {', '.join(_kernels.compiled_features())}; this CPU lacks "
            f"{', '.join(missing)}; reinstall on this machine, or with H3D_ARCH=x86-64-v3 in the environment"
        )
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_kernels.reset_after_fork)
    return _kernels


@cache
def _why_not_cpu() -> str:
    try:
        kernels()
    except RuntimeError as error:
        return str(error)
    return ""


@cache
def _why_no_cuda_device() -> str:
    import torch

    if torch.version.cuda is None:
        return f"cuda: torch {torch.__version__} is built without CUDA"
    return "" if torch.cuda.is_available() else f"cuda: torch {torch.__version__} finds no CUDA device"


@cache
def _why_not_cuda() -> str:
    if reason := _why_no_cuda_device():
        return reason
    try:
        import gsplat.cuda._backend as backend  # Builds gsplat's kernels when there are none yet.
    except Exception as error:  # noqa: BLE001 - a failed build raises whatever its compiler driver does.
        return f"cuda: gsplat's kernels do not load: {' '.join(str(error).split())[:200]}"
    built = getattr(backend, "_C", None) is not None
    return "" if built else "cuda: gsplat's kernels are not built: it found no CUDA toolkit (nvcc)"
