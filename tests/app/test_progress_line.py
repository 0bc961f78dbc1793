"""Proves the line that says how far something is: rewritten and taken away in terminals, rare in logs, never early."""

from __future__ import annotations

import io

import pytest

from h3d.app import progress_line
from h3d.app.progress_line import LOG_SECONDS, PATIENCE_SECONDS, ProgressLine


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_line, "time", made)
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_done_at_once_says_nothing(clock: Clock):
    for stream in (Terminal(), io.StringIO()):
        with ProgressLine(stream) as line:
            clock.now += 0.5 * PATIENCE_SECONDS
            line("half")
            line.share(0.5)
        assert stream.getvalue() == ""


def test_a_terminal_shows_one_line_that_goes_in_the_end(clock: Clock):
    stream = Terminal()
    with ProgressLine(stream) as line:
        line.share(0.0)
        clock.now += 4.0
        line.share(0.25)
        line("too soon after it")
        clock.now += 1.0
        line("done")
    assert stream.getvalue() == "\r25 %, 12 s left\rdone           \r    \r"


def test_a_line_that_was_interrupted_goes_too(clock: Clock):
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), ProgressLine(stream) as line:
        clock.now += 2.0
        line("working")
        raise KeyboardInterrupt
    assert stream.getvalue() == "\rworking\r       \r"


def test_a_log_gets_a_line_now_and_then(clock: Clock):
    stream = io.StringIO()
    with ProgressLine(stream) as line:
        for second in range(25):
            clock.now += 1.0
            line(f"second {second + 1}")
    assert LOG_SECONDS == 10.0
    assert stream.getvalue() == "second 1\nsecond 11\nsecond 21\n"
