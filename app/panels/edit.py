"""Gaussians selected and deleted by hand, at rest or while they are learnt; layers baked where they stand."""

from __future__ import annotations

from h3d.app.selecting import JOINS
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, SelectionChanged, SessionEvent, WorkspaceEvent
from h3d.models.gaussians import Gaussians
from h3d.models.selection import All, Fainter, Floaters, Larger
from h3d.models.similarity import IDENTITY

from .handles import note, on_choice, on_person, on_press
from .layers import LayersPanel
from .volume import Volume

JOIN_HINT = "What the next choice does with what is selected."
SEEN_HINT = "Of a rectangle, only Gaussians that make up a tenth of some pixel; else all behind it too."
FLOATERS_HINT = "Mean distance to the eight nearest, in medians over all."
DELETE_HINT = "Key delete. Undo brings them back, also while they are learnt: as they were, moments and all."
BAKE_HINT = (
    "Moves the Gaussians to where the layer stands, with the cameras of the photos that they are learnt from. "
    "The picture and the training stay as they are."
)


class EditPanel:
    title = "Edit"

    def __init__(self, session: Session, layers: LayersPanel) -> None:
        self.session, self.layers, self.selecting = session, layers, session.selecting
        self.volume = Volume(session)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        self.facts = gui.add_html("")
        self.join = gui.add_dropdown("A choice", JOINS, initial_value=self.selecting.join, hint=JOIN_HINT)
        on_person(session, self.join, self._set_join)
        on_choice(session, gui.add_button_group("Selection", ("All", "Invert", "Clear")), self._select)
        on_choice(session, gui.add_button_group("Selected", ("Delete", "Keep only")), self._act)
        on_choice(session, gui.add_button_group("Last edit", ("Undo", "Redo")), self._step)
        with gui.add_folder("Box or sphere", expand_by_default=True):
            self.volume.build()
        with gui.add_folder("Rectangle", expand_by_default=True):
            gui.add_html(note("Shift and drag in the picture."))
            self.seen = gui.add_checkbox("Only what is seen", self.selecting.seen_only, hint=SEEN_HINT)
            on_person(session, self.seen, self._set_seen)
        with gui.add_folder("By value", expand_by_default=False):
            self.opacity = gui.add_number("Opacity below", 0.05, min=0.0, max=1.0, step=0.01)
            on_press(session, gui.add_button("Select what is fainter"), self._fainter)
            self.size = gui.add_number(
                "Size above", 0.1, min=0.0, step=0.01, hint="Longest standard deviation, as it stands."
            )
            on_press(session, gui.add_button("Select what is larger"), self._larger)
            self.distance = gui.add_number("Alone by", 4.0, min=1.0, step=0.5, hint=FLOATERS_HINT)
            on_press(session, gui.add_button("Select floaters"), self._floaters)
        self.bake_button = gui.add_button("Bake the place", hint=BAKE_HINT)
        on_press(session, self.bake_button, self.bake)
        self._show(*self.selecting.count())

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        match event:
            case SelectionChanged(count, total):
                self._show(count, total)
            case LayersChanged() | LayerSelected():
                self._show_place()

    def delete(self) -> None:
        """Delete the selected rows."""
        self.session.notify(f"{self.selecting.delete():,} Gaussians deleted")

    def keep_only(self) -> None:
        """Delete all rows but the selected ones."""
        self.session.notify(f"{self.selecting.delete(others=True):,} Gaussians deleted")

    def delete_or_remove(self) -> None:
        """Delete the selected rows; the layer where none are."""
        if self.selecting.count()[0] > 0:
            self.delete()
        else:
            self.layers.remove()

    def bake(self) -> None:
        """Move the selected layer's rows to where they stand."""
        self.selecting.bake()
        self.session.notify("Baked")

    def _set_join(self, value: str) -> None:
        self.selecting.join = next(join for join in JOINS if join == value)

    def _set_seen(self, value: bool) -> None:
        self.selecting.seen_only = bool(value)

    def _select(self, label: str) -> None:
        match label:
            case "All":
                self.selecting.choose(All(), "replace")
            case "Invert":
                self.selecting.invert()
            case _:
                self.selecting.clear()

    def _act(self, label: str) -> None:
        (self.delete if label == "Delete" else self.keep_only)()

    def _step(self, label: str) -> None:
        (self.layers.undo if label == "Undo" else self.layers.redo)()

    def _fainter(self) -> None:
        self.selecting.choose(Fainter(float(self.opacity.value)))

    def _larger(self) -> None:
        self.selecting.choose(Larger(float(self.size.value)))

    def _floaters(self) -> None:
        self.selecting.choose(Floaters(float(self.distance.value)))

    def _show(self, count: int, total: int) -> None:
        layer = self.session.selected_layer()
        if layer is None or total == 0:
            self.facts.content = note("Select a layer of Gaussians to edit it.")
        else:
            self.facts.content = note(f"{count:,} of {total:,} Gaussians of {layer.name} selected")
        self._show_place()

    def _show_place(self) -> None:
        layer = self.session.selected_layer()
        movable = layer is not None and isinstance(layer.asset, Gaussians) and layer.place != IDENTITY
        self.bake_button.disabled = not movable
