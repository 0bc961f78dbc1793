"""A flag that stops a rendering call from another thread."""

from __future__ import annotations

import ctypes


class Cancelled(Exception):
    """The cancel flag was set while a picture was being rendered; there is no picture."""


class CancelFlag:
    """Set by any thread, polled by kernels between tiles; a call that sees it raises `Cancelled`."""

    def __init__(self) -> None:
        # One aligned word in memory, which kernels read without the interpreter lock.
        self._word = ctypes.c_int32(0)

    def set(self) -> None:
        """Asks every call that holds this flag to stop."""
        self._word.value = 1

    def clear(self) -> None:
        """Makes the flag ready for the next call."""
        self._word.value = 0

    def is_set(self) -> bool:
        return self._word.value != 0

    @property
    def address(self) -> int:
        """Where the word lies; valid while the flag lives."""
        return ctypes.addressof(self._word)
