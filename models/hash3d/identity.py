"""When entries stop being true: whether the model is still the one that computed them, and under which condition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

SAMPLED = 64
"""Values of each parameter that a digest looks at."""


class ModelIdentity:
    """Notices that parameters, buffers or modules of a model were replaced or written to.

    It is asked at every call of the UNet, so it goes through flat lists made once, not through the tree.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._remember()

    def changed(self) -> bool:
        """Whether anything is another than at the last call."""
        if self._ids() == self._seen_ids and self._contents() == self._seen_contents:
            return False
        self._remember()
        return True

    def _remember(self) -> None:
        holders = [d for m in self._model.modules() for d in (m._modules, m._parameters, m._buffers)]
        self._holders: list[dict[str, Any]] = [d for d in holders if len(d) > 0]
        held = [value for values in self._holders for value in values.values()]
        self._tensors = [value for value in held if isinstance(value, Tensor)]
        self._versioned = [value for value in self._tensors if not value.is_inference()]
        self._seen_ids, self._seen_contents = self._ids(), self._contents()

    def _ids(self) -> list[int]:
        return list(map(id, chain.from_iterable(map(dict.values, self._holders))))

    def _contents(self) -> tuple[list[int], list[int]]:
        return [t.data_ptr() for t in self._tensors], [t._version for t in self._versioned]


def model_digest(model: nn.Module) -> str:
    """Hexadecimal SHA-256 of names, shapes, dtypes and evenly spaced values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // SAMPLED)][: SAMPLED + 1]
        digest.update(some.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


class Conditions:
    """Prompts and images seen, each a number; two are the same where all their values are equal, bit for bit."""

    def __init__(self) -> None:
        self.known: dict[int, dict[str, Any]] = {}
        """The least recently used first."""
        self.next = 0

    def number(self, condition: Mapping[str, Any]) -> int:
        """The number of a condition; a new one gets a new number and is kept as a copy."""
        for number in reversed(list(self.known)):
            if _same(self.known[number], condition):
                self.known[number] = self.known.pop(number)
                return number
        self.known[self.next] = {name: _kept(value) for name, value in condition.items()}
        self.next += 1
        return self.next - 1

    def forget_beyond(self, count: int) -> Iterable[int]:
        """Forgets the least recently used ones but `count`, and says which."""
        surplus = list(self.known)[: max(0, len(self.known) - count)]
        for number in surplus:
            del self.known[number]
        return surplus

    def clear(self) -> None:
        self.known.clear()


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)


def _equal(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return type(a) is type(b) and a == b
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
