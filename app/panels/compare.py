"""Two views of this tab's camera: wipe, side by side, difference, flip, and the numbers beside them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

from h3d.app.figures.display import Mode, Shape
from h3d.app.session import Session
from h3d.app.workspace.comparing import CompareMode, OwnDisplay
from h3d.app.workspace.events import (
    CompareChanged,
    DisplayChanged,
    LayersChanged,
    Measured,
    SessionEvent,
    WorkspaceEvent,
)

from .handles import note, on_choice, on_person, on_press, show
from .layers import layer_label
from .two_runs import TwoRunsPart

ALL = "all visible layers"
OFF = "PSNR and SSIM of the two are measured when the picture is still."
MEASURING = "measuring ..."


class ComparePanel:
    title = "Compare"

    def __init__(self, session: Session) -> None:
        self.session = session
        self.runs = TwoRunsPart(session)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session, settings = self.session.client.gui, self.session, self.session.compare
        self.mode = gui.add_dropdown(
            "Mode", get_args(CompareMode), initial_value=settings.mode, hint="Key C walks through them."
        )
        on_person(self.session, self.mode, lambda value: session.set_compare(mode=value))
        self.split = gui.add_slider(
            "Line",
            min=0.0,
            max=1.0,
            step=0.005,
            initial_value=settings.split,
            hint="Of the wipe. Keys I and O move it; shift-click on the picture puts it there.",
        )
        on_person(self.session, self.split, lambda value: session.set_compare(split=float(value)))
        self.orientation = gui.add_dropdown("Line is", ("vertical", "horizontal"), initial_value=settings.orientation)
        on_person(self.session, self.orientation, lambda value: session.set_compare(orientation=value))
        self.show = gui.add_button_group("Flip shows (key X)", ("a", "b"))
        on_choice(session, self.show, lambda side: session.set_compare(show=side))
        self.sides = {}
        for side, title in (("layer_a", "A shows"), ("layer_b", "B shows")):
            handle = gui.add_dropdown(title, self._choices(), initial_value=ALL)
            on_person(self.session, handle, lambda label, side=side: session.set_compare(**{side: self._key_of(label)}))
            self.sides[side] = handle
        on_press(self.session, gui.add_button("Swap A and B"), self.swap)
        self.numbers = gui.add_html(note(OFF))
        self.runs.build()
        with gui.add_folder("B is drawn", expand_by_default=True):
            self.own = gui.add_checkbox(
                "With its own settings", False, hint="Off: B is drawn with the settings of the Display panel, as A is."
            )
            on_person(self.session, self.own, self._toggle_own)
            self.b_mode = gui.add_dropdown("B mode", get_args(Mode), initial_value="rgb")
            self.b_shape = gui.add_dropdown("B shape", get_args(Shape), initial_value="splats")
            self.b_degree = gui.add_slider("B SH degree", min=0, max=3, step=1, initial_value=3)
            self.b_scale = gui.add_slider("B splat scale", min=0.05, max=3.0, step=0.05, initial_value=1.0)
            self.b_cached = gui.add_checkbox(
                "B asks the radiance cache", True, hint="Of path-traced scenes; both sides get the same time."
            )
            on_person(self.session, self.b_cached, lambda value: self._change_b(cached=value))
            self.b_compensated = gui.add_checkbox(
                "B is compensated", True, hint="Of Gaussians that have a compensation network."
            )
            on_person(self.session, self.b_compensated, lambda value: self._change_b(compensated=value))
            on_person(self.session, self.b_mode, lambda value: self._change_b(mode=value))
            on_person(self.session, self.b_shape, lambda value: self._change_b(shape=value))
            on_person(self.session, self.b_degree, lambda value: self._change_b(sh_degree=int(value)))
            on_person(self.session, self.b_scale, lambda value: self._change_b(splat_scale=float(value)))

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        self.runs.on_event(event)
        if isinstance(event, LayersChanged):
            for handle in self.sides.values():
                handle.options = self._choices()
        if isinstance(event, CompareChanged | LayersChanged | DisplayChanged):
            self.numbers.content = note(OFF if self.session.compare.mode == "off" else MEASURING)
            self._show()
        elif isinstance(event, Measured):
            self.numbers.content = note(event.text)

    def cycle(self) -> None:
        """The next mode."""
        modes = get_args(CompareMode)
        self.session.set_compare(mode=modes[(modes.index(self.session.compare.mode) + 1) % len(modes)])

    def flip(self) -> None:
        """Show the other side, turning the comparison on if it is off."""
        settings = self.session.compare
        if settings.mode == "off":
            self.session.set_compare(mode="flip", show="b")
        else:
            self.session.set_compare(show="b" if settings.show == "a" else "a")

    def nudge(self, by: float) -> None:
        """Move the wipe's line."""
        self.session.set_compare(split=min(max(self.session.compare.split + by, 0.0), 1.0))

    def swap(self) -> None:
        """Exchange the two sides: their layers, and their settings where B has its own."""
        settings, own = self.session.compare, self.session.compare.own_b
        if own is not None:
            mine, shown = OwnDisplay.of(self.session.display), own.over(self.session.display)
            self.session.set_display(**{field.name: getattr(shown, field.name) for field in fields(shown)})
            own = mine
        self.session.set_compare(layer_a=settings.layer_b, layer_b=settings.layer_a, own_b=own)

    def _toggle_own(self, own: bool) -> None:
        self.session.set_compare(own_b=OwnDisplay.of(self.session.display) if own else None)

    def _change_b(self, **changes: Any) -> None:
        base = self.session.compare.own_b or OwnDisplay.of(self.session.display)
        self.session.set_compare(own_b=replace(base, **changes))

    def _choices(self) -> tuple[str, ...]:
        return (ALL, *(layer_label(layer) for layer in self.session.workspace.layers))

    def _key_of(self, label: str) -> int | None:
        return next((x.key for x in self.session.workspace.layers if layer_label(x) == label), None)

    def _label_of(self, key: int | None) -> str:
        return next((layer_label(x) for x in self.session.workspace.layers if x.key == key), ALL)

    def _show(self) -> None:
        session, settings = self.session, self.session.compare
        own = settings.own_b or OwnDisplay.of(session.display)
        values = [
            (self.mode, settings.mode),
            (self.split, settings.split),
            (self.orientation, settings.orientation),
            (self.sides["layer_a"], self._label_of(settings.layer_a)),
            (self.sides["layer_b"], self._label_of(settings.layer_b)),
            (self.own, settings.own_b is not None),
            (self.b_mode, own.mode),
            (self.b_shape, own.shape),
            (self.b_degree, own.sh_degree),
            (self.b_scale, own.splat_scale),
            (self.b_cached, own.cached),
            (self.b_compensated, own.compensated),
        ]
        for handle, value in values:
            show(session, handle, value)
