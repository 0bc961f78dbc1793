"""How fields are looked at: levels of the hash grid, crop box, slice, density threshold, samples of a ray; exports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from h3d.app.session import Session
from h3d.app.workspace.events import DisplayChanged, LayerSelected, Notice, SessionEvent
from h3d.app.workspace.folders import AllowedFolders
from h3d.models.field_view import ALL_LEVELS, Axis, FieldView

from .display import field_docs
from .export import ExportPart
from .handles import on_person, on_press, show

LEVELS = 16  # shown; levels beyond take part always
NO_SLICE = "none"


class FieldPanel:
    title = "Field"

    def __init__(self, session: Session, folders: AllowedFolders) -> None:
        self.session = session
        self.export = ExportPart(session, folders)
        self.crop: dict[int, Any] = {}

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session, docs = self.session.client.gui, self.session, field_docs(FieldView)
        self.levels = gui.add_multi_slider(
            "Levels", min=1, max=LEVELS, step=1, min_range=0, initial_value=(1, LEVELS), hint=docs["level_mask"]
        )
        on_person(session, self.levels, self._set_levels)
        for axis, name in enumerate("xyz"):
            handle = gui.add_multi_slider(
                f"Crop {name}",
                min=0.0,
                max=1.0,
                step=0.005,
                min_range=0.01,
                initial_value=(0.0, 1.0),
                hint="Shares of the field's bounds.",
            )
            on_person(session, handle, lambda value, axis=axis: self._set_crop(axis, value))
            self.crop[axis] = handle
        self.slice_axis = gui.add_dropdown(
            "Slice across", (NO_SLICE, *get_args(Axis)), initial_value=NO_SLICE, hint=docs["slice_axis"]
        )
        on_person(session, self.slice_axis, lambda value: self._change(slice_axis=None if value == NO_SLICE else value))
        self.slice_at = gui.add_slider(
            "Slice at", min=0.0, max=1.0, step=0.005, initial_value=0.5, hint=docs["slice_at"]
        )
        on_person(session, self.slice_at, lambda value: self._change(slice_at=float(value)))
        self.threshold = gui.add_number("Density from", 0.0, min=0.0, max=1e6, step=0.1, hint=docs["density_threshold"])
        on_person(session, self.threshold, lambda value: self._change(density_threshold=float(value)))
        self.samples = gui.add_slider(
            "Samples of a ray", min=8, max=1024, step=8, initial_value=1024, hint=docs["max_samples_per_ray"]
        )
        on_person(session, self.samples, lambda value: self._change(max_samples_per_ray=int(value)))
        self.cached = gui.add_checkbox("Ask the radiance cache", True, hint=docs["cached"])
        on_person(session, self.cached, lambda value: self._change(cached=value))
        on_press(session, gui.add_button("The whole field"), self.reset)
        with gui.add_folder("Export the surface", expand_by_default=False):
            self.export.build()
        self._show()

    def on_event(self, event: SessionEvent) -> None:
        if isinstance(event, DisplayChanged | Notice):
            self._show()
        elif isinstance(event, LayerSelected):
            self.export.show()

    def reset(self) -> None:
        """Look at the whole field again, as it is."""
        self.session.set_display(field=FieldView())

    def _change(self, **changes: Any) -> None:
        self.session.set_display(field=replace(self.session.display.field, **changes))

    def _set_levels(self, ends: tuple[float, float]) -> None:
        first, last = int(ends[0]), int(ends[1])
        mask = ((1 << last) - 1) & ~((1 << (first - 1)) - 1)
        self._change(level_mask=mask | (ALL_LEVELS & ~((1 << LEVELS) - 1)) if last == LEVELS else mask)

    def _set_crop(self, axis: int, ends: tuple[float, float]) -> None:
        view = self.session.display.field
        low, high = list(view.crop_low), list(view.crop_high)
        low[axis], high[axis] = float(ends[0]), float(ends[1])
        self._change(crop_low=tuple(low), crop_high=tuple(high))

    def _show(self) -> None:
        session, view = self.session, self.session.display.field
        shown = [level for level in range(1, LEVELS + 1) if view.level_mask >> (level - 1) & 1]
        show(session, self.levels, (shown[0], shown[-1]) if shown else (1, 1))
        for axis, handle in self.crop.items():
            show(session, handle, (view.crop_low[axis], view.crop_high[axis]))
        show(session, self.slice_axis, view.slice_axis or NO_SLICE)
        show(session, self.slice_at, view.slice_at)
        show(session, self.threshold, view.density_threshold)
        show(session, self.samples, view.max_samples_per_ray)
        show(session, self.cached, view.cached)
