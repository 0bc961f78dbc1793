"""Files of a data set: names that stay below the folder that was opened, photos by name, JSON with comments."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import DAMAGED, RECAPTURE, DatasetError
from .pictures import EXTENSIONS

JSON_LIMIT = 1 << 30
_COMMENTS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which r_2 comes before r_10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part != ""]


def below(source: Path, folder: Path, name: str) -> Path:
    """The file `name` of `folder`, refused when it would lie outside, links included.

    Raises: DatasetError that blames `source`, the file which says the name.
    """
    slashed = name.replace("\\", "/")
    try:
        found = (folder / PurePosixPath(slashed)).resolve()
        inside = found.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # A NUL, a loop of links, a name too long for the disk.
        inside = False
    if not inside or re.match(r"[A-Za-z]:/", slashed) is not None:
        rule = f"names {ascii(name[:120])}, which is not below the opened folder"
        raise DatasetError(source, "paths", rule, "keep the photos inside the folder and open that")
    return folder / PurePosixPath(slashed)


def find_photo(source: Path, folder: Path, name: str) -> Path | None:
    """The photo `name` of `folder`, with one of the usual extensions if it has none; None when there is no such file.

    Raises: DatasetError when it would lie outside the folder.
    """
    exact = below(source, folder, name)
    if exact.is_file():
        return exact
    if exact.suffix.lower() in EXTENSIONS or exact.name == "":
        return None
    for extension in EXTENSIONS:
        for written in (extension, extension.upper()):
            # The longer name may itself be a link that leads outside.
            candidate = below(source, folder, name + written)
            if candidate.is_file():
                return candidate
    return None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a .json, `//` and `/* */` comments allowed.

    Raises: DatasetError when there is none.
    """
    try:
        size = path.stat().st_size
        if size > JSON_LIMIT:
            raise DatasetError(path, "file", f"is {size:,} bytes long, more than {JSON_LIMIT:,}", RECAPTURE)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        way_out = "check its name and permissions"
        raise DatasetError(path, "file", f"cannot be read ({error.strerror or error})", way_out) from error
    except UnicodeDecodeError as error:
        raise DatasetError(path, "file", f"is no UTF-8 text (byte {error.start})", DAMAGED) from error
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(path, "file", f"is no JSON ({error})", DAMAGED) from error
    if not isinstance(value, dict):
        raise DatasetError(path, "file", 'must hold an object with "frames"', RECAPTURE)
    return value


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(_COMMENTS.sub(lambda found: found[0] if found[0].startswith('"') else " ", text))
