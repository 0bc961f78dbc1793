"""The one error of this folder, and what it always says: which file, where in it, which rule, the way out."""

from __future__ import annotations

from pathlib import Path

REEXPORT = "re-export it from the program that made it"
DAMAGED = "the file is damaged or cut short: fetch or export it again"


class FormatError(ValueError):
    """A file that cannot be read or written as asked. Nothing of it was loaded, nothing was left half written."""

    def __init__(self, path: Path | str, place: str, rule: str, way_out: str):
        super().__init__(f"{path}: {place}: {rule}; {way_out}")
        self.path, self.place, self.rule, self.way_out = path, place, rule, way_out
