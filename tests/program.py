"""Runs the real program for tests: `h3d-view` in a process of its own, found by the address that it prints."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 90.0


@dataclass
class Program:
    """A running `h3d-view`."""

    process: subprocess.Popen[str]
    url: str
    errors: list[str]  # lines of stderr so far


@contextlib.contextmanager
def running_program(*arguments: str | Path, state: Path) -> Iterator[Program]:
    """Start `h3d-view` with these arguments at a free port and end it with Ctrl-C."""
    command = [sys.executable, "-c", "from h3d.app.cli import view_main; view_main()", *map(str, arguments)]
    command += ["--port", "0", "--no-open"]
    environment = {**os.environ, "H3D_STATE": str(state), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    lines: queue.Queue[str] = queue.Queue()
    errors: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    readers = [
        threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True),
        threading.Thread(target=lambda: [errors.append(line) for line in process.stderr or ()], daemon=True),
    ]
    for reader in readers:
        reader.start()
    try:
        try:
            line = lines.get(timeout=START_SECONDS)
        except queue.Empty:
            raise AssertionError(f"the program printed no address; stderr: {''.join(errors)}") from None
        match = re.fullmatch(r"h3d-view: (http://\S+)\n", line)
        assert match is not None, f"unexpected first line {line!r}"
        yield Program(process, match[1], errors)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
