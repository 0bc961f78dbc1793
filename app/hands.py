"""What one person asks for, done one thing after the other, in the order in which it was asked.

viser runs plain callbacks in a pool, where the values of one slider may overtake each other; coroutines it runs in
order on its own loop, which must not be held up. So handles and keys only note here, on the loop, what was asked, and
one thread a tab does it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 0.4


class Hands:
    """A queue of actions with one thread. `failed` is told of what goes wrong; the queue goes on."""

    def __init__(self, failed: Callable[[Exception], object]) -> None:
        self._failed = failed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hands")
        self._lock = threading.Lock()
        self._waiting: Counter[int] = Counter()  # by the identity of the handle that an action is about
        self._settling: dict[int, threading.Timer] = {}
        self._closed = False

    def do(self, action: Callable[..., object], *values: object, about: object = None) -> None:
        """Queue an action; returns at once. After `close` nothing is done."""
        with self._lock:
            if self._closed:
                return
            self._waiting[id(about)] += 1
            self._pool.submit(self._run, action, values, id(about))

    def settle(self, action: Callable[..., object], value: object, about: object) -> None:
        """Queue an action once nothing newer about this handle was asked for `SETTLE_SECONDS`.

        For what a person moves on its way to somewhere: a slider that is dragged, a number that is typed.
        """
        with self._lock:
            if self._closed:
                return
            before = self._settling.pop(id(about), None)
            if before is not None:
                before.cancel()
            timer = threading.Timer(SETTLE_SECONDS, self._settled, (action, value, about))
            timer.daemon = True
            self._settling[id(about)] = timer
            timer.start()

    def _settled(self, action: Callable[..., object], value: object, about: object) -> None:
        with self._lock:
            if self._settling.get(id(about)) is not threading.current_thread():
                return  # Something newer was asked for at the last moment.
            del self._settling[id(about)]
            if not self._closed:
                self._waiting[id(about)] += 1
                self._pool.submit(self._run, action, (value,), id(about))

    def awaits(self, about: object) -> bool:
        """Whether something newer about this handle is queued; what it shows must not be overwritten then."""
        return self._waiting[id(about)] > 0 or id(about) in self._settling

    def close(self) -> None:
        """Drop what is queued and end the thread."""
        with self._lock:
            self._closed = True
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, action: Callable[..., object], values: tuple[object, ...], about: int) -> None:
        with self._lock:
            self._waiting[about] -= 1
        try:
            action(*values)
        except Exception as error:
            if not isinstance(error, (ValueError, OSError, KeyError)):  # Those are sentences for the person.
                logger.exception("an action failed")
            self._failed(error)
