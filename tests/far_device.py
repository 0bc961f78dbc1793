"""A device that is not there: arrays on it are computed with, and any that meets an array of the CPU is an error.

It stands for a GPU where there is none: what would fail there, as an array was left on the CPU or read by numpy, fails
here too. Its arrays call themselves torch's "meta"; their values are held beside, on the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from h3d.renderers import backends
from h3d.renderers.cpu import hash_encoding as cpu_hash_encoding
from h3d.renderers.hash_encoding import HashGridConfig

FAR = torch.device("meta")


class FarTensor(torch.Tensor):
    """An array on the device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> FarTensor:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[reportAttributeAccessIssue]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=FAR
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None) -> Any:
        return computed(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"FarTensor({list(self.shape)}, {self.dtype})"


class FarDevice(TorchDispatchMode):
    """While it lasts, arrays that are made on the device are there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the held values; its results lie where its arrays do, or where it was told to make them."""
    arrays = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, torch.Tensor)]
    far = any(isinstance(a, FarTensor) for a in arrays)
    # As CUDA has it: single numbers may come from the CPU.
    near = [a for a in arrays if not isinstance(a, FarTensor) and a.ndim > 0]
    wanted = kwargs.get("device")
    copies = "_to_copy" in str(func) or "copy_" in str(func)
    if far and len(near) > 0 and not copies:
        raise AssertionError(f"{func}: arrays of two devices meet, {[list(a.shape) for a in near]} are on the CPU")
    there = far if wanted is None else torch.device(wanted) == FAR
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    given = {id(_held(a)): a for a in arrays}
    # An operation in place gives its own argument back.
    return tree_map(lambda r: given.get(id(r), _far(r) if there else r) if isinstance(r, torch.Tensor) else r, found)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, FarTensor) else value


def _far(array: torch.Tensor) -> torch.Tensor:
    return FarTensor(array)


@contextmanager
def far_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device in the place of a GPU: the doors take the CUDA twins for its arrays.

    But for the hash encoding's, which is Triton's: the CPU's kernel has to do.
    """
    kernel = SimpleNamespace(hash_encode=_hash_encode)
    monkeypatch.setitem(sys.modules, "h3d.renderers.cuda.hash_encoding", kernel)
    monkeypatch.setattr(backends, "for_device", lambda wanted, device: "cuda" if device == FAR else "cpu")
    # Inference mode has no place for arrays that hold others; to the program it is the same.
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    # Arrays of Python's numbers are made below what a dispatch mode sees.
    made = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda data, *, device="cpu", dtype=None: made(data, dtype=dtype).to(device))
    with FarDevice():
        yield FAR


def _hash_encode(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, *, level_mask: int):
    encoded = cpu_hash_encoding.hash_encode(positions.cpu(), table.cpu(), config, level_mask=level_mask)
    return encoded.to(positions.device)
