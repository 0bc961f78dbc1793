"""Where this tab looks from: framing, axis views, the way up, bookmarks, and the camera as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import viser

from h3d.app.session import Session
from h3d.app.workspace.events import SessionEvent
from h3d.renderers.cameras import camera_to_json

from .handles import note, on_person, on_press

AXES: dict[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}


class CameraPanel:
    title = "Camera"

    def __init__(self, session: Session) -> None:
        self.session = session

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        on_press(gui.add_button("Frame the scene", hint="Key F"), session.navigation.frame)
        on_press(gui.add_button("Frame the layer", hint="Key G"), self.frame_layer)
        on_press(gui.add_button("Reset the view", hint="Key R"), session.navigation.reset)
        axis = gui.add_button_group("Look along", tuple(AXES))
        axis.on_click(lambda event: session.navigation.look_along(np.array(AXES[event.target.value])))
        up = gui.add_dropdown("Up is", ("keep", *AXES, "the view's"), initial_value=_axis_of(session.navigation.up))
        on_person(up, self._set_up)
        with gui.add_folder("Bookmarks"):
            on_press(gui.add_button("Add bookmark", hint="Key M"), self.add_bookmark)
            self.places: viser.GuiDropdownHandle[Any] = gui.add_dropdown(
                "Go to", ("none", *session.navigation.bookmarks), initial_value="none"
            )
            on_person(self.places, self._goto_bookmark)
        with gui.add_folder("As JSON", expand_by_default=False):
            gui.add_html(note("The file that h3d render --camera reads. Paste another and press Apply."))
            self.text = gui.add_text("Camera", "", multiline=True)
            on_press(gui.add_button("Copy this view here"), self.show_json)
            on_press(gui.add_button("Apply"), lambda: session.attempt(self.apply_json, "Not a camera"))

    def on_event(self, event: SessionEvent) -> None:
        del event  # Nothing here follows what happens elsewhere.

    def add_bookmark(self) -> None:
        """Remember this view under the next free name."""
        bookmarks = self.session.navigation.bookmarks
        name = f"view {len(bookmarks) + 1}"
        bookmarks[name] = self.session.camera()
        self.places.options = ("none", *bookmarks)
        self.places.value = name

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
            self.session.navigation.goto(self.session.navigation.bookmarks[name])

    def _set_up(self, name: str) -> None:
        if name == "the view's":
            self.session.navigation.set_up(self.session.camera().up)
        elif name in AXES:
            self.session.navigation.set_up(np.array(AXES[name]))
        self.session.navigation.frame()


def _axis_of(up: np.ndarray) -> str:
    return next((name for name, axis in AXES.items() if np.allclose(up, axis)), "keep")
