"""Edits by hand of rows that are being learnt: what they are, how they are written down, and made again.

An edit acts between two steps, on the rows that there are then. A selection by geometry is evaluated anew at that step:
what was born since the person looked goes too where it satisfies it, so that a crop leaves nothing outside. One by ids
means these rows alone; of a row that has split meanwhile the halves stay. Each edit gives the one that takes it back,
which names rows by their ids.

A placing is absolute: where the world of the data lies in the world of the rows as they are shown. The rows that are
learnt stay in the world of their data, with their cameras and their moments, and are moved on their way out: Adam's
mean squares are of single axes and could not be turned, thresholds and noise are in units of that world, and so the
training goes on bit for bit as if nobody had moved anything, and undo is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from h3d.models.selection import Rows, Selection
from h3d.models.similarity import Similarity

EVENT = "edit"
"""What a log calls them."""


@dataclass(frozen=True)
class Delete:
    """Rows that are no longer drawn or learnt."""

    selection: Selection


@dataclass(frozen=True)
class Restore:
    """Rows that were deleted come back as they were, moments and all."""

    rows: Rows


@dataclass(frozen=True)
class Place:
    """Where the world of the data lies from now on."""

    frame: Similarity


RowEdit = Delete | Restore | Place


def edit_to_json(edit: RowEdit) -> dict[str, Any]:
    """The details of the event; `edit_from_json` is the inverse."""
    match edit:
        case Delete(selection):
            return {"action": "delete", "selection": selection.to_json()}
        case Restore(rows):
            return {"action": "restore", "ids": rows.ids}
        case Place(frame):
            return {"action": "place", "frame": frame.to_json()}


def edit_from_json(details: Mapping[str, Any]) -> RowEdit:
    """Raises: ValueError where the details are of no edit."""
    action = details.get("action")
    try:
        match action:
            case "delete":
                return Delete(Selection.from_json(details["selection"]))
            case "restore":
                return Restore(Rows(tuple((int(first), int(last)) for first, last in details["ids"])))
            case "place":
                return Place(Similarity.from_json(details["frame"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"edit: {dict(details)!r} is not whole ({error!r})") from error
    raise ValueError(f"edit: the action is {action!r}; must be delete, restore or place")
