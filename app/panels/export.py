"""The surface of a field or of Gaussians as a mesh or as points, by the same code as `h3d export`.

A part of the Field panel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from h3d.app.export_verb import check_output, export_mesh, export_points
from h3d.app.session import Session
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.scene import Layer
from h3d.models import meshes
from h3d.models.gaussians import Gaussians
from h3d.models.hash_grid import HashGridField
from h3d.models.meshing import Meshable, MeshingOptions
from h3d.renderers import CancelFlag

from .display import field_docs
from .handles import ask, note, on_person, on_press
from .long_work import LongWork, Report

MESH, POINTS = "mesh", "points"


class ExportPart:
    """What to export of the selected layer: the snapshot of the moment when it begins, whatever a run makes of it."""

    def __init__(self, session: Session, folders: AllowedFolders) -> None:
        self.session, self.folders = session, folders
        self.work = LongWork(session, "export", "exported")

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session, docs = self.session.client.gui, self.session, field_docs(MeshingOptions)
        gui.add_html(note("The surface of the selected layer, in its own axes."))
        self.kind = gui.add_dropdown("As", (MESH, POINTS), initial_value=MESH)
        on_person(session, self.kind, lambda _: self.show())
        self.count = gui.add_number("Points", 1_000_000, min=1, max=100_000_000, step=1, hint="Evenly all over it.")
        self.resolution = gui.add_number("Resolution", 256, min=8, max=2048, step=8, hint=docs["resolution"])
        self.density = gui.add_number(
            "Surface at",
            0.0,
            min=0.0,
            max=1e6,
            step=0.05,
            hint="The density there: of a field per unit of its length, 0 = 12.2 per length of the unit cube; of "
            "Gaussians the sum of opacity * exp(-d^2 / 2), 0 = 0.25.",
        )
        self.colors = gui.add_checkbox("Colours", True, hint=docs["colors"])
        self.largest = gui.add_checkbox("Largest part", False, hint=docs["largest_component"])
        self.cropped = gui.add_checkbox("In the crop box", True, hint="The one above; off = the whole field.")
        suffixes = "a mesh as .obj, .ply or .glb, points as .ply"
        self.name = gui.add_text("Export as", "surface.ply", hint=f"{suffixes}; saved below {self.folders.text}")
        on_press(session, gui.add_button("Export and download", color="green"), self.download)
        on_press(session, gui.add_button("Export to the server's disk"), self.save)
        self.work.build()
        self.show()

    def show(self) -> None:
        """Only the handles that mean something for the selected layer and what it is exported as."""
        layer = self.session.selected_layer()
        asset = None if layer is None else layer.asset
        self.count.visible = self.kind.value == POINTS
        self.density.visible = self.colors.visible = isinstance(asset, HashGridField | Gaussians)
        self.cropped.visible = not isinstance(asset, Gaussians)

    def download(self) -> None:
        """Export into the browser's downloads."""
        name = Path(self.name.value).name or "surface.ply"
        folder = tempfile.TemporaryDirectory(prefix="h3d-export-")

        def deliver(file: Path) -> str:
            self.session.client.send_file_download(name, file.read_bytes(), save_immediately=True)
            return "downloaded"

        self._start(Path(folder.name) / name, deliver, folder.cleanup)

    def save(self) -> None:
        """Export to a file below the allowed folders; ask first if something is there."""
        path = self.folders.resolve(self.name.value)
        action = partial(self._start, path, lambda file: f"in {file.parent}", lambda: None)
        if path.exists():
            ask(self.session, f"Replace {path.name}?", f"{path.name} exists already.", "Replace it", action)
        else:
            action()

    def _start(self, path: Path, deliver: Callable[[Path], str], cleanup: Callable[[], object]) -> None:
        """Export in a thread of its own, one at a time; what is wrong is said before it begins."""
        layer, options = _layer_of(self.session.selected_layer()), self._options()
        surface, up = _shown(layer), meshes.Z_UP if layer.home is None else layer.home.up
        count = int(self.count.value) if self.kind.value == POINTS else None
        check_output(path, points=count is not None)

        def work(report: Report, cancel: CancelFlag) -> str:
            if count is None:
                found = export_mesh(surface, path, options, up=up, progress=report, cancel=cancel)
            else:
                found = export_points(surface, path, count, options, progress=report, cancel=cancel)
            return f"{found}, {deliver(path)}"

        self.work.start(path, work, cleanup)

    def _options(self) -> MeshingOptions:
        view, cropped = self.session.display.field, self.cropped.value and self.cropped.visible
        return MeshingOptions(
            resolution=int(self.resolution.value),
            threshold=float(self.density.value) if self.density.visible and self.density.value > 0.0 else None,
            colors=self.colors.value,
            largest_component=self.largest.value,
            crop_low=view.crop_low if cropped else (0.0, 0.0, 0.0),
            crop_high=view.crop_high if cropped else (1.0, 1.0, 1.0),
        )


def _layer_of(layer: Layer | None) -> Layer:
    """Raises: ValueError where nothing is selected."""
    if layer is None:
        raise ValueError("no layer is selected; open a field or Gaussians and select them in the Layers panel")
    return layer


def _shown(layer: Layer) -> Meshable:
    """What is exported of a layer: all but the rows that are hidden."""
    asset = layer.asset
    return asset.keep(~layer.hidden_rows) if isinstance(asset, Gaussians) and layer.hidden_rows is not None else asset
