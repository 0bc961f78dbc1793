"""Pictures go first: the optimisation waits between two of its steps while one is being drawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class FramesFirst:
    """Lets the optimisation wait while a picture is being drawn."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._drawing = 0
        self._took = 0.0

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While it lasts no new step begins."""
        began = time.monotonic()
        with self._condition:
            self._drawing += 1
        try:
            yield
        finally:
            with self._condition:
                self._drawing -= 1
                self._took = time.monotonic() - began
                self._condition.notify_all()

    def handed_over(self, seconds: float) -> None:
        """The last picture took so long besides, while steps went on."""
        with self._condition:
            self._took += seconds

    def wait(self, at_most: float) -> None:
        """Until no picture is being drawn, or `at_most` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._drawing == 0, at_most)

    @property
    def last_seconds(self) -> float:
        """How long the last picture took, from its beginning to the browser's door."""
        return self._took
