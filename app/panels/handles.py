"""Small bridges between a panel's handles and what they call."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import viser

from h3d.app.session import Session


def on_person(session: Session, handle: Any, callback: Callable[[Any], object]) -> None:
    """Call `callback(value)` when a person changed the handle, after all that was asked before.

    viser also calls update callbacks when the program assigns a value; those are left out, or a panel that follows an
    event would answer it with another.
    """

    @handle.on_update
    async def _(event: viser.GuiEvent) -> None:
        if event.client is not None:
            session.hands.do(callback, event.target.value, about=handle)


def on_settled(session: Session, handle: Any, callback: Callable[[Any], object]) -> None:
    """Call `callback(value)` when a person changed the handle and then left it alone for a moment."""

    @handle.on_update
    async def _(event: viser.GuiEvent) -> None:
        if event.client is not None:
            session.hands.settle(callback, event.target.value, handle)


def on_press(session: Session, handle: Any, callback: Callable[[], object]) -> None:
    """Call `callback()` when the button was pressed, after all that was asked before."""

    @handle.on_click
    async def _(_: viser.GuiEvent) -> None:
        session.hands.do(callback)


def on_choice(session: Session, group: Any, callback: Callable[[str], object]) -> None:
    """Call `callback(label)` when one of a group's buttons was pressed, after all that was asked before."""

    @group.on_click
    async def _(event: viser.GuiEvent) -> None:
        session.hands.do(callback, event.target.value)


def show(session: Session, handle: Any, value: Any) -> None:
    """Let a handle show a value, unless the person has moved it on meanwhile."""
    if not session.hands.awaits(handle):
        handle.value = value


def ask(session: Session, title: str, text: str, answer: str, action: Callable[[], object]) -> None:
    """Ask before something is lost; `action` is done when the person presses `answer`."""
    gui = session.client.gui
    modal = gui.add_modal(title)

    def agreed() -> None:
        modal.close()
        action()

    with modal:
        gui.add_html(note(text))
        on_press(session, gui.add_button(answer, color="red"), agreed)
        on_press(session, gui.add_button("No"), modal.close)


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
