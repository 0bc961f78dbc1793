"""Small bridges between a panel's handles and what they call."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import viser


def on_person(handle: Any, callback: Callable[[Any], object]) -> None:
    """Call `callback(value)` when a person changed the handle.

    viser also calls update callbacks when the program assigns a value; those are left out, or a panel that follows an
    event would answer it with another.
    """

    @handle.on_update
    def _(event: viser.GuiEvent) -> None:
        if event.client is not None:
            callback(event.target.value)


def on_press(handle: Any, callback: Callable[[], object]) -> None:
    """Call `callback()` when the button was pressed."""

    @handle.on_click
    def _(_: viser.GuiEvent) -> None:
        callback()


def table(rows: list[tuple[str, str]]) -> str:
    """A two-column table as HTML; all texts are escaped."""
    cells = "".join(
        f'<tr><td style="opacity:.65;padding-right:.8em;white-space:nowrap">{html.escape(name)}</td>'
        f'<td style="font-variant-numeric:tabular-nums">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table style="font-size:.8em;line-height:1.5;margin:.2em .6em">{cells}</table>'


def note(text: str) -> str:
    """One small line of text as HTML, escaped."""
    return f'<div style="font-size:.8em;opacity:.75;margin:.2em .6em">{html.escape(text)}</div>'
