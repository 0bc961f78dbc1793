"""Proves that what follows something that changes often is done for the newest state, and nobody waits for it."""

from __future__ import annotations

import threading

from h3d.app.newest import Newest

PATIENCE = 20.0


def test_what_is_asked_for_while_it_works_is_done_once_afterwards():
    began, go_on, seen = threading.Semaphore(0), threading.Event(), []
    state = [0]

    def work() -> None:
        seen.append(state[0])
        began.release()
        assert go_on.wait(PATIENCE)

    newest = Newest(work, "test")
    newest.ask()
    assert began.acquire(timeout=PATIENCE)
    for state[0] in range(1, 6):
        newest.ask()
    go_on.set()
    assert began.acquire(timeout=PATIENCE)
    assert seen == [0, 5]
    newest.close()


def test_work_that_fails_is_logged_and_the_next_is_done(caplog):
    done = threading.Event()
    failing = [True]

    def work() -> None:
        if failing.pop() if failing else False:
            newest.ask()
            raise RuntimeError("no")
        done.set()

    newest = Newest(work, "the test's work")
    newest.ask()
    assert done.wait(PATIENCE)
    newest.close()
    assert "the test's work failed" in caplog.text


def test_after_it_is_closed_nothing_is_done():
    ran = threading.Event()
    newest = Newest(ran.set, "test")
    newest.close()
    newest.ask()
    newest._thread.join(PATIENCE)
    assert not newest._thread.is_alive() and not ran.is_set()
