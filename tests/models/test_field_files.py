"""Proves the door of field files: names and contents, run folders, descriptions, what is not written as what."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from snapshot_files import nerfstudio_state, snapshot, write_checkpoint, write_snapshot
from splat_files import Recipe, scene

from h3d.models import formats, hash_grid
from h3d.models.field_files import (
    READABLE,
    RUN_FIELD,
    WRITABLE,
    describe_field,
    field_file,
    is_field,
    read_field,
    write_field,
)
from h3d.models.formats.errors import FormatError
from h3d.models.hash_grid import HashGridField
from h3d.models.nerfstudio_field import NerfstudioField


def test_tables_name_every_suffix_with_its_quantisation():
    assert READABLE == (".safetensors", ".ingp", ".msgpack", ".ckpt", ".scene.json")
    assert list(WRITABLE) == [".safetensors", ".ingp", ".msgpack", ".scene.json"]
    assert all(len(quantisation) > 0 for quantisation in WRITABLE.values())


@pytest.mark.parametrize("suffix", [".safetensors", ".ingp", ".msgpack"])
def test_every_format_is_written_and_read_by_its_suffix(tmp_path: Path, suffix: str):
    field = read_field(write_snapshot(tmp_path / "a.ingp", snapshot()))
    assert isinstance(field, HashGridField)
    path = tmp_path / f"B{suffix.upper()}"
    write_field(path, field)
    back = read_field(path)
    assert isinstance(back, HashGridField) and torch.equal(back.table, field.table)
    found = describe_field(path)
    assert found.path == path and found.file_bytes == path.stat().st_size and found.quantisation == WRITABLE[suffix]
    assert found.field.facts["parameters"] == "2,784, of which 1,200 are the networks'"


def test_contents_tell_what_names_do_not(tmp_path: Path):
    write_snapshot(tmp_path / "a.ingp", snapshot()).rename(tmp_path / "a.bin")
    write_checkpoint(tmp_path / "b.ckpt", nerfstudio_state("torch", levels=1)).rename(tmp_path / "b.pt")
    read_field(tmp_path / "b.pt").save(tmp_path / "c")
    assert isinstance(read_field(tmp_path / "a.bin"), HashGridField)
    assert isinstance(read_field(tmp_path / "b.pt"), NerfstudioField)
    assert isinstance(read_field(tmp_path / "c"), NerfstudioField)
    for suffix in (".ply", ".spz", ".sog", ".splat"):
        formats.write(tmp_path / f"d{suffix}", scene(Recipe(seed=0, count=20, degree=0, extent=1.0)))
        assert not is_field(tmp_path / f"d{suffix}")


def test_folders_of_runs_are_fields(tmp_path: Path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    assert field_file(ours) is None
    checkpoint = write_checkpoint(
        theirs / "nerfstudio_models" / "step-000000100.ckpt", nerfstudio_state("torch", levels=1)
    )
    field = read_field(theirs)
    field.save(ours / RUN_FIELD)
    assert field_file(ours) == ours / RUN_FIELD and field_file(theirs) == checkpoint
    assert isinstance(read_field(ours), NerfstudioField)
    assert describe_field(theirs).format == "nerfstudio checkpoint"


def test_what_is_no_field_or_cannot_be_written_is_said(tmp_path: Path):
    field = read_field(write_checkpoint(tmp_path / "a.ckpt", nerfstudio_state("torch", levels=1)))
    with pytest.raises(FormatError, match="a NerfstudioField is no field of instant-ngp's; save it as .safetensors"):
        write_field(tmp_path / "b.ingp", field)
    for name in ("b.ply", "b.ckpt", "b"):
        with pytest.raises(FormatError, match="name: a field is not written as .*; use one of .safetensors, .ingp"):
            write_field(tmp_path / name, field)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FormatError, match="notes.txt: file: holds no field; give one of .safetensors, .ingp"):
        read_field(tmp_path / "notes.txt")
    with pytest.raises(FormatError, match="file: there is no such file or folder"):
        read_field(tmp_path / "none.ingp")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "notes.txt"]


def test_a_newer_kind_of_field_is_named(tmp_path: Path):
    field = read_field(write_snapshot(tmp_path / "a.ingp", snapshot()))
    field.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content.replace(hash_grid.FORMAT.encode(), b"h3d hash grid field 9"))
    with pytest.raises(FormatError, match="the format is 'h3d hash grid field 9'; fields are 'h3d hash grid field 1'"):
        read_field(tmp_path / "a.safetensors")
