"""Checked values of a JSON object: a frame's own entry first, then the whole file's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LARGEST, RECAPTURE, DatasetError


@dataclass(frozen=True)
class Entries:
    """The entries that hold for one frame, and where they stand, for the error sentences."""

    source: Path
    place: str
    own: dict[str, Any]
    shared: dict[str, Any]

    def get(self, key: str) -> Any:
        """The entry as it is, None where there is none."""
        value = self.own.get(key)
        return self.shared.get(key) if value is None else value

    def text(self, key: str) -> str | None:
        """An entry that must be text."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refused(key, value, "must be text")
        return value

    def number(self, key: str) -> float | None:
        """An entry that must be a finite number."""
        value = self.get(key)
        if value is None:
            return None
        if not _is_number(value):
            raise self.refused(key, value, "must be a finite number")
        return float(value)

    def positive(self, key: str) -> float | None:
        """An entry that must be a finite number above 0."""
        value = self.number(key)
        if value is not None and value <= 0:
            raise self.refused(key, value, "must be above 0")
        return value

    def angle(self, key: str, half_turn: float) -> float | None:
        """An angle of view in radians, from an entry in units of which `half_turn` are 180 degrees."""
        value = self.number(key)
        if value is None:
            return None
        if not 0 < value < half_turn:
            raise self.refused(key, value, f"must lie between 0 and {half_turn:.6g}")
        return value / half_turn * math.pi

    def vector(self, key: str, length: int, value: Any = None) -> tuple[float, ...] | None:
        """A list of finite numbers; `value` is looked at instead of the entry when it is given."""
        value = self.get(key) if value is None else value
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            raise self.refused(key, value, f"must be {length} finite numbers")
        return tuple(float(v) for v in value)

    def refused(self, key: str, value: Any, rule: str) -> DatasetError:
        """The error for an entry that breaks a rule."""
        return DatasetError(self.source, self.place, f"{key} is {ascii(value)[:60]}, {rule}", RECAPTURE)


def _is_number(value: Any) -> bool:
    # The comparison is false for NaN, and exact for whole numbers that no float holds.
    return type(value) in (int, float) and abs(value) <= LARGEST
