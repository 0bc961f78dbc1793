"""Undo and redo of layer edits. Layers are frozen values that share assets, so an edit keeps both tuples whole.

An edit of what is being optimised keeps besides what its run is to be told: a run's rows are never taken back to what
they were, only what a hand did to them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from h3d.models.training.edits import RowEdit

from .scene import Layer

MERGE_SECONDS = 2.0  # a pause longer than this begins a new step


@dataclass(frozen=True)
class RunEdit:
    """What a run is told to do, or to take back."""

    run: int  # its key
    forward: RowEdit
    backward: RowEdit


@dataclass(frozen=True)
class Edit:
    """One step: the layers before and after it, and what a person calls it."""

    name: str
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    merge_key: str = ""  # edits in a row with the same key become one step (a drag, a name being typed)
    run_edit: RunEdit | None = None
    at: float = field(default_factory=time.monotonic)


class History:
    """A bounded list of edits with a cursor. Assets that only the history still holds count against `max_bytes`."""

    def __init__(self, max_bytes: int = 2 << 30, max_edits: int = 200) -> None:
        self.max_bytes, self.max_edits = max_bytes, max_edits
        self._done: list[Edit] = []
        self._undone: list[Edit] = []

    def record(self, edit: Edit) -> None:
        """Add a step; what was undone is forgotten."""
        self._undone.clear()
        last = self._done[-1] if self._done else None
        same = last is not None and edit.merge_key != "" and last.merge_key == edit.merge_key
        if last is not None and same and edit.at - last.at < MERGE_SECONDS:
            self._done[-1] = replace(edit, before=last.before)
        else:
            self._done.append(edit)
        while len(self._done) > self.max_edits or (len(self._done) > 1 and self._bytes(edit.after) > self.max_bytes):
            self._done.pop(0)

    def undo(self) -> Edit | None:
        """The step to take back (use its `before`), or None."""
        if not self._done:
            return None
        edit = self._done.pop()
        self._undone.append(edit)
        return edit

    def redo(self) -> Edit | None:
        """The step to take again (use its `after`), or None."""
        if not self._undone:
            return None
        edit = self._undone.pop()
        self._done.append(edit)
        return edit

    def put_back(self, edit: Edit) -> None:
        """The step just taken, to undo or to redo, could not be: it stands where it stood."""
        for taken, other in ((self._done, self._undone), (self._undone, self._done)):
            if taken and taken[-1] is edit:
                other.append(taken.pop())
                return

    def _bytes(self, current: tuple[Layer, ...]) -> int:
        edits = (*self._done, *self._undone)
        held = {key: size for edit in edits for x in (*edit.before, *edit.after) for key, size in _arrays(x)}
        alive = {key for layer in current for key, _ in _arrays(layer)}
        return sum(size for key, size in held.items() if key not in alive)


def _arrays(layer: Layer) -> list[tuple[int, int]]:
    """What of a layer fills memory: identity and bytes."""
    rows = layer.hidden_rows
    masks = [] if rows is None else [(id(rows), rows.numel() * rows.element_size())]
    return [(id(layer.asset), layer.asset.nbytes), *masks]
