"""Splat files: `read(path)`, `write(path, value)`, `describe(path)`; one file a format, one table for all.

Content decides where it is clear (PLY, SPZ, SOG and checkpoints carry a mark); .splat and .ksplat carry none, there
the suffix does.
Every reader returns `Gaussians` in this program's conventions (`h3d.renderers`): quaternions wxyz, sizes as natural
logarithms, opacities as logits, SH as [N, K, 3], axes x right, y down, z forward. Every failure is a `FormatError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians

from . import beside, compressed_ply, ksplat, ply, point_cloud, sog, splat, splatfacto_checkpoint, spz
from .errors import FormatError
from .ply_header import MAGIC as PLY_MAGIC
from .ply_header import read_header
from .scenes import find_scene
from .torch_zip import is_torch_zip

__all__ = [
    "READABLE",
    "WRITABLE",
    "Description",
    "FormatError",
    "check_output",
    "describe",
    "file_bytes",
    "find_scene",
    "keeps_compensation",
    "read",
    "sha256",
    "write",
]


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    name: str
    suffixes: tuple[str, ...]
    """Endings of file names, the first being the usual one."""
    read: Callable[[Path], Gaussians]
    version: Callable[[Path], str]
    """A few words beside the name: which variant of the format a file is."""
    write: Callable[[Path, Gaussians], None] | None
    quantisation: str
    """How far a value may move when it is written and read back."""
    also: tuple[str, ...] = ()
    """Endings under which such files are common too, though `write` takes them for another format."""


_COMPRESSED = Format(
    "compressed PLY",
    (".compressed.ply",),
    compressed_ply.read,
    lambda path: compressed_ply.version(read_header(path)),
    compressed_ply.write,
    compressed_ply.QUANTISATION,
    also=(".ply",),
)
_PLY = Format("3DGS PLY", (".ply",), ply.read, lambda path: ply.version(read_header(path)), ply.write, ply.QUANTISATION)
_POINTS = Format(
    "point cloud PLY", (".ply",), point_cloud.read, lambda path: ply.version(read_header(path)), None, "exact float32"
)
_SPLAT = Format("splat", (".splat",), splat.read, lambda path: "", splat.write, splat.QUANTISATION)
_KSPLAT = Format("ksplat", (".ksplat",), ksplat.read, ksplat.version, None, ksplat.QUANTISATION)
_SPZ = Format("SPZ", (".spz",), spz.read, spz.version, spz.write, spz.QUANTISATION)
_SPLATFACTO = Format(
    "splatfacto checkpoint",
    (splatfacto_checkpoint.SUFFIX,),
    splatfacto_checkpoint.read,
    splatfacto_checkpoint.version,
    None,
    splatfacto_checkpoint.QUANTISATION,
)
_SOG = Format("SOG", (".sog", "meta.json"), sog.read, sog.version, sog.write, sog.QUANTISATION)

# Longer suffixes stand first: .compressed.ply also ends in .ply.
FORMATS = (_COMPRESSED, _PLY, _POINTS, _SPLAT, _KSPLAT, _SPZ, _SOG, _SPLATFACTO)
READABLE = tuple(dict.fromkeys(suffix for f in FORMATS for suffix in f.suffixes))
"""Suffixes that `read` knows."""
WRITABLE = {suffix: f.quantisation for f in FORMATS if f.write is not None for suffix in f.suffixes}
"""Suffixes that `write` knows, and how far each format may move a value."""


@dataclass(frozen=True)
class Description:
    """What `h3d info FILE` prints."""

    path: Path
    format: str
    version: str
    count: int
    sh_degree: int
    bounds_min: tuple[float, float, float]
    bounds_max: tuple[float, float, float]
    file_bytes: int
    memory_bytes: int
    antialiased: bool
    quantisation: str
    remark: str
    network: str
    """The compensation beside the rows, in a few words; empty where there is none."""


def read(path: Path | str) -> Gaussians:
    """The Gaussians of a file, or of the one scene in a folder.

    Raises: FormatError, one sentence with file, place, rule and way out.
    """
    return _read(Path(path))[2]


def write(path: Path | str, value: Gaussians) -> None:
    """Writes in the format that the suffix names; the file appears whole or not at all.

    A compensation goes into a file beside a .ply; with any other it is left out (`keeps_compensation`).

    Raises: FormatError when no format has this suffix, or the value cannot be written in it. OSError from the disk.
    """
    path = Path(path)
    writer = _writer(path)
    if len(value) == 0:
        raise FormatError(path, "value", "there are 0 Gaussians to write", "keep at least one")
    if not keeps_compensation(path):
        writer(path, value)
        return
    with beside.written_with(path, value):
        writer(path, value)


def keeps_compensation(path: Path) -> bool:
    """Whether what is written under that name keeps a compensation: rows in their order and exact, as a .ply does."""
    return path.name.lower().endswith(_PLY.suffixes) and not path.name.lower().endswith(_COMPRESSED.suffixes)


def check_output(path: Path | str) -> None:
    """Whether a file can be one that is written: asked before long work.

    Raises:
        FormatError: no format is written with this suffix.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    _writer(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")


def describe(path: Path | str) -> Description:
    """Reads a file and says what it holds.

    Raises: FormatError as `read`.
    """
    file, chosen, value = _read(Path(path))
    low, high = value.means.min(dim=0).values.tolist(), value.means.max(dim=0).values.tolist()
    return Description(
        path=file,
        format=chosen.name,
        version=chosen.version(file),
        count=len(value),
        sh_degree=value.sh_degree,
        bounds_min=(low[0], low[1], low[2]),
        bounds_max=(high[0], high[1], high[2]),
        file_bytes=_size(file, chosen),
        memory_bytes=value.nbytes,
        antialiased=value.antialiased,
        quantisation=chosen.quantisation,
        remark=value.remark,
        network="" if value.compensation is None else value.compensation.text,
    )


def file_bytes(path: Path | str) -> int:
    """Bytes on the disk of a scene's file, with what lies beside it; of a SOG folder, of meta.json and textures.

    Raises: FormatError as `read`, though only for what shows before the rows are read.
    """
    return _size(*_locate(Path(path)))


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a scene's file; where it is several, of one after the other.

    Raises: FormatError as `read`, though only for what shows before the rows are read.
    """
    file, chosen = _locate(Path(path))
    digest = hashlib.sha256()
    for part in _parts(file, chosen):
        with open(part, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _writer(path: Path) -> Callable[[Path, Gaussians], None]:
    chosen = next((f for f in FORMATS if f.write is not None and path.name.lower().endswith(f.suffixes)), None)
    if chosen is None or chosen.write is None:
        rule = f"no format is written with the suffix {''.join(path.suffixes[-1:]) or 'of an empty name'}"
        raise FormatError(path, "name", rule, f"use one of {', '.join(WRITABLE)}")
    return chosen.write


def _size(file: Path, chosen: Format) -> int:
    return sum(part.stat().st_size for part in _parts(file, chosen))


def _parts(file: Path, chosen: Format) -> list[Path]:
    if chosen is _PLY and beside.file_of(file).is_file():
        return [file, beside.file_of(file)]
    return sog.parts(file) if chosen is _SOG else [file]


def _locate(path: Path) -> tuple[Path, Format]:
    file = find_scene(path) if path.is_dir() else path
    return file, _format_of(file)


def _read(path: Path) -> tuple[Path, Format, Gaussians]:
    try:
        file, chosen = _locate(path)
        # Values that are no numbers, or overflow, are found by `rows.checked`: it names them, numpy would only warn.
        with np.errstate(all="ignore"):
            value = chosen.read(file)
        if chosen is _PLY:
            value = beside.with_compensation(file, value)
    except OSError as error:
        rule = f"cannot be read ({error.strerror or error})"
        raise FormatError(path, "file", rule, "check its name and permissions") from error
    if not file.name.lower().endswith(chosen.suffixes + chosen.also):
        found = f"read as {chosen.name}, which its content is, not as what its name ends in"
        value = replace(value, remark=f"{value.remark}; {found}" if value.remark else found)
    return file, chosen, value


def _format_of(path: Path) -> Format:
    """The format of a file by its first bytes, else by its suffix."""
    if not path.exists():
        raise FormatError(path, "file", "there is no such file or folder", "check the path")
    if not path.is_file():
        raise FormatError(path, "file", "is neither a file nor a folder", "give a splat file")
    with open(path, "rb") as file:
        start = file.read(16)
    if len(start) == 0:
        raise FormatError(path, "file", "is empty (0 bytes)", "fetch or export it again")
    if start.startswith(PLY_MAGIC):
        return _ply_format(path)
    if spz.is_spz(start):
        return _SPZ
    if start.startswith(sog.ZIP_MAGIC) and is_torch_zip(path):
        return _SPLATFACTO
    if start.startswith(sog.ZIP_MAGIC) or path.name.lower().endswith(".json"):
        return _SOG
    for unmarked in (_SPLAT, _KSPLAT):
        if path.name.lower().endswith(unmarked.suffixes):
            return unmarked
    named = next((f for f in FORMATS if path.name.lower().endswith(f.suffixes)), None)
    rule = f"starts with {start[:8]!r}, which no {named.name if named else 'splat'} file does"
    raise FormatError(path, "first bytes", rule, f"give one of {', '.join(READABLE)}")


def _ply_format(path: Path) -> Format:
    header = read_header(path)
    if compressed_ply.is_compressed(header):
        return _COMPRESSED
    vertex = header.element("vertex")
    return _PLY if vertex is not None and any(name in vertex.names for name in ply.MARKS) else _POINTS
