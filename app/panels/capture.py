"""Pictures for a paper, rendered by our own renderers at any size, with the recipe that made them inside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from h3d.app.figures import capture
from h3d.app.figures.capture import CaptureSettings
from h3d.app.session import Session
from h3d.app.workspace.events import SessionEvent
from h3d.app.workspace.folders import AllowedFolders
from h3d.renderers import CancelFlag

from .handles import ask, note, on_press
from .long_work import LongWork, Report

SIZES: dict[str, tuple[int, int] | None] = {
    "the tab's": None,
    "1280 x 720": (1280, 720),
    "1920 x 1080": (1920, 1080),
    "3840 x 2160": (3840, 2160),
    "own": None,
}


class CapturePanel:
    title = "Capture"

    def __init__(self, session: Session, folders: AllowedFolders) -> None:
        self.session, self.folders = session, folders
        self.work = LongWork(session, "capture", "captured")

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.size = gui.add_dropdown("Size", tuple(SIZES), initial_value="1920 x 1080")
        self.width = gui.add_number("Width (own)", 1920, min=1, max=16384, step=1)
        self.height = gui.add_number("Height (own)", 1080, min=1, max=16384, step=1)
        self.samples = gui.add_slider(
            "Supersampling", min=1, max=4, step=1, initial_value=2, hint="Samples along each side of a pixel."
        )
        self.depth = gui.add_dropdown("Bits a channel", ("8", "16"), initial_value="8")
        self.transparent = gui.add_checkbox("Transparent background", False)
        self.margin = gui.add_number("Margin", 0, min=0, max=2048, step=1, hint="Pixels around the picture.")
        self.margin_color = gui.add_dropdown("Margin is", ("white", "black", "transparent"), initial_value="white")
        self.name = gui.add_text(
            "File", "capture.png", hint=f".png, or .npy for float depth; saved below {self.folders.text}"
        )
        on_press(self.session, gui.add_button("Capture and download", color="green", hint="Key P"), self.download)
        on_press(self.session, gui.add_button("Capture to the server's disk"), self.save)
        self.work.build()
        on_press(self.session, gui.add_button("Command that renders this view", hint="Key Y"), self.show_command)

    def on_event(self, event: SessionEvent) -> None:
        del event  # A capture takes the state of the moment when it begins.

    def download(self) -> None:
        """Capture into the browser's downloads."""
        name = Path(self.name.value).name or "capture.png"
        folder = tempfile.TemporaryDirectory(prefix="h3d-capture-")

        def deliver(file: Path) -> None:
            self.session.client.send_file_download(name, file.read_bytes(), save_immediately=True)

        self._start(Path(folder.name) / name, deliver, folder.cleanup)

    def save(self) -> None:
        """Capture to a file below the allowed folders; ask first if something is there."""
        path = self.folders.resolve(self.name.value)
        action = partial(self._start, path, lambda file: None, lambda: None)
        if path.exists():
            ask(self.session, f"Replace {path.name}?", f"{path.name} exists already.", "Replace it", action)
        else:
            action()

    def settings(self) -> tuple[CaptureSettings, int, int]:
        """What the handles ask for, and the size."""
        if self.size.value == "own":
            width, height = int(self.width.value), int(self.height.value)
        else:
            width, height = SIZES[self.size.value] or self.session.drawing.full_size()
        settings = CaptureSettings(
            width=width,
            height=height,
            samples=int(self.samples.value),
            bit_depth=16 if self.depth.value == "16" else 8,
            background="transparent" if self.transparent.value else self.session.display.background,
            margin=int(self.margin.value),
            margin_color=self.margin_color.value,
        )
        return settings, width, height

    def show_command(self) -> None:
        """Show the command line that renders what this tab shows, ready to be copied."""
        settings, width, height = self.settings()
        output = Path(self.name.value or "capture.png")
        view, camera = self.session.drawing.subject(), self.session.camera(width, height)
        command = capture.command_line(view, camera, settings, str(output))
        gui = self.session.client.gui
        with gui.add_modal("The command that renders this view") as modal:
            gui.add_text("Command", command, multiline=True)
            if " --like " in command:
                gui.add_html(note("No flags say all of this view: capture it first, the command follows that picture."))
            unsaved = [x.name for x in self.session.workspace.layers if x.visible and x.path is None]
            if len(unsaved) > 0:
                names = ", ".join(unsaved)
                gui.add_html(note(f"No file holds {names} yet: save it (Layers, Save) and give that file instead."))
            on_press(self.session, gui.add_button("Close"), modal.close)

    def _start(self, path: Path, deliver: Callable[[Path], object], cleanup: Callable[[], object]) -> None:
        """Capture in a thread of its own, one at a time."""
        settings, width, height = self.settings()
        subject, camera = self.session.drawing.subject(), self.session.camera(width, height)
        backend = self.session.settings.backend

        def work(report: Report, cancel: CancelFlag) -> str:
            capture.capture(subject, camera, settings, path, backend=backend, progress=report, cancel=cancel)
            deliver(path)
            return ""

        self.work.start(path, work, cleanup)
