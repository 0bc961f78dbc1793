"""The layers of the scene, shared by all tabs: open, rename, hide, lock, duplicate, place, save, remove."""

from __future__ import annotations

from typing import Any

import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, SessionEvent, WorkspaceEvent
from h3d.app.workspace.scene import Layer

from .files import FilesPart
from .handles import note, on_person, on_press, table

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
        on_person(self.layer, lambda label: self.session.select(self._key_of(label)))
        self.visible = gui.add_checkbox("Visible", True, hint="Key H hides and shows the selected layer.")
        self.locked = gui.add_checkbox("Locked", False, hint="A locked layer cannot be moved, changed or removed.")
        self.gizmo = gui.add_checkbox("Gizmo", False, hint="Key T. Arrows and rings to move and turn the layer.")
        on_person(self.visible, lambda value: self._change("hide or show", visible=value))
        on_person(self.locked, lambda value: self._change("lock or unlock", locked=value))
        on_person(self.gizmo, lambda value: self.session.select(self.session.selected, gizmo=value))
        self.info = gui.add_html("")
        buttons = gui.add_button_group("Edit", ("Duplicate", "Remove", "Undo", "Redo"))
        buttons.on_click(lambda event: self._edit(event.target.value))
        with gui.add_folder("Open", expand_by_default=True):
            self.files.build_open()
        with gui.add_folder("Name and place", expand_by_default=False):
            self.name = gui.add_text("Name", "")
            on_person(self.name, lambda value: self._change("rename", merge="rename", name=value.strip() or "layer"))
            self.position = gui.add_vector3("Position", (0.0, 0.0, 0.0), step=0.01)
            self.scale = gui.add_number(
                "Scale", 1.0, min=1e-4, max=1e4, step=0.01, hint="Uniform; turning is done by the gizmo."
            )
            on_person(self.position, lambda value: self._change("move", merge="place", position=tuple(value)))
            on_person(self.scale, lambda value: self._change("scale", merge="scale", scale=float(value)))
        with gui.add_folder("Save", expand_by_default=False):
            self.files.build_save()
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, LayersChanged | LayerSelected):
            self._show()

    def remove(self) -> None:
        """Remove the selected layer; ask first if its place or rows are not on disk."""
        layer = self.session.selected_layer()
        if layer is None:
            return
        if layer not in self.workspace.unsaved():
            self.session.attempt(lambda: self.workspace.remove(layer.key), "Not removed")
            return
        gui = self.session.client.gui
        with gui.add_modal("Remove an unsaved layer?") as modal:
            gui.add_html(note(f"{layer.name} was changed since it was read or saved. Undo brings it back."))
            on_press(
                gui.add_button("Remove it", color="red"),
                lambda: (self.session.attempt(lambda: self.workspace.remove(layer.key), "Not removed"), modal.close()),
            )
            on_press(gui.add_button("Keep it"), modal.close)

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
            self.session.attempt(lambda: self.workspace.duplicate(layer.key), "Not duplicated")

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
        if layer is None:
            return
        merge_key = f"{merge} {layer.key}" if merge else ""
        if not self.session.attempt(
            lambda: self.workspace.change(layer.key, f"{cause} {layer.name}", merge_key=merge_key, **fields),
            "Not changed",
        ):
            self._show()

    def _labels(self) -> dict[str, int]:
        return {layer_label(layer): layer.key for layer in self.workspace.layers}

    def _key_of(self, label: str) -> int | None:
        return self._labels().get(label)

    def _show(self) -> None:
        layer, labels = self.session.selected_layer(), tuple(self._labels()) or (NOTHING,)
        if tuple(self.layer.options) != labels:
            self.layer.options = labels
        self.layer.value = layer_label(layer) if layer is not None else labels[0]
        self.gizmo.value = self.session.gizmo
        if layer is None:
            self.info.content = note("Open a scene to begin.")
            return
        self.visible.value, self.locked.value, self.name.value = layer.visible, layer.locked, layer.name
        self.position.value, self.scale.value = layer.position, layer.scale
        self.info.content = table(_facts(layer))


def layer_label(layer: Layer) -> str:
    """How dropdowns name a layer: unique, and marked when hidden."""
    return f"{layer.key}. {layer.name}{'' if layer.visible else ' (hidden)'}"


def _facts(layer: Layer) -> list[tuple[str, str]]:
    asset = layer.asset
    center, radius = robust_bounds(asset)
    rows = [
        ("Gaussians", f"{len(asset):,}"),
        ("SH degree", str(asset.sh_degree)),
        ("memory", f"{asset.nbytes / 2**20:.1f} MiB"),
        ("centre", ", ".join(f"{x:.2f}" for x in center)),
        ("radius", f"{radius:.3g}"),
    ]
    if layer.path is not None:
        rows.insert(0, ("file", layer.path.name if layer.path.name != "meta.json" else layer.path.parent.name))
    if asset.remark:
        rows.append(("remark", asset.remark))
    return rows
