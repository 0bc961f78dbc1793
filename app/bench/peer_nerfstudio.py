"""nerfstudio's hash encoding in torch, against ours, both on the CPU with the same number of threads.

Its requirements exclude ours (viser 0.2.7, gsplat 1.4.0), so it runs in an environment and a process of its own. Only
what its encoding imports is installed there; torch and the rest are this interpreter's, so that both use the same.
H3D_NERFSTUDIO names an interpreter that has nerfstudio already. Both encode the same points at 16 levels from 16
to 2048 cells; nerfstudio hashes the coarse levels too and lays the grids half a cell apart from ours, so the features
differ where the work does not. Backward is to the table alone, as in training.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from h3d.app.workspace.recent import state_folder
from h3d.renderers import num_threads
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, initial_table, per_level_scale

from . import nerfstudio_worker
from .metrics import Effort, Metric, Skipped, in_turns, ratio

VERSION = "1.1.5"
INSTALLED = (f"nerfstudio=={VERSION}", "jaxtyping", "wadler-lindig")
"""All that `nerfstudio.field_components.encodings` imports and this package does not bring."""
LOG2_TABLE_SIZES = (14, 19)
POINTS = 1 << 16
START_SECONDS, INSTALL_SECONDS = 120.0, 300.0


def nerfstudio(effort: Effort) -> Iterator[Metric]:
    """Speed-up of the encoding alone, and with its gradient to the table, for a small and a large table."""
    short = Effort(effort.blocks, min(effort.repeats, 3), 0, 0.0)  # A call of theirs takes a second or more.
    positions = torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(0))
    with _worker(_interpreter()) as peer:
        for size in LOG2_TABLE_SIZES:
            scale = per_level_scale(nerfstudio_worker.COARSEST, nerfstudio_worker.FINEST, nerfstudio_worker.LEVELS)
            config = HashGridConfig(log2_table_size=size, per_level_scale=scale)
            table = initial_table(config).requires_grad_()
            gradient = torch.randn(POINTS, config.width)
            works = {
                "forward": lambda c=config, t=table: hash_encode(positions, t.detach(), c),
                "forward_backward": lambda c=config, t=table, g=gradient: torch.autograd.grad(
                    hash_encode(positions, t, c), t, g
                ),
            }
            for name, ours in works.items():
                our_seconds, their_seconds = in_turns(ours, lambda n=name, s=size: peer.run(f"{n} {s}"), short)
                yield ratio(f"peers/nerfstudio/encode_{name}_T{size}", their_seconds / our_seconds)


class _Peer:
    """The worker's two ends."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process, self._errors = process, errors

    def expect(self, word: str) -> None:
        """Waits for the worker's next line. Raises: `Skipped` with what it said when it ends or says something else."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:] or [said or "nothing"]
            raise Skipped(f"nerfstudio's process stopped; it said: {last[0]}")

    def run(self, work: str) -> None:
        """Has a piece of work done."""
        assert self._process.stdin is not None
        self._process.stdin.write(work + "\n")
        self._process.stdin.flush()
        self.expect("done")


@contextmanager
def _worker(python: Path) -> Iterator[_Peer]:
    """A worker that is ready; ended afterwards."""
    command = [str(python), nerfstudio_worker.__file__, str(num_threads()), str(POINTS)]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            peer = _Peer(process, errors)
            peer.expect("ready")
            watchdog.cancel()
            yield peer
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()


def _interpreter() -> Path:
    """An interpreter that can import nerfstudio's encodings; made once, and kept beside the program's other state.

    Raises:
        Skipped: it is not there and cannot be made.
    """
    if named := os.environ.get("H3D_NERFSTUDIO"):
        if not Path(named).exists():
            raise Skipped(f"H3D_NERFSTUDIO is {named}, which does not exist")
        return Path(named)
    kind = f"nerfstudio-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder = state_folder() / "peers" / kind
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        _install(folder, python)
        complete.touch()
    _see_our_packages(folder)
    return python


def _install(folder: Path, python: Path) -> None:
    try:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-deps", *INSTALLED],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Skipped(
            f"nerfstudio {VERSION} cannot be installed in {folder} ({said[-1] if said else error}); "
            f"name an interpreter that has it with H3D_NERFSTUDIO"
        ) from error


def _see_our_packages(folder: Path) -> None:
    """Lets the environment find torch, numpy and viser where this interpreter does, after what is its own."""
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for own in folder.glob("[Ll]ib*/**/site-packages"):
        (own / "ours.pth").write_text("\n".join(ours) + "\n")
