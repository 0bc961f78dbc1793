"""Proves that files of torch.save are read without running anything in them, and that wrong ones are said."""

from __future__ import annotations

import collections
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from h3d.models.formats import torch_zip
from h3d.models.formats.errors import FormatError


def rewritten(path: Path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The same zip with other entries, by the end of their names."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    out = path.with_name(f"other-{path.name}")
    with zipfile.ZipFile(out, "w", compression) as new:
        for name, content in entries.items():
            new.writestr(name, next((value for end, value in changes.items() if name.endswith(end)), content))
    return out


def saved(tmp_path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, tmp_path / "a.ckpt", **options)
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_and_plain_values_come_back(tmp_path: Path, protocol: int):
    whole = torch.rand(6, 7)
    tensors = {
        "plain": whole,
        "turned": whole.t(),
        "part": whole[2:4, 1::2],
        "half": torch.rand(5).half(),
        "bfloat": torch.rand(5).bfloat16(),
        "bool": torch.rand(9) > 0.5,
        "long": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.rand(3)),
    }
    state = collections.OrderedDict(tensors)
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined] - As Module.state_dict() has it.
    plain = {"step": 3, "big": 2**70, "negative": -5, "share": 0.25, "name": "é", "none": None, "list": [1, (2, True)]}
    found = torch_zip.read(saved(tmp_path, {"state": state, **plain}, pickle_protocol=protocol))
    for name, tensor in tensors.items():
        assert torch.equal(found["state"][name].load(), tensor.detach()), name
    assert {key: found[key] for key in plain} == plain


def test_values_of_other_libraries_are_passed_over(tmp_path: Path):
    found = torch_zip.read(saved(tmp_path, {"rate": np.float64(0.1), "after": 5, "device": torch.device("cpu")}))
    assert found["after"] == 5
    assert isinstance(found["rate"], torch_zip.Ignored) and isinstance(found["device"], torch_zip.Ignored)


class Hostile:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.system, ("touch pwned",)), f"{os.name}.system"),
        ((eval, ("open('pwned', 'w')",)), "(__builtin__|builtins).eval"),
        ((getattr, (os, "system")), "(__builtin__|builtins).getattr"),
        ((torch.load, ("pwned",)), "torch.serialization.load"),
    ],
)
def test_what_would_run_something_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, call: Any, name: str
):
    monkeypatch.chdir(tmp_path)
    value = call if call[0] is not getattr else (getattr, ("", "join"))
    path = saved(tmp_path, {"pipeline": Hostile(*value)}, pickle_protocol=protocol)
    with pytest.raises(FormatError, match=f"data.pkl: it asks for {name} to be called; it is no plain checkpoint"):
        torch_zip.read(path)
    assert not (tmp_path / "pwned").exists()


def test_instructions_that_make_objects_are_refused(tmp_path: Path):
    path = saved(tmp_path, {"a": 1})
    for program, found in (
        (b"(S'touch pwned'\nios\nsystem\n.", "STRING"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
    ):
        with pytest.raises(FormatError, match=f"has the instruction {found}, which no plain checkpoint has"):
            torch_zip.read(rewritten(path, {"data.pkl": program}))


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (b"", "it is no valid pickle"),
        (b"\x80\x02}", "it is no valid pickle"),
        (b".", "it is no valid pickle"),
        (b"\x80\x02u.", "it is no valid pickle"),
        (b"\x80\x02K\x05K\x06K\x07s.", "items are set on what is no dict"),
        (b"\x80\x02h\x05.", "it is no valid pickle"),
        (b"\x80\x02K\x05K\x06R.", "something is called that is no name"),
        (b"\x80\x02K\x05Q.", "it is no valid pickle"),
        (b"\x80\x02]]s.", "it is no valid pickle"),
        (b"\x80\x02}\x5d\x4b\x01s.", "it is no valid pickle"),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "it is no valid pickle"),
    ],
)
def test_programs_that_make_no_sense_are_said(tmp_path: Path, program: bytes, sentence: str):
    with pytest.raises(FormatError, match=f"data.pkl: .*{re.escape(sentence)}"):
        torch_zip.read(rewritten(saved(tmp_path, {"a": 1}), {"data.pkl": program}))


def test_tensors_must_lie_in_their_storage(tmp_path: Path):
    path = saved(tmp_path, {"t": torch.rand(100)})
    with zipfile.ZipFile(path) as archive:
        program = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert program.count(b"Kd") == 2  # The storage's numbers, and the tensor's.
    of_storage, of_tensor = program.index(b"Kd"), program.rindex(b"Kd")
    for at, wrong in ((of_storage, b"K\x09"), (of_tensor, b"K\xff")):
        with pytest.raises(FormatError, match=r"a tensor of \[\d+\] does not lie in its storage of \d+"):
            torch_zip.read(rewritten(path, {"data.pkl": program[:at] + wrong + program[at + 2 :]}))
    with pytest.raises(FormatError, match="storage 0: has 40 bytes, its 100 numbers have 400"):
        torch_zip.read(rewritten(path, {"data/0": bytes(40)}))["t"].load()
    with pytest.raises(FormatError, match="data/0: has 400 bytes, must be stored plain"):
        torch_zip.read(_compressed(path))["t"].load()


def _compressed(path: Path) -> Path:
    """With its storages deflated, its pickle not."""
    out = path.with_name("deflated.ckpt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            kind = zipfile.ZIP_DEFLATED if "/data/" in name else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), kind)
    return out


def test_files_of_other_kinds_are_said(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FormatError, match="zip: File is not a zip file"):
        torch_zip.read(path)
    assert not torch_zip.is_torch_zip(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", "{}")
    with pytest.raises(FormatError, match="data.pkl: is not in the file; give a checkpoint that torch.save wrote"):
        torch_zip.read(path)
    torch.save({"a": 1}, path)
    assert torch_zip.is_torch_zip(path)
    with pytest.raises(FormatError, match="byteorder: is b'big', only little is read"):
        torch_zip.read(rewritten(path, {"byteorder": b"big"}))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FormatError, match="zip: "):
        torch_zip.read(path)
