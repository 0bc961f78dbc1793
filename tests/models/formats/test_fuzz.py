"""Thousands of damaged files of all formats raise FormatError or load; nothing else, no hang, no gigabyte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {"mutations.py": 5000, "field_mutations.py": 300}
"""Of splat files and of field files: how many each reads."""
PARTS = 2


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is taken from /proc")
@pytest.mark.parametrize("name", PROGRAMS)
def test_thousands_of_damaged_files_are_refused_or_load(tmp_path: Path, name: str):
    program, each = Path(__file__).with_name(name), PROGRAMS[name] // PARTS
    folders = [tmp_path / str(part) for part in range(PARTS)]
    environment = {**os.environ, "PYTHONPATH": str(program.parents[2]), "OMP_NUM_THREADS": "1"}
    running = []
    for seed, folder in enumerate(folders):
        folder.mkdir()
        command = [sys.executable, str(program), str(each), str(seed), str(folder)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    for process in running:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == 0, err.decode()
        result = json.loads(out)
        assert result["findings"] == []
        assert result["read"] == each
        assert result["peak_bytes"] < 1 << 30
