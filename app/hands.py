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
        self._moved: tuple[int, Callable[[], object], threading.Timer] | None = None
        """The handle that a person moves, how to queue what it came to, and when."""
        self._closed = False

    def do(self, action: Callable[..., object], *values: object, about: object = None) -> None:
        """Queue an action; returns at once. After `close` nothing is done."""
        with self._lock:
            self._rest()
            self._queue(action, values, id(about))

    def settle(self, action: Callable[..., object], value: object, about: object) -> None:
        """Queue an action once nothing was asked for `SETTLE_SECONDS`, or anything about something else is.

        For what a person moves on its way to somewhere: a slider that is dragged, a number that is typed.
        """
        with self._lock:
            if self._closed:
                return
            if self._moved is not None and self._moved[0] == id(about):
                self._moved[2].cancel()
            else:
                self._rest()
            timer = threading.Timer(SETTLE_SECONDS, self._settled)
            timer.daemon = True
            self._moved = id(about), lambda: self._queue(action, (value,), id(about)), timer
            timer.start()

    def awaits(self, about: object) -> bool:
        """Whether something newer about this handle is queued; what it shows must not be overwritten then."""
        moved = self._moved
        return self._waiting[id(about)] > 0 or (moved is not None and moved[0] == id(about))

    def close(self) -> None:
        """Drop what is queued and end the thread."""
        with self._lock:
            self._closed = True
            if self._moved is not None:
                self._moved[2].cancel()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _settled(self) -> None:
        with self._lock:
            if self._moved is not None and self._moved[2] is threading.current_thread():
                self._rest()

    def _rest(self) -> None:
        """What was being moved has come to rest. With the lock held, as `_queue`."""
        if self._moved is not None:
            _, queue, timer = self._moved
            timer.cancel()
            queue()
            self._moved = None

    def _queue(self, action: Callable[..., object], values: tuple[object, ...], about: int) -> None:
        if not self._closed:
            self._waiting[about] += 1
            self._pool.submit(self._run, action, values, about)

    def _run(self, action: Callable[..., object], values: tuple[object, ...], about: int) -> None:
        with self._lock:
            self._waiting[about] -= 1
        try:
            action(*values)
        except Exception as error:
            if not isinstance(error, (ValueError, OSError, KeyError)):  # Those are sentences for the person.
                logger.exception("an action failed")
            self._failed(error)
