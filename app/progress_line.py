"""How far something is, as one line on stderr: rewritten in place in a terminal, a new one now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

PATIENCE_SECONDS = 1.0  # what is done sooner is not worth a word
TERMINAL_SECONDS, LOG_SECONDS = 0.1, 10.0  # between two words


class ProgressLine:
    """`with ProgressLine() as line: work(progress=line)`; the end of the block takes the line away."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._began = time.perf_counter()
        self._due = self._began + PATIENCE_SECONDS
        self._width = 0  # of what stands in the terminal now

    def __call__(self, text: str) -> None:
        """Say it in a few words."""
        now = time.perf_counter()
        if now < self._due:
            return
        self._due = now + (TERMINAL_SECONDS if self._terminal else LOG_SECONDS)
        self._stream.write(f"\r{text.ljust(self._width)}" if self._terminal else f"{text}\n")
        self._stream.flush()
        self._width = len(text)

    def share(self, share: float) -> None:
        """Say it by the share that is done, from 0 to 1."""
        if share > 0.0:
            left = (time.perf_counter() - self._began) * (1.0 / share - 1.0)
            self(f"{100.0 * share:.0f} %, {left:.0f} s left")

    def clear(self) -> None:
        """Take away what stands in the terminal, so that something else can be said there."""
        if self._terminal and self._width > 0:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
        self._width = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
