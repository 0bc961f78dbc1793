"""The settings of a training config as handles, from nothing but the dataclass: name, type, meaning, value."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import viser

from h3d.app.session import Session
from h3d.models.training.settings import Field, fields_of, text_of

from .display import field_docs


class ConfigFields:
    """One handle a setting, those of a part of the config in a folder of its name.

    Numbers are typed, since none of them has a range of its own.
    """

    def __init__(self, session: Session, config: Any) -> None:
        self.session, self.config = session, config
        self.fields = fields_of(config)
        self.folders: list[viser.GuiFolderHandle] = []
        self.handles: dict[str, Any] = {}
        parts = dict.fromkeys(name.rpartition(".")[0] for name in self.fields)
        for part in sorted(parts, key=lambda part: part != ""):  # What is of no part comes first.
            with self._place(part):
                own = {name: field for name, field in self.fields.items() if name.rpartition(".")[0] == part}
                self.handles |= {name: self._handle(name, field) for name, field in own.items()}

    def changes(self) -> dict[str, Any]:
        """The settings that a person has changed, with their new values. Raises: ValueError, one sentence."""
        found = {}
        for name, field in self.fields.items():
            given = self.handles[name].value
            value = bool(given) if field.kind is bool else field.parsed(name, str(given))
            # What nobody touched stays exactly as it is, though its text may be rounded.
            if value != field.value and str(given) != text_of(field.value):
                found[name] = value
        return found

    def show(self, config: Any) -> None:
        """Show another config of the same type."""
        self.config, self.fields = config, fields_of(config)
        for name, field in self.fields.items():
            self.handles[name].value = bool(field.value) if field.kind is bool else text_of(field.value)

    def remove(self) -> None:
        """Take the handles away."""
        for handle in (*self.handles.values(), *self.folders):
            handle.remove()

    def _place(self, part: str) -> AbstractContextManager[Any]:
        """The folder of a part; for what is of none, where we are."""
        if part == "":
            return nullcontext()
        folder = self.session.client.gui.add_folder(_title(part), expand_by_default=False)
        self.folders.append(folder)
        return folder

    def _handle(self, name: str, field: Field) -> viser.GuiInputHandle[Any]:
        gui, hint = self.session.client.gui, field_docs(field.owner).get(name.rpartition(".")[2])
        label = _title(name)
        if field.kind is bool:
            return gui.add_checkbox(label, bool(field.value), hint=hint)
        if field.choices:
            options = ((text_of(None),) if field.optional else ()) + tuple(str(choice) for choice in field.choices)
            return gui.add_dropdown(label, options, initial_value=text_of(field.value), hint=hint)
        return gui.add_text(label, text_of(field.value), hint=hint)


def _title(name: str) -> str:
    """A dotted name as people read it."""
    text = name.replace("_", " ").replace(".", ": ")
    return text[:1].upper() + text[1:]
