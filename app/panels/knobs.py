"""What can be turned of a run while it goes on: one handle a knob, in a folder for each group.

The run's config says everything: fields are the knobs, their types the ranges, the strings under them the tooltips.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import viser

from h3d.app.session import Session
from h3d.app.workspace.runs import RunStatus
from h3d.models.knobs import Knob, Setting

from .display import field_docs
from .handles import on_settled, show

SLIDER_STEPS = 100
MOST_ON_A_SLIDER = 20
"""Whole numbers; where there are more, a number is typed."""
DIGITS, EXPONENT_DIGITS = 3, 2
"""That a logarithmic slider chooses among: of the value, and of the power of ten where it stands."""


class KnobFolders:
    """The handles of the run that is chosen; made anew when another one is, or when it offers other knobs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._lock = threading.Lock()  # Events come from the thread that optimises and from hands.
        self._shown: tuple[int, tuple[str, ...]] | None = None
        self._folders: list[viser.GuiFolderHandle] = []
        self._handles: dict[str, Any] = {}

    def build(self) -> None:
        """Make the place for them in the current container."""
        self.place = self.session.client.gui.add_folder("Change as it goes", visible=False)

    def show(self, status: RunStatus, *, live: bool) -> None:
        """Let the handles stand where the run's knobs do, or are about to."""
        knobs = dict(status.knobs)
        for name, value in status.asked.items():
            if name in knobs:
                knobs[name] = replace(knobs[name], value=value)
        with self._lock:
            shown = (status.key, tuple(knobs))
            if shown != self._shown:
                self._make(status.key, knobs)
                self._shown = shown
            self.place.visible = len(knobs) > 0
            for name, knob in knobs.items():
                handle = self._handles[name]
                handle.disabled = not live
                show(self.session, handle, _shown_value(knob))
                if knob.logarithmic:
                    handle.label = knob_label(name, knob)

    def _make(self, run: int, knobs: dict[str, Knob]) -> None:
        for folder in self._folders:
            folder.remove()
        self._folders, self._handles = [], {}
        gui, config = self.session.client.gui, self.session.optimisation.task(run).config
        with self.place:
            for group in dict.fromkeys(knob.group for knob in knobs.values()):
                self._folders.append(folder := gui.add_folder(group.capitalize(), expand_by_default=False))
                with folder:
                    for name, knob in knobs.items():
                        if knob.group == group:
                            self._handles[name] = self._handle(run, name, knob, _hint(config, name))

    def _handle(self, run: int, name: str, knob: Knob, hint: str | None) -> Any:
        handle, setting = _made(self.session.client.gui, knob_label(name, knob), knob, hint)
        change = self.session.optimisation.change
        on_settled(self.session, handle, lambda value: change(run, name, setting(value)))
        return handle


def _made(gui: viser.GuiApi, label: str, knob: Knob, hint: str | None) -> tuple[Any, Callable[[Any], Setting]]:
    """The handle that fits a knob, and what its values mean."""
    value = _shown_value(knob)
    if knob.choices:
        texts = {str(choice): choice for choice in knob.choices}
        return gui.add_dropdown(label, tuple(texts), initial_value=value, hint=hint), texts.__getitem__
    if isinstance(knob.value, bool):
        return gui.add_checkbox(label, value, hint=hint), bool
    if isinstance(knob.value, int):
        low, high = int(knob.low), int(knob.high)
        if high - low <= MOST_ON_A_SLIDER:
            return gui.add_slider(label, min=low, max=high, step=1, initial_value=value, hint=hint), int
        # Arrows go by a tenth or less of what it is.
        step = 10 ** max(len(str(knob.value)) - 2, 0)
        return gui.add_number(label, value, min=low, max=high, step=step, hint=hint), int
    if knob.logarithmic:
        low, high = math.log10(knob.low), math.log10(knob.high)
        marks = tuple((math.log10(end), f"{end:g}") for end in (knob.low, knob.high))
        handle = gui.add_multi_slider(label, low, high, 10.0**-EXPONENT_DIGITS, value, marks=marks, hint=hint)
        return handle, lambda powers: _power(float(powers[0]), knob)
    step = (knob.high - knob.low) / SLIDER_STEPS
    return gui.add_slider(label, min=knob.low, max=knob.high, step=step, initial_value=value, hint=hint), float


def _shown_value(knob: Knob) -> Any:
    """Where a handle stands for a knob."""
    if knob.choices:
        return str(knob.value)
    if knob.logarithmic:
        exponent = round(math.log10(float(knob.value)), EXPONENT_DIGITS)
        return (min(max(exponent, math.log10(knob.low)), math.log10(knob.high)),)
    return knob.value


def _power(exponent: float, knob: Knob) -> float:
    """What a logarithmic slider stands for, to a few digits."""
    return min(max(float(f"{10.0**exponent:.{DIGITS}g}"), knob.low), knob.high)


def knob_label(name: str, knob: Knob) -> str:
    """A field's name as people read it; a logarithmic slider shows the power of ten, so its label says the value.

    First, for viser breaks lines after any full stop, also one within a number.
    """
    text = name.rpartition(".")[2].replace("_", " ")
    for plain, proper in (("sh ", "SH "), ("ssim", "SSIM"), ("2d", " 2D"), ("3d", " 3D")):
        text = text.replace(plain, proper)
    text = text[0].upper() + text[1:]
    return f"{knob.value:.{DIGITS}g} {text}" if knob.logarithmic else text


def _hint(config: Any, name: str) -> str | None:
    *owners, field = name.split(".")
    for owner in owners:
        config = getattr(config, owner)
    return field_docs(type(config)).get(field)
