"""Files of fields: `read_field(path)`, `write_field(path, field)`; which kind a file holds is said by its header.

Splat files have a door of their own, `h3d.models.formats`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import hash_grid, signed_distance
from .field_view import Field
from .formats.errors import FormatError
from .formats.tensors import SUFFIX, read_header

READERS: dict[str, Callable[[Path], Field]] = {
    hash_grid.FORMAT: hash_grid.load,
    signed_distance.FORMAT: signed_distance.load,
}
"""By the "format" in a file's header."""
RUN_FIELD = "field.safetensors"
"""What a run of h3d train leaves in its folder."""


def is_field(path: Path) -> bool:
    """Whether `read_field` is the one to ask, judged by names alone: a field's file, or the folder of a run."""
    return path.name.lower().endswith(SUFFIX) or (path.is_dir() and (path / RUN_FIELD).is_file())


def read_field(path: Path) -> Field:
    """The field of a file, or of the run in a folder.

    Raises:
        FormatError: it holds no field that we know, or it is damaged; one sentence.
        OSError: it cannot be read.
    """
    file = path / RUN_FIELD if path.is_dir() else path
    kind = read_header(file)["format"]
    if kind not in READERS:
        known = ", ".join(repr(name) for name in READERS)
        way_out = "a checkpoint goes on with h3d train --resume" if "training" in kind else "use a newer h3d-view"
        raise FormatError(file, "header", f"the format is {kind!r}; fields are {known}", way_out)
    return READERS[kind](file)


def write_field(path: Path, field: Field) -> None:
    """Writes a field as one file, whole or not at all.

    Raises:
        FormatError: the suffix is not one that fields are written with.
    """
    if not path.name.lower().endswith(SUFFIX):
        raise FormatError(path, "name", f"a field is not written as {path.suffix or 'a file without suffix'}", SUFFIX)
    field.save(path)
