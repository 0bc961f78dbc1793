"""The layers of the scene, shared by all tabs: open, rename, hide, lock, duplicate, place, save, remove."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, Notice, SessionEvent, WorkspaceEvent
from h3d.app.workspace.scene import Layer, kind_of
from h3d.models.gaussians import Gaussians

from .files import FilesPart
from .handles import ask, note, on_choice, on_person, show, table

NOTHING = "no layers"


class LayersPanel:
    title = "Layers"

    def __init__(self, session: Session, opener: Opener) -> None:
        self.session, self.workspace = session, session.workspace
        self.files = FilesPart(session, opener)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.layer: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Layer", (NOTHING,), initial_value=NOTHING)
        on_person(self.session, self.layer, lambda label: self.session.select(self._key_of(label)))
        self.visible = gui.add_checkbox("Visible", True, hint="Key H hides and shows the selected layer.")
        self.locked = gui.add_checkbox("Locked", False, hint="A locked layer cannot be moved, changed or removed.")
        self.gizmo = gui.add_checkbox("Gizmo", False, hint="Key T. Arrows and rings to move and turn the layer.")
        on_person(self.session, self.visible, lambda value: self._change("hide or show", visible=value))
        on_person(self.session, self.locked, lambda value: self._change("lock or unlock", locked=value))
        on_person(self.session, self.gizmo, lambda value: self.session.select(self.session.selected, gizmo=value))
        self.info = gui.add_html("")
        buttons = gui.add_button_group("Edit", ("Duplicate", "Remove", "Undo", "Redo"))
        on_choice(self.session, buttons, self._edit)
        with gui.add_folder("Open", expand_by_default=True):
            self.files.build_open()
        with gui.add_folder("Name and place", expand_by_default=False):
            self.name = gui.add_text("Name", "")
            on_person(
                self.session,
                self.name,
                lambda value: self._change("rename", merge="rename", name=value.strip() or "layer"),
            )
            self.position = gui.add_vector3("Position", (0.0, 0.0, 0.0), step=0.01)
            self.scale = gui.add_number(
                "Scale", 1.0, min=1e-4, max=1e4, step=0.01, hint="Uniform; turning is done by the gizmo."
            )
            on_person(
                self.session, self.position, lambda value: self._change("move", merge="place", position=tuple(value))
            )
            on_person(self.session, self.scale, lambda value: self._change("scale", merge="scale", scale=float(value)))
        with gui.add_folder("Save", expand_by_default=False):
            self.files.build_save()
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, LayersChanged | LayerSelected | Notice):
            self._show()  # A notice may say that a change was refused: then the handles go back.

    def remove(self) -> None:
        """Remove the selected layer; ask first if its place or rows are not on disk."""
        layer = self.session.selected_layer()
        if layer is None:
            return
        if layer not in self.workspace.unsaved():
            self.workspace.remove(layer.key)
            return
        text = f"{layer.name} was changed since it was read or saved. Undo brings it back."
        remove = partial(self.workspace.remove, layer.key)
        ask(self.session, "Remove an unsaved layer?", text, "Remove it", remove)

    def toggle(self, field: str) -> None:
        """Flip `visible` or `locked` of the selected layer."""
        layer = self.session.selected_layer()
        if layer is not None:
            changes: dict[str, Any] = {field: not getattr(layer, field)}
            self._change(f"toggle {field}", **changes)

    def duplicate(self) -> None:
        """Duplicate the selected layer and select the copy."""
        layer = self.session.selected_layer()
        if layer is not None:
            self.session.select(self.workspace.duplicate(layer.key).key)

    def undo(self) -> None:
        """Take back the last edit of the scene."""
        name = self.workspace.undo()
        self.session.notify(f"Undone: {name}" if name else "Nothing to undo")

    def redo(self) -> None:
        """Make the last undone edit again."""
        name = self.workspace.redo()
        self.session.notify(f"Done again: {name}" if name else "Nothing to redo")

    def _edit(self, label: str) -> None:
        {"Duplicate": self.duplicate, "Remove": self.remove, "Undo": self.undo, "Redo": self.redo}[label]()

    def _change(self, cause: str, /, *, merge: str = "", **fields: Any) -> None:
        layer = self.session.selected_layer()
        if layer is not None:
            merge_key = f"{merge} {layer.key}" if merge else ""
            self.workspace.change(layer.key, f"{cause} {layer.name}", merge_key=merge_key, **fields)

    def _labels(self) -> dict[str, int]:
        return {layer_label(layer): layer.key for layer in self.workspace.layers}

    def _key_of(self, label: str) -> int | None:
        return self._labels().get(label)

    def _show(self) -> None:
        session, layer, labels = self.session, self.session.selected_layer(), tuple(self._labels()) or (NOTHING,)
        if tuple(self.layer.options) != labels:
            self.layer.options = labels
        show(session, self.layer, layer_label(layer) if layer is not None else labels[0])
        show(session, self.gizmo, session.gizmo)
        if layer is None:
            self.info.content = note("Open a scene to begin.")
            return
        for field in ("visible", "locked", "name", "position", "scale"):
            show(session, getattr(self, field), getattr(layer, field))
        self.info.content = table(_facts(layer))


def layer_label(layer: Layer) -> str:
    """How dropdowns name a layer: unique, and marked when hidden."""
    return f"{layer.key}. {layer.name}{'' if layer.visible else ' (hidden)'}"


def _facts(layer: Layer) -> list[tuple[str, str]]:
    asset = layer.asset
    center, radius = robust_bounds(asset)
    if isinstance(asset, Gaussians):
        low, high = (asset.means.amin(0), asset.means.amax(0)) if len(asset) > 0 else (center, center)
        rows = [("Gaussians", f"{len(asset):,}"), ("SH degree", str(asset.sh_degree))]
    else:
        low, high = asset.bounds
        rows = [("kind", kind_of(asset)), *asset.facts.items()]
    rows += [
        ("memory", f"{asset.nbytes / 2**20:.1f} MiB"),
        ("bounds", f"{_point(low)} to {_point(high)}"),
        ("centre", f"{_point(center)}, radius {radius:.3g}"),
    ]
    if layer.path is not None:
        rows.insert(0, ("file", layer.path.name if layer.path.name != "meta.json" else layer.path.parent.name))
    if asset.remark:
        rows.append(("remark", asset.remark))
    return rows


def _point(values: np.ndarray | torch.Tensor) -> str:  # [3]
    return ", ".join(f"{value:.2f}" for value in values.tolist())
