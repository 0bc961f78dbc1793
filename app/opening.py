"""Getting scenes in and out: typed paths, uploads, recent scenes, downloads. Every refusal is a sentence to the tab."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import viser

from h3d.models import formats
from h3d.models.formats import FormatError
from h3d.models.gaussians import Gaussians
from h3d.models.training import Progress
from h3d.models.training.tasks import Model

from .recorder import Recorder
from .run_folder import RunFolder
from .sources import open_prompt, open_source
from .workspace.folders import AllowedFolders
from .workspace.optimisation import Optimisation
from .workspace.scene import Layer
from .workspace.workspace import Workspace, placed_asset, read_asset, write_asset

if TYPE_CHECKING:
    from .session import Session


logger = logging.getLogger(__name__)


class Opener:
    """Opens and saves for all tabs. Paths that a person types in a browser must lie below the allowed folders."""

    def __init__(self, workspace: Workspace, optimisation: Optimisation, folders: AllowedFolders) -> None:
        self.workspace, self.optimisation, self.folders = workspace, optimisation, folders

    def recent(self) -> list[Path]:
        """Scenes that were opened lately on this machine."""
        return self.workspace.recent.paths() if self.workspace.recent is not None else []

    def typed(self, text: str, session: Session, model: Model | None = None) -> None:
        """Open a path that was typed in the browser; a `model` says what to learn from it.

        Raises:
            PermissionError: it lies outside the allowed folders.
        """
        self.known(self.folders.resolve(text), session, model)

    def known(self, path: Path, session: Session, model: Model | None = None) -> None:
        """Open a path that the program itself offered."""
        expected = self.workspace.expected_seconds(path) if path.is_file() else None

        def work(progress: Progress) -> None:
            opened = open_source(path, self.workspace, self.optimisation, model, progress=progress)
            if opened.layer is not None:
                session.select(opened.layer)

        self._report(work, f"Opening {path.name}", session, expected)

    def words(self, text: str, session: Session, model: Model | None = None) -> None:
        """Make 3D of a prompt."""
        self._report(lambda _: open_prompt(text, self.optimisation, model), f"Making {text}", session)

    def keep(self, run: int, text: str) -> None:
        """Record a run into a new folder that was typed in the browser, from now on.

        Raises:
            PermissionError: it lies outside the allowed folders.
            ValueError: there is a run already.
        """
        data, task = self.optimisation.data(run), self.optimisation.task(run)
        if any(status.kept for status in self.optimisation.statuses() if status.key == run):
            raise ValueError(f"{task.name}: it is recorded already")
        recorder = Recorder(RunFolder(self.folders.resolve(text)), task)
        recorder.begin(data)
        self.optimisation.keep(run, recorder)

    def upload(self, name: str, content: bytes, session: Session) -> None:
        """Open a file that came through the browser. It is kept in memory only, as a layer without a path."""

        def read(_: Progress) -> None:
            with tempfile.TemporaryDirectory(prefix="h3d-upload-") as folder:
                path = Path(folder) / (name or "upload")
                path.write_bytes(content)
                try:
                    asset, sha256 = read_asset(path)
                    layer = self.workspace.add(path.name, asset, sha256=sha256)
                except FormatError as error:  # The temporary folder means nothing to the person who uploaded.
                    raise FormatError(path.name, error.place, error.rule, error.way_out) from error
                session.select(layer.key)

        self._report(read, f"Reading {name}", session)

    def download(self, layer: Layer | None, suffix: str, session: Session) -> None:
        """Write a layer as it stands in the scene and hand it to the browser."""
        if layer is not None:
            name = f"{_safe_name(layer.name)}{suffix}"
            _tell_of_loss(layer, Path(name), session)
            self.deliver(name, lambda path: write_asset(path, placed_asset(layer)), session)

    def deliver(self, name: str, write: Callable[[Path], object], session: Session) -> None:
        """Let `write` make a file of this name and hand it to the browser."""

        def work(_: Progress) -> None:
            with tempfile.TemporaryDirectory(prefix="h3d-download-") as folder:
                path = Path(folder) / name
                write(path)
                for file in sorted(Path(folder).iterdir()):  # A .ply may have one beside it.
                    session.client.send_file_download(file.name, file.read_bytes(), save_immediately=True)

        self._report(work, f"Writing {name}", session)

    def save(self, layer: Layer | None, path: Path, session: Session) -> None:
        """Write a layer to a path that `folders` has resolved; what is there is replaced."""
        if layer is not None:
            _tell_of_loss(layer, path, session)
            self._report(lambda _: self.workspace.save(layer.key, path), f"Saving {path.name}", session)

    def _report(
        self, work: Callable[[Progress], object], title: str, session: Session, expected: float | None = None
    ) -> None:
        """Do it in a thread of its own, with a notice while it lasts and a sentence if it fails."""

        def run() -> None:
            start = time.perf_counter()
            waiting = session.client.add_notification(title, "", loading=True, with_close_button=False)
            said: deque[str] = deque(maxlen=1)
            done = threading.Event()
            threading.Thread(
                target=_count, args=(waiting, start, expected, said, done), name="open-count", daemon=True
            ).start()
            try:
                work(said.append)
            except Exception as error:
                if not isinstance(error, (ValueError, OSError, KeyError)):  # Those are sentences for the person.
                    logger.exception("%s failed", title)
                session.notify(f"{title}: failed", str(error) or type(error).__name__, "error")
            else:
                session.notify(f"{title}: done", f"{time.perf_counter() - start:.1f} s")
            finally:
                done.set()
                waiting.remove()

        threading.Thread(target=run, name="open", daemon=True).start()


def _count(
    notification: viser.NotificationHandle,
    start: float,
    expected: float | None,
    said: Sequence[str],
    done: threading.Event,
) -> None:
    """Say how far it is by its own last words; else how long it has taken and, where files of its kind were read
    before, how long it will."""
    while not done.wait(1.0):
        if len(said) > 0:
            notification.body = said[-1]
            continue
        elapsed = time.perf_counter() - start
        left = "" if expected is None or expected <= elapsed else f", about {expected - elapsed:.0f} s left"
        notification.body = f"{elapsed:.0f} s so far{left}"


def _tell_of_loss(layer: Layer, path: Path, session: Session) -> None:
    asset = layer.asset
    if isinstance(asset, Gaussians) and asset.compensation is not None and not formats.keeps_compensation(path):
        session.notify(path.name, "The compensation network is left out; only a .ply keeps it.", "warning")


def _safe_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(" .") or "layer"
