"""Arrays that took seconds to work out, kept on the disk for the next time.

An entry is one uncompressed .npz, whose checksums tell a damaged one from a whole one; its name holds a hash of all
that the arrays follow from. Nothing here fails: what cannot be read is worked out again, what cannot be written is
done without. The folder is kept within a bound: entries that were not used for the longest time go first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .cache_folder import cache_folder
from .formats.atomic import replacing

logger = logging.getLogger(__name__)

FOLDER_BYTES = 4 << 30
SUFFIX = ".arrays.npz"
ABANDONED_SECONDS = 3600.0
"""A file under way that nobody has written to for so long is what a killed program left."""

Arrays = dict[str, np.ndarray]


def key_of(*parts: np.ndarray | str) -> str:
    """A name for what follows from these arrays, of their shapes, types and bytes, and from these words."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def remembered(name: str, layout: dict[str, tuple[tuple[int, ...], str]], work_out: Callable[[], Arrays]) -> Arrays:
    """The arrays of an entry, worked out and kept where there is none yet or it is damaged.

    `layout` is each array's shape and type: an entry that has others is taken for damaged.
    """
    file = cache_folder() / f"{name}{SUFFIX}"
    found = _load(file, layout)
    if found is None:
        found = work_out()
        _save(file, found)
    return found


def _load(file: Path, layout: dict[str, tuple[tuple[int, ...], str]]) -> Arrays | None:
    try:
        with np.load(file, allow_pickle=False) as entry:
            arrays = {name: entry[name] for name in layout}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        logger.warning("%s: cannot be read (%s); it is worked out again", file, error)
        return None
    wrong = [n for n, (shape, dtype) in layout.items() if arrays[n].shape != shape or arrays[n].dtype != dtype]
    if wrong:
        logger.warning("%s: %s has another shape or type; it is worked out again", file, wrong[0])
        return None
    try:
        os.utime(file)  # Used last: the last to go.
    except OSError as error:
        logger.debug("%s: its time cannot be set (%s)", file, error)
    return arrays


def _save(file: Path, arrays: Arrays) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_room(file.parent, sum(array.nbytes for array in arrays.values()))
        with replacing(file) as stream:
            np.savez(stream, **arrays)  # type: ignore[reportArgumentType]
    except OSError as error:
        logger.warning("%s: cannot be kept for the next time (%s)", file, error)


def _make_room(folder: Path, needed: int) -> None:
    for part in folder.glob(f".*{SUFFIX}.*.part"):
        if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
            part.unlink(missing_ok=True)
    status = {file: file.stat() for file in folder.glob(f"*{SUFFIX}")}
    total = sum(s.st_size for s in status.values())
    for file in sorted(status, key=lambda file: status[file].st_mtime):
        if total + needed <= FOLDER_BYTES:
            break
        total -= status[file].st_size
        file.unlink(missing_ok=True)
