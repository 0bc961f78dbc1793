"""Scenes in and out: upload, typed path, recent ones; download and save. A part of the Layers panel."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import viser

from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.models import field_files, formats

from .handles import ask, note, on_person, on_press

CHOOSE = "choose"


class FilesPart:
    """The two folders with what opens and what saves."""

    def __init__(self, session: Session, opener: Opener) -> None:
        self.session, self.opener = session, opener

    def build_open(self) -> None:
        """Make the handles that open, in the current container."""
        gui, session, opener = self.session.client.gui, self.session, self.opener
        upload = gui.add_upload_button(
            "Upload a scene", hint=f"One file: {', '.join(sorted({*formats.READABLE, *field_files.READABLE}))}"
        )

        @upload.on_upload
        def _(event: viser.GuiEvent) -> None:
            file = event.target.value
            opener.upload(Path(file.name).name, file.content, session)

        path = gui.add_text("Path", "", hint=f"A file or folder below {opener.folders.text}")
        on_press(session, gui.add_button("Open the path"), lambda: opener.typed(path.value, session))
        recent = {f"{i}. {_short(path)}": path for i, path in enumerate(opener.recent(), start=1)}
        if recent:
            choice: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Recent", (CHOOSE, *recent), initial_value=CHOOSE)

            def open_recent(label: str) -> None:
                if label in recent:
                    opener.known(recent[label], session)
                choice.value = CHOOSE  # So that the same one can be chosen again.

            on_person(session, choice, open_recent)

    def build_save(self) -> None:
        """Make the handles that save, in the current container."""
        gui, session, opener = self.session.client.gui, self.session, self.opener
        suffix = gui.add_dropdown("Format", (*formats.WRITABLE, *field_files.WRITABLE), initial_value=".ply")
        gui.add_html(note("Gaussians as they stand in the scene: transform applied, hidden ones left out."))
        gui.add_html(note(f"Fields are saved as {', '.join(field_files.WRITABLE)}, in their own axes."))
        gui.add_html(note("Their surfaces, as meshes or points: Field, Export the surface."))
        download = gui.add_button("Download")
        on_press(session, download, lambda: opener.download(session.selected_layer(), suffix.value, session))
        target = gui.add_text("Save as", "", hint=f"A path below {opener.folders.text}; the suffix decides the format.")
        on_press(session, gui.add_button("Save on the server"), lambda: self.save(target.value))

    def save(self, text: str) -> None:
        """Save the selected layer where was typed; ask first if something is there."""
        path = self.opener.folders.resolve(text)
        action = partial(self.opener.save, self.session.selected_layer(), path, self.session)
        if path.exists():
            ask(self.session, f"Replace {path.name}?", f"{path.name} exists already.", "Replace it", action)
        else:
            action()


def _short(path: Path) -> str:
    return path.parent.name if path.name == "meta.json" else path.name
