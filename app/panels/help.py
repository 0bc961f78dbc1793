"""What the mouse and the keys do, written from the table that binds them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Protocol

from h3d.app.session import Session
from h3d.app.workspace.events import SessionEvent

MOUSE = [
    ("drag", "orbit"),
    ("right drag", "pan"),
    ("wheel", "closer, farther"),
    ("W A S D Q E", "walk"),
    ("arrows", "turn"),
    ("double click", "orbit about this point"),
    ("shift click", "wipe line here"),
    ("shift drag", "select Gaussians"),
    ("ctrl+K", "all commands by name"),
]


class Entry(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def keys(self) -> str: ...


class HelpPanel:
    title = "Keys"

    def __init__(self, session: Session, table: Sequence[Entry]) -> None:
        self.session, self.table = session, table

    def build(self) -> None:
        """Make the handles in the current container."""
        rows = MOUSE + [(entry.keys, entry.label) for entry in self.table if entry.keys]
        cells = "".join(
            f'<tr><td style="padding-right:.8em;white-space:nowrap"><code>{html.escape(keys)}</code></td>'
            f"<td>{html.escape(label)}</td></tr>"
            for keys, label in rows
        )
        self.session.client.gui.add_html(
            f'<table style="font-size:.8em;line-height:1.6;margin:.3em .6em">{cells}</table>'
        )

    def on_event(self, event: SessionEvent) -> None:
        del event  # Keys do not change while the program runs.
