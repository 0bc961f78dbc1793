"""Proves our own writer of safetensors by the library's reader, and that it holds nothing twice."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import safetensors.torch
import torch

from h3d.models.formats.tensors import read_safetensors, write_safetensors


def test_every_type_is_read_back_by_the_library(tmp_path: Path):
    tensors = {
        "bytes": torch.arange(7, dtype=torch.uint8),
        "half_turned": torch.rand(5, 3).T,
        "wide": torch.rand(2, 2, dtype=torch.float64),
        "counts": torch.arange(6, dtype=torch.int32).reshape(2, 3),
        "ids": torch.arange(3),
        "nothing": torch.zeros(0, 4),
        "number": torch.tensor(3.5),
    }
    with open(tmp_path / "a.safetensors", "wb") as stream:
        write_safetensors(stream, {"format": "a kind", "é": 1}, tensors)
    loaded = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    header, again = read_safetensors(tmp_path / "a.safetensors", "a kind")
    assert header == {"format": "a kind", "é": 1} and again.keys() == tensors.keys()


def test_the_header_is_plain_json_that_begins_at_byte_eight(tmp_path: Path):
    with open(tmp_path / "a.safetensors", "wb") as stream:
        write_safetensors(stream, {"format": "a kind"}, {"x": torch.ones(3)})
    content = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0
    assert json.loads(content[8 : 8 + size])["x"] == {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}


def test_writing_takes_no_memory_of_its_own(tmp_path: Path):
    tensors = {"large": torch.zeros(1 << 20, 4)}
    tracemalloc.start()
    with open(tmp_path / "a.safetensors", "wb") as stream:
        write_safetensors(stream, {"format": "a kind"}, tensors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
