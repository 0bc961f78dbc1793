"""What can be changed and asked of a run between two steps, by whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from h3d.models.hash3d import CacheView
from h3d.models.knobs import Knob, Setting

from .edits import RowEdit, edit_from_json


def _fixed(name: str, value: Setting) -> None:
    raise KeyError(f"{name}: it cannot be changed while this is trained")


def _no_rows(edit: RowEdit) -> RowEdit:
    raise ValueError(f"{type(edit).__name__.lower()}: what is trained here has no rows that a hand could edit")


def _no_cache() -> None:
    return None


@dataclass(frozen=True)
class Live:
    """A run between two steps."""

    knobs: Callable[[], Mapping[str, Knob]] = dict  # by the names that the config has for them
    change: Callable[[str, Setting], None] = _fixed
    """Sets one of the knobs from the next step on. Raises: KeyError where there is none of that name, ValueError
    for a value that it cannot have."""
    facts: Callable[[], Mapping[str, str]] = dict  # what a person may want to know of how it goes, by name
    edit: Callable[[RowEdit], RowEdit] = _no_rows
    """Edits rows by hand before the next step; returns the edit that takes it back. Raises: ValueError where there
    are no rows, or the edit would leave none."""
    meters: Callable[[], Mapping[str, float]] = dict  # numbers to plot over the steps, by name
    cache: Callable[[], CacheView | None] = _no_cache  # of the denoiser that it learns from, where there is one


def replay_edit(live: Live, details: Mapping[str, Any]) -> None:
    """Makes an edit again that an event `edits.EVENT` of a log tells of. Raises: ValueError where it is none."""
    live.edit(edit_from_json(details))


FIXED = Live()
"""Of runs that leave nothing to change."""
