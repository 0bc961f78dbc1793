"""Files of fields: `read_field(path)`, `write_field(path, field)`, `describe_field(path)`; one table for all.

What a file holds is said by its name, and where the name says nothing by how it begins; which kind of field one of our
own files holds is said by its header. Splat files have a door of their own, `h3d.models.formats`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import hash_grid, image_field, nerfstudio_field, path_traced, signed_distance, surface_scene
from .field_view import Field
from .formats import ingp, nerfstudio_checkpoint, torch_zip
from .formats.errors import FormatError
from .formats.ingp_schema import GZIP_MAGIC
from .formats.nerfstudio_folder import find_checkpoint
from .formats.splatfacto_checkpoint import is_splatfacto
from .formats.tensors import SUFFIX, read_header

READERS: dict[str, Callable[[Path], Field]] = {
    hash_grid.FORMAT: hash_grid.load,
    nerfstudio_field.FORMAT: nerfstudio_field.load,
    signed_distance.FORMAT: signed_distance.load,
    image_field.FORMAT: image_field.load,
    path_traced.FORMAT: path_traced.load,
}
"""Of our own files, by the "format" in the header."""
RUN_FIELD = "field.safetensors"
"""What a run of h3d train leaves in its folder."""


@dataclass(frozen=True)
class FieldFormat:
    """One row of the table."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Field]
    write: Callable[[Path, Field], None] | None
    version: Callable[[Path], str]
    """A few words beside the name: which variant of the format a file is."""
    quantisation: str
    """How far a value may move when it is written and read back."""


@dataclass(frozen=True)
class FieldDescription:
    """What `h3d info FILE` prints, beside what the field says of itself."""

    path: Path
    format: str
    version: str
    file_bytes: int
    quantisation: str
    field: Field


def _read_ours(path: Path) -> Field:
    kind = read_header(path)["format"]
    if kind not in READERS:
        known = ", ".join(repr(name) for name in READERS)
        way_out = "a checkpoint goes on with h3d train --resume" if "training" in kind else "use a newer h3d-view"
        raise FormatError(path, "header", f"the format is {kind!r}; fields are {known}", way_out)
    return READERS[kind](path)


def _write_ingp(path: Path, field: Field) -> None:
    if not isinstance(field, hash_grid.HashGridField):
        kind = type(field).__name__
        raise FormatError(path, "value", f"a {kind} is no field of instant-ngp's", f"save it as {SUFFIX}")
    ingp.write(path, field)


def _write_scene(path: Path, field: Field) -> None:
    if not isinstance(field, path_traced.PathTracedScene):
        raise FormatError(path, "value", f"a {type(field).__name__} is no scene of surfaces", f"save it as {SUFFIX}")
    field.without_cache.save(path)


_OURS = FieldFormat(
    "h3d field", (SUFFIX,), _read_ours, lambda path, field: field.save(path), lambda path: "safetensors", "exact"
)
_INGP = FieldFormat("instant-ngp snapshot", ingp.SUFFIXES, ingp.read, _write_ingp, ingp.version, ingp.QUANTISATION)
_NERFSTUDIO = FieldFormat(
    "nerfstudio checkpoint", (nerfstudio_checkpoint.SUFFIX,), nerfstudio_checkpoint.read, None, lambda path: "", "exact"
)
_SCENE = FieldFormat(
    "scene of surfaces",
    (surface_scene.SUFFIX,),
    path_traced.read_scene_field,
    _write_scene,
    lambda path: "JSON",
    "exact",
)
FORMATS = (_OURS, _INGP, _NERFSTUDIO, _SCENE)
READABLE = tuple(suffix for row in FORMATS for suffix in row.suffixes)
"""Suffixes that `read_field` knows."""
WRITABLE = {suffix: row.quantisation for row in FORMATS if row.write is not None for suffix in row.suffixes}
"""Suffixes that `write_field` knows, and how far each format may move a value."""


def field_file(path: Path) -> Path | None:
    """The file of the field that a path means: itself, a run's of h3d train, a run's newest checkpoint of nerfstudio.

    None where the path means no field.
    """
    if path.is_dir():
        file = path / RUN_FIELD if (path / RUN_FIELD).is_file() else find_checkpoint(path)
    else:
        file = path if _format_of(path) is not None else None
    return None if file is None or is_splatfacto(file) else file


def is_field(path: Path) -> bool:
    """Whether `read_field` is the one to ask."""
    return field_file(path) is not None


def read_field(path: Path) -> Field:
    """The field of a file, or of the run in a folder.

    Raises:
        FormatError: it holds no field that we know, is damaged or cannot be read; one sentence.
    """
    return _read(path)[2]


def describe_field(path: Path) -> FieldDescription:
    """Reads a field and says what its file is; raises what `read_field` does."""
    file, row, field = _read(path)
    return FieldDescription(file, row.name, row.version(file), file.stat().st_size, row.quantisation, field)


def write_field(path: Path, field: Field) -> None:
    """Writes a field in the format that the suffix names, whole or not at all.

    Raises:
        FormatError: no format of fields has this suffix, or this kind of field cannot be written in it.
    """
    write = next((row.write for row in FORMATS if path.name.lower().endswith(row.suffixes)), None)
    if write is None:
        rule = f"a field is not written as {path.suffix or 'a file without suffix'}"
        raise FormatError(path, "name", rule, f"use one of {', '.join(WRITABLE)}")
    write(path, field)


def _read(path: Path) -> tuple[Path, FieldFormat, Field]:
    file = field_file(path) if path.exists() else None
    row = None if file is None else _format_of(file)
    if file is None or row is None:
        rule = "there is no such file or folder" if not path.exists() else "holds no field"
        raise FormatError(path, "file", rule, f"give one of {', '.join(READABLE)}, or a run of nerfstudio's")
    try:
        return file, row, row.read(file)
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise FormatError(file, "file", rule, "check its name and permissions") from error


def _format_of(path: Path) -> FieldFormat | None:
    """By the end of a name, else by the beginning of a file; None where it is no field."""
    named = next((row for row in FORMATS if path.name.lower().endswith(row.suffixes)), None)
    if named is not None or not path.is_file():
        return named
    with open(path, "rb") as file:
        start = file.read(1 << 12)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 27:
        return _OURS
    if start.startswith(b"PK\x03\x04") and torch_zip.is_torch_zip(path):
        return _NERFSTUDIO
    return _INGP if start.startswith(GZIP_MAGIC) and _holds_a_map(start) else None


def _holds_a_map(start: bytes) -> bool:
    """Whether a gzip stream unpacks to a MessagePack map, which begins otherwise than all splat files."""
    try:
        first = zlib.decompressobj(31).decompress(start, 1)
    except zlib.error:
        return False
    return len(first) > 0 and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))
