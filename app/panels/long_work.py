"""Work of one tab that takes a while: in a thread of its own, one at a time, with a bar, a button that cancels, a word.

A part of the panels that capture and export.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from h3d.app.session import Session
from h3d.renderers import CancelFlag, Cancelled

from .handles import note

logger = logging.getLogger(__name__)

Report = Callable[[float], None]
"""Told the share that is done, from 0 to 1."""
Work = Callable[[Report, CancelFlag], str]
"""Does it, and says what came of it; raises `Cancelled` soon after the flag was set."""


class LongWork:
    """The handles and the thread. `noun` and `done` are what it is called: "capture", "captured"."""

    def __init__(self, session: Session, noun: str, done: str) -> None:
        self.session, self.noun, self.done = session, noun, done
        self._cancel = CancelFlag()
        self._busy = threading.Lock()

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.progress = gui.add_progress_bar(0.0, visible=False)
        self.status = gui.add_html("")
        self.cancel = gui.add_button(f"Cancel the {self.noun}", visible=False)
        self.cancel.on_click(lambda _: self._cancel.set())  # At once, whatever else is queued.
        self.session.at_close(self._cancel.set)

    def start(self, path: Path, work: Work, cleanup: Callable[[], object] = lambda: None) -> None:
        """Begin to make the file `path`; `cleanup` is called in any case, after the work or in place of it.

        Raises:
            ValueError: the one before is not done yet.
        """
        if not self._busy.acquire(blocking=False):
            cleanup()
            raise ValueError(f"the {self.noun} before is under way; wait for it or cancel it")
        self._cancel.clear()
        threading.Thread(target=self._run, args=(path, work, cleanup), name=self.noun, daemon=True).start()

    def _run(self, path: Path, work: Work, cleanup: Callable[[], object]) -> None:
        start, result = time.perf_counter(), ""
        try:
            self.progress.value, self.status.content = 0.0, ""
            self.progress.visible = self.cancel.visible = True
            found = work(lambda share: self._show(start, share), self._cancel)
            result = f"{found}{', ' if found else ''}{time.perf_counter() - start:.1f} s"
            self.session.notify(f"{path.name}: {self.done}", result)
            result = f"{path.name}: {result}"
        except Cancelled:
            self.session.notify(f"{self.noun.capitalize()} cancelled")
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):  # Those are sentences for the person.
                logger.exception("the %s failed", self.noun)
            self.session.notify(f"Not {self.done}", str(error) or type(error).__name__, "error")
        finally:
            if not self.session.closed:
                self.progress.visible = self.cancel.visible = False
                self.status.content = note(result) if result else ""
            cleanup()
            self._busy.release()

    def _show(self, start: float, share: float) -> None:
        elapsed = time.perf_counter() - start
        self.progress.value = 100.0 * share
        if elapsed > 1.0 and share > 0:
            self.status.content = note(f"{100 * share:.0f} %, {elapsed / share - elapsed:.0f} s left")
