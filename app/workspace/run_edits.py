"""Edits by hand of what is being optimised, and their undo.

An edit of a run acts in the optimisation's thread between two steps; whoever asks waits until it stands, so that what
one person asks for next finds it done. It is a step of the history beside all others: undo gives the run the edit that
takes it back, and the layer what it had before, as one change of the scene. Every edit and every undo is written into
the run's log with its step, and its checkpoint is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h3d.models.gaussians import Gaussians
from h3d.models.selection import Selection
from h3d.models.similarity import IDENTITY
from h3d.models.training.edits import EVENT, Delete, Place, Restore, RowEdit, edit_to_json

from .history import RunEdit
from .run import Run
from .scene import Asset, Layer, placed
from .workspace import Workspace

if TYPE_CHECKING:
    from .optimisation import Optimisation


class RunEdits:
    """What a hand does to runs. Makes itself the one whom the workspace asks to undo."""

    def __init__(self, workspace: Workspace, optimisation: Optimisation) -> None:
        self._workspace, self._optimisation = workspace, optimisation
        workspace.run_editor = self._again

    def run_of(self, layer: Layer) -> int | None:
        """The run that a layer shows and that can be edited; None for scenes at rest, whose rows are just hidden."""
        for status in self._optimisation.statuses():
            if status.key == layer.run and status.layer == layer.key and status.state != "failed":
                return status.key
        return None

    def delete(self, run: int, cause: str, selection: Selection) -> int:
        """Delete rows; returns how many there were.

        Raises:
            ValueError: all are meant, the run has failed, or it has no rows.
        """

        def act(run: Run) -> int:
            back = self._apply(run, Delete(selection))
            if not isinstance(back, Restore) or back.rows.count == 0:
                return 0
            forward = Delete(Selection().then("add", back.rows))
            self._show(run, cause, RunEdit(run.key, forward, back))
            return back.rows.count

        return self._optimisation.between_steps(run, act)

    def bake(self, run: int, cause: str) -> None:
        """Move the rows, their data's cameras and all that is learnt to where the layer stands.

        Raises:
            ValueError: the run has failed, or it has no rows.
        """

        def act(run: Run) -> None:
            layer = self._workspace.layer(run.layer or 0)
            if not isinstance(layer.asset, Gaussians):
                raise ValueError(f"{layer.name}: only Gaussians can be baked")
            forward = Place(layer.data_place)
            back = self._apply(run, forward)
            self._show(run, cause, RunEdit(run.key, forward, back), baked=True)

        self._optimisation.between_steps(run, act)

    def _apply(self, run: Run, edit: RowEdit) -> RowEdit:
        if run.step is None:
            raise ValueError(f"{run.name}: no step has been made yet; wait for the first")
        if run.state == "failed":
            raise ValueError(f"{run.name}: the run has failed, its rows are no longer learnt; start a new one")
        back = run.step.live.edit(edit)
        if not (isinstance(back, Restore) and back.rows.count == 0):
            self._optimisation.note(run, EVENT, edit_to_json(edit))
        return back

    def _show(self, run: Run, cause: str, edit: RunEdit, *, baked: bool = False) -> None:
        assert run.step is not None and run.layer is not None
        asset = run.step.snapshot()
        place = placed(IDENTITY) if baked else {}
        self._workspace.record_run_edit(run.layer, cause, edit, asset, place)

    def _again(self, run: int, edit: RowEdit, then: Callable[[int | None, Asset], object]) -> None:
        """Give a run an edit of the history; `then` is told its layer and what that shows now."""

        def act(run: Run) -> None:
            self._apply(run, edit)
            assert run.step is not None
            then(run.layer, run.step.snapshot())

        self._optimisation.between_steps(run, act)
