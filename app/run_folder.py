"""The folder of a training run: what it holds, how it is begun, gone on with, and kept whole through a kill.

    config.json               what was asked for, and how it is trained
    events.jsonl              starts and ends, changes by hand, what the trainer notes: one object a line, with its step
    metrics.csv               step, seconds, loss, ...; rows with psnr and the like are evaluated
    checkpoint.safetensors    everything that going on needs
    field.safetensors         what was trained, or gaussians.ply, and at the end of a run gaussians.spz
    test.png                  how a part of it should look, and to the right of that how it does

The two logs grow line by line, whole lines or nothing, and are cut back to the checkpoint when a killed run goes on;
the others are replaced whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.app.figures.png import write_png
from h3d.models.formats.atomic import replacing
from h3d.models.formats.scenes import RUN_SPLATS

FIRST_COLUMNS, LAST_COLUMNS = ("step", "seconds", "loss"), ("rays", "samples", "count")


@dataclass(frozen=True)
class RunFolder:
    """Paths and writers of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def field(self) -> Path:
        return self.path / "field.safetensors"

    @property
    def splats(self) -> Path:
        return self.path / RUN_SPLATS

    @property
    def compact_splats(self) -> Path:
        return self.path / "gaussians.spz"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def test_picture(self) -> Path:
        return self.path / "test.png"

    def begin(self, config: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """A new run; an empty folder, or none yet, is what it needs. `metrics` are columns of metrics.csv.

        Raises:
            ValueError: there is a run already, or the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path}: it is a file; -o takes the folder of the run")
        if self.config.exists():
            raise ValueError(f"{self.path}: it holds a run already; add --resume to go on with it, or name another one")
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.metrics) as stream:
            stream.write((",".join((*FIRST_COLUMNS, *metrics, *LAST_COLUMNS)) + "\n").encode())
        self.write_config(config)  # The last: what has one is a run.

    def reopen(self) -> dict[str, Any]:
        """The configuration of the run to go on with.

        Raises:
            ValueError: there is no run with a checkpoint, or its configuration cannot be read.
        """
        if not self.config.is_file():
            raise ValueError(f"{self.path}: there is no run to resume (no config.json); start one without --resume")
        try:
            config = json.loads(self.config.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.config}: it is not JSON ({error}); start the run anew elsewhere") from error
        if not isinstance(config, dict):
            raise ValueError(f"{self.config}: it must hold an object; start the run anew elsewhere")
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        with replacing(self.config) as stream:
            stream.write((json.dumps(config, indent=2) + "\n").encode())

    def cut_back(self, step: int) -> None:
        """Drops what the logs say of steps after `step`, which will be made again, and what a kill left unfinished."""
        for part in self.path.glob(".*.part"):
            part.unlink()
        columns = self._columns()
        rows = [row for row in self.read_metrics() if int(row["step"]) <= step]
        with replacing(self.metrics) as stream:
            lines = [",".join(columns), *(",".join(row[name] for name in columns) for row in rows)]
            stream.write(("\n".join(lines) + "\n").encode())
        if self.events.exists():
            events = [line for line in self._event_lines() if _step_of(line) <= step]
            with replacing(self.events) as stream:
                stream.write("".join(f"{line}\n" for line in events).encode())

    def read_metrics(self) -> list[dict[str, str]]:
        """The whole rows of metrics.csv; one that a kill cut short is left out."""
        if not self.metrics.exists():
            return []
        columns = self._columns()
        with open(self.metrics, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if all(row.get(name) is not None for name in columns) and row["step"].isdigit()]

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """One more row; what it does not name is left empty."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([row.get(name) for name in self._columns()])
        _append(self.metrics, line.getvalue())

    def _columns(self) -> list[str]:
        with open(self.metrics, encoding="utf-8") as file:
            return file.readline().strip().split(",")

    def add_event(self, step: int, event: str, **details: Any) -> None:
        _append(self.events, json.dumps({"step": step, "event": event, **details}) + "\n")

    def read_events(self) -> list[dict[str, Any]]:
        """What events.jsonl says, line by line; one that a kill cut short is left out.

        Raises:
            ValueError: there is no such log, or a line of it is damaged.
        """
        if not self.events.is_file():
            raise ValueError(f"{self.path}: there is no log of events (no events.jsonl)")
        found = []
        for number, line in enumerate(self._event_lines(), 1):
            event = _event_in(line)
            if event is None:
                rule = f"{self.events}: line {number} is no object with a step and an event"
                raise ValueError(f"{rule}; put it right, or take it out if the run can do without it")
            found.append(event)
        return found

    def _event_lines(self) -> list[str]:
        """The whole lines of events.jsonl."""
        return self.events.read_text("utf-8", errors="replace").split("\n")[:-1]

    def write_test_picture(self, picture: torch.Tensor) -> None:  # [H, W, 3] in [0, 1]
        write_png(self.test_picture, (255.0 * picture.clamp(0.0, 1.0)).round().numpy().astype(np.uint8))


def _event_in(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(event, dict) and isinstance(event.get("step"), int) and isinstance(event.get("event"), str)
    return event if whole else None


def _step_of(line: str) -> int:
    """Of a line of events.jsonl; 0 where it does not say, so that it is kept for a person to see."""
    event = _event_in(line)
    return 0 if event is None else event["step"]


def _append(path: Path, line: str) -> None:
    """Adds a line to a file, whole or not at all: a disk that fills up must not leave half of one."""
    left = memoryview(line.encode())
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while len(left) > 0:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(end)
            raise
