"""The one error of this folder, and what it always says: which file, where in it, which rule, the way out."""

from __future__ import annotations

from pathlib import Path

RECAPTURE = "export the cameras again from the program that made them"
DAMAGED = "the file is damaged or cut short: fetch or export it again"
LARGEST = 1e12
"""Coordinates and lengths beyond this count as not finite: they come from failed solves or damaged files."""


class DatasetError(ValueError):
    """A set of posed images that cannot be read. Nothing of it was loaded."""

    def __init__(self, path: Path | str, place: str, rule: str, way_out: str):
        super().__init__(f"{path}: {place}: {rule}; {way_out}")
        self.path, self.place, self.rule, self.way_out = path, place, rule, way_out
