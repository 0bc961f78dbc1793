"""Work that follows something that changes often: done in a thread of its own, for the newest state only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Newest:
    """Calls `work` after every `ask`, or once for several that came while it was at work. It reads what there is then.

    Neither who tells of a change nor what a person does waits for it.
    """

    def __init__(self, work: Callable[[], object], name: str) -> None:
        self._work = work
        self._asked, self._closed = False, False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Something has changed; returns at once."""
        with self._wake:
            self._asked = True
            self._wake.notify_all()

    def close(self) -> None:
        """Do nothing more; what is being done goes on to its end."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._asked or self._closed)
                if self._closed:
                    return
                self._asked = False
            try:
                self._work()
            except Exception:
                logger.exception("%s failed", self._thread.name)
