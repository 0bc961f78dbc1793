"""How this tab draws the scene. Labels and tooltips come from `Display`, ranges from its `RANGES`."""

from __future__ import annotations

import ast
import html
import inspect
import math
import threading
from dataclasses import fields
from functools import cache
from typing import Any, get_args

from h3d.app.figures import colormaps
from h3d.app.figures.display import RANGES, Display, Mode, Shape
from h3d.app.session import Session
from h3d.app.workspace.events import DisplayChanged, FovChanged, FrameShown, Notice, SessionEvent

from .handles import on_person, show

_PARSING = threading.Lock()  # CPython 3.11 counts the depth of all parsing threads in one place, and then fails.


@cache
def field_docs(owner: type) -> dict[str, str]:
    """The string under each field of a dataclass, by field name."""
    with _PARSING:
        body = ast.parse(inspect.getsource(owner)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                docs[statement.target.id] = str(following.value.value)
    return docs


class DisplayPanel:
    title = "Display"

    def __init__(self, session: Session) -> None:
        self.session = session
        self.handles: dict[str, Any] = {}

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, display, docs = self.session.client.gui, self.session.display, field_docs(Display)
        for field in fields(Display):
            name, value, hint = field.name, getattr(display, field.name), docs[field.name]
            if name == "field":  # It has a panel of its own.
                continue
            label = name.replace("_", " ").replace("sh ", "SH ").capitalize().replace("Sh ", "SH ")
            if name in ("mode", "shape"):
                options = get_args(Mode if name == "mode" else Shape)
                handle: Any = gui.add_dropdown(label, options, initial_value=value, hint=hint)
            elif name in RANGES and name in ("near_plane", "far_plane"):
                low, high, step = RANGES[name]
                handle = gui.add_number(label, value, min=low, max=high, step=step, hint=hint)
            elif name in RANGES:
                low, high, step = RANGES[name]
                handle = gui.add_slider(label, min=low, max=high, step=step, initial_value=value, hint=hint)
            elif isinstance(value, bool):
                handle = gui.add_checkbox(label, value, hint=hint)
            else:
                handle = gui.add_rgb(label, _to_bytes(value), hint=hint)
            self.handles[name] = handle
            on_person(self.session, handle, lambda new, name=name: self._change(name, new))
        fov = math.degrees(self.session.client.camera.fov)
        self.fov = gui.add_slider(
            "Field of view",
            min=5.0,
            max=120.0,
            step=0.5,
            initial_value=min(max(fov, 5.0), 120.0),
            hint="Vertical field of view of this tab's camera, in degrees.",
        )
        on_person(self.session, self.fov, self.session.navigation.set_fov)
        self.legend = gui.add_html("")

    def on_event(self, event: SessionEvent) -> None:
        if isinstance(event, DisplayChanged | Notice):  # A notice may say that a change was refused.
            for name, handle in self.handles.items():
                value = getattr(self.session.display, name)
                show(self.session, handle, _to_bytes(value) if name == "background" else value)
        elif isinstance(event, FovChanged):
            show(self.session, self.fov, event.fov_y_degrees)
        elif isinstance(event, FrameShown) and event.still:
            self.legend.content = "" if event.legend is None else _legend(self.session.display.mode, *event.legend)

    def _change(self, name: str, value: Any) -> None:
        if name == "background":
            value = tuple(channel / 255.0 for channel in value)
        elif name == "sh_degree":
            value = int(value)
        self.session.set_display(**{name: value})


def _legend(mode: Mode, label: str, low: float, high: float) -> str:
    """A colour bar with its numbers, as HTML."""
    table = colormaps.NEAR_BRIGHT if mode == "depth" else colormaps.HEAT
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*(int(255 * v + 0.5) for v in color)) for color in table[::15])
    return (
        f'<div style="margin:.4em .6em;font-size:.8em"><div>{html.escape(label)}</div>'
        f'<div style="height:.8em;border-radius:2px;background:linear-gradient(to right, {stops})"></div>'
        f'<div style="display:flex;justify-content:space-between"><span>{low:.4g}</span><span>{high:.4g}</span></div>'
        "</div>"
    )


def _to_bytes(color: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in color)
    return red, green, blue
