"""The layers of the scene, shared by all tabs: open, rename, hide, lock, duplicate, place, save, remove."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import viser

from h3d.app.figures.framing import robust_bounds
from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, LayerSelected, SessionEvent, WorkspaceEvent
from h3d.app.workspace.scene import Layer
from h3d.models import formats

from .handles import note, on_person, on_press, table

NOTHING = "no layers"


class LayersPanel:
    title = "Layers"

    def __init__(self, session: Session, opener: Opener) -> None:
        self.session, self.workspace, self.opener = session, session.workspace, opener

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
            self._build_open()
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
            self._build_save()
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, LayersChanged | LayerSelected):
            self._show()

    def _build_open(self) -> None:
        gui = self.session.client.gui
        upload = gui.add_upload_button("Upload a scene", hint=f"One file: {', '.join(sorted(formats.READABLE))}")
        on_press_upload(upload, lambda name, content: self.opener.upload(name, content, self.session))
        self.path = gui.add_text("Path", "", hint=f"A file or folder below {self.opener.folders.text}")
        on_press(gui.add_button("Open the path"), lambda: self.opener.typed(self.path.value, self.session))
        recent = self.opener.recent()
        if recent:
            labels = {
                f"{i + 1}. {path.name if path.name != 'meta.json' else path.parent.name}": path
                for i, path in enumerate(recent)
            }
            choice = gui.add_dropdown("Recent", ("choose", *labels), initial_value="choose")
            on_person(choice, lambda label: label in labels and self.opener.known(labels[label], self.session))

    def _build_save(self) -> None:
        gui = self.session.client.gui
        self.format = gui.add_dropdown("Format", tuple(formats.WRITABLE), initial_value=".ply")
        gui.add_html(note("As it stands in the scene: transform applied, hidden Gaussians left out."))
        on_press(
            gui.add_button("Download"), lambda: self.opener.download(self._selected(), self.format.value, self.session)
        )
        self.target = gui.add_text(
            "Save as", "", hint=f"A path below {self.opener.folders.text}; the suffix decides the format."
        )
        on_press(
            gui.add_button("Save on the server"),
            lambda: self.opener.save(self._selected(), self.target.value, self.session),
        )

    def remove(self) -> None:
        """Remove the selected layer; ask first if its place or rows are not on disk."""
        layer = self._selected()
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
        layer = self._selected()
        if layer is not None:
            changes: dict[str, Any] = {field: not getattr(layer, field)}
            self._change(f"toggle {field}", **changes)

    def duplicate(self) -> None:
        """Duplicate the selected layer and select the copy."""
        layer = self._selected()
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
        layer = self._selected()
        if layer is None:
            return
        merge_key = f"{merge} {layer.key}" if merge else ""
        if not self.session.attempt(
            lambda: self.workspace.change(layer.key, f"{cause} {layer.name}", merge_key=merge_key, **fields),
            "Not changed",
        ):
            self._show()

    def _selected(self) -> Layer | None:
        return next((x for x in self.workspace.layers if x.key == self.session.selected), None)

    def _labels(self) -> dict[str, int]:
        return {layer_label(layer): layer.key for layer in self.workspace.layers}

    def _key_of(self, label: str) -> int | None:
        return self._labels().get(label)

    def _show(self) -> None:
        layer, labels = self._selected(), tuple(self._labels()) or (NOTHING,)
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


class Gizmo:
    """The selected layer's transform gizmo in one tab."""

    title = ""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.handle: viser.TransformControlsHandle | None = None
        self.key: int | None = None
        self.drag = ""

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, LayersChanged | LayerSelected):
            self.follow()

    def follow(self) -> None:
        """Make the gizmo stand where the selected layer stands, or take it away."""
        layer = next((x for x in self.session.workspace.layers if x.key == self.session.selected), None)
        wanted = layer is not None and self.session.gizmo and not layer.locked
        if self.handle is not None and (not wanted or layer is None or layer.key != self.key):
            self.handle.remove()
            self.handle = None
        if layer is None or not wanted:
            return
        if self.handle is None:
            _, radius = robust_bounds(layer.asset)
            self.handle = self.session.client.scene.add_transform_controls(
                "/gizmo", scale=max(0.6 * radius * layer.scale, 1e-3), wxyz=layer.wxyz, position=layer.position
            )
            self.key = layer.key
            self.handle.on_update(self._moved)
        elif not np.allclose(self.handle.position, layer.position) or not np.allclose(self.handle.wxyz, layer.wxyz):
            self.handle.position, self.handle.wxyz = layer.position, layer.wxyz

    def _moved(self, event: viser.TransformControlsEvent) -> None:
        if event.client is None or self.key is None:
            return
        if event.phase == "start" or not self.drag:
            self.drag = uuid.uuid4().hex
        place = {"wxyz": tuple(map(float, event.target.wxyz)), "position": tuple(map(float, event.target.position))}
        key, workspace = self.key, self.session.workspace
        self.session.attempt(
            lambda: workspace.change(key, f"place {workspace.layer(key).name}", merge_key=self.drag, **place),
            "Not moved",
        )


def layer_label(layer: Layer) -> str:
    """How dropdowns name a layer: unique, and marked when hidden."""
    return f"{layer.key}. {layer.name}{'' if layer.visible else ' (hidden)'}"


def on_press_upload(button: viser.GuiUploadButtonHandle, callback) -> None:  # noqa: ANN001
    """Call `callback(name, content)` when a file has arrived."""

    @button.on_upload
    def _(event: viser.GuiEvent) -> None:
        callback(Path(event.target.value.name).name, event.target.value.content)


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
