"""Where this tab looks from: framing, axis views, the way up, bookmarks, and the camera as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import viser

from h3d.app.session import Session
from h3d.app.workspace.events import SessionEvent, UpChanged
from h3d.renderers.cameras import camera_to_json

from .handles import note, on_choice, on_person, on_press, show

AXES: dict[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}


OWN_UP, CHOOSE = "another way", "choose"


class CameraPanel:
    title = "Camera"

    def __init__(self, session: Session) -> None:
        self.session = session

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        on_press(self.session, gui.add_button("Frame the scene", hint="Key F"), session.navigation.frame)
        on_press(self.session, gui.add_button("Frame the layer", hint="Key G"), self.frame_layer)
        on_press(self.session, gui.add_button("Reset the view", hint="Key R"), session.navigation.reset)
        axis = gui.add_button_group("Look along", tuple(AXES))
        on_choice(session, axis, lambda name: session.navigation.look_along(np.array(AXES[name])))
        self.up: viser.GuiDropdownHandle[Any] = gui.add_dropdown(
            "Up is", (OWN_UP, *AXES), initial_value=_axis_of(session.navigation.up)
        )
        on_person(session, self.up, self._set_up)
        with gui.add_folder("Bookmarks"):
            self.name = gui.add_text("Name", "", hint="Of the next bookmark; empty for a number.")
            on_press(session, gui.add_button("Add bookmark", hint="Key M"), self.add_bookmark)
            self.places: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Go to", (CHOOSE,), initial_value=CHOOSE)
            self.last = ""
            on_person(session, self.places, self._goto_bookmark)
            on_press(session, gui.add_button("Remove the last one visited"), self.remove_bookmark)
            self._list()
        with gui.add_folder("As JSON", expand_by_default=False):
            gui.add_html(note("The file that h3d render --camera reads. Paste another and press Apply."))
            self.text = gui.add_text("Camera", "", multiline=True)
            on_press(session, gui.add_button("Copy this view here"), self.show_json)
            on_press(session, gui.add_button("Apply"), self.apply_json)

    def on_event(self, event: SessionEvent) -> None:
        if isinstance(event, UpChanged):
            show(self.session, self.up, _axis_of(np.array(event.up)))

    def add_bookmark(self) -> None:
        """Remember this view, under the name that was typed or the next number."""
        bookmarks = self.session.navigation.bookmarks
        number = len(bookmarks) + 1
        while f"view {number}" in bookmarks:
            number += 1
        name = self.name.value.strip() or f"view {number}"
        bookmarks[name] = self.session.camera()
        self.name.value = ""
        self._list()

    def remove_bookmark(self) -> None:
        """Forget the bookmark that was flown to last."""
        self.session.navigation.bookmarks.pop(self.last, None)
        self._list()

    def show_json(self) -> None:
        """Put this tab's camera into the text field."""
        self.text.value = json.dumps(camera_to_json(self.session.camera()))

    def apply_json(self) -> None:
        """Fly to the camera in the text field."""
        self.session.navigation.goto_json(json.loads(self.text.value))

    def frame_layer(self) -> None:
        """Fly to where the selected layer is in view."""
        layers = tuple(x for x in self.session.workspace.layers if x.key == self.session.selected)
        self.session.navigation.frame(layers or None)

    def _goto_bookmark(self, name: str) -> None:
        if name in self.session.navigation.bookmarks:
            self.last = name
            self.session.navigation.goto(self.session.navigation.bookmarks[name])
        self.places.value = CHOOSE  # So that the same one can be chosen again.

    def _list(self) -> None:
        self.places.options = (CHOOSE, *self.session.navigation.bookmarks)
        self.places.value = CHOOSE

    def _set_up(self, name: str) -> None:
        if name in AXES:
            self.session.navigation.set_up(np.array(AXES[name]))


def _axis_of(up: np.ndarray) -> str:
    return next((name for name, axis in AXES.items() if np.allclose(up, axis)), OWN_UP)
