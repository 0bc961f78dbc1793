"""Proves that the examples run as a person would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


def test_hash3d_in_your_own_loop_reuses_most_steps():
    command = [sys.executable, str(EXAMPLES / "hash3d_in_your_own_loop.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    full, steps = (int(word) for word in done.stdout.split(" steps ")[0].split(" of "))
    assert steps == 200
    assert 20 < full < 120
    assert "hits in" in done.stdout
