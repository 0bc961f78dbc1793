"""Doing to a run what a person did to another: `h3d train DATA -o NEW --replay RUN`.

RUN's config.json says how it began, events.jsonl what was done to it after which step. On the same data, backend and
number of threads the same comes out, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3d.models.density import DENSITY
from h3d.models.training import Step
from h3d.models.training.checkpoints import progress_of
from h3d.models.training.edits import EVENT
from h3d.models.training.live import replay_edit

from .run_folder import RunFolder


def _change(step: Step[Any], details: Mapping[str, Any]) -> None:
    for name, value in details.items():
        step.live.change(name, value)


def _edit(step: Step[Any], details: Mapping[str, Any]) -> None:
    replay_edit(step.live, details)


DEEDS: dict[str, Callable[[Step[Any], Mapping[str, Any]], object]] = {"change": _change, EVENT: _edit}
"""How to do again what a person does to a run between two steps, by the names of events; a new one is a row here."""
NOTES = frozenset({"start", "resume", "end", "running", "paused", "stopped", "kept", "problem", DENSITY})
"""Events that tell what happened and change nothing."""


@dataclass(frozen=True)
class Deed:
    """What a person did after a step."""

    step: int
    name: str  # of `DEEDS`
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Recording:
    """A run to do again."""

    folder: RunFolder
    data: Path | None  # what it was made of; None = words
    model: str
    settings: Mapping[str, Any]  # fields of its task's config
    deeds: tuple[Deed, ...]  # in order
    end: int  # the step that it is at

    def after(self, step: int) -> list[Deed]:
        """What was done between this step and the next."""
        return [deed for deed in self.deeds if deed.step == step]

    def do(self, deed: Deed, step: Step[Any]) -> None:
        """Do it to another run after its step of the same number. Raises: ValueError where that cannot be."""
        try:
            DEEDS[deed.name](step, deed.details)
        except (KeyError, TypeError, ValueError) as error:
            rule = f"{self.folder.events}: {deed.name} after step {deed.step:,} cannot be done to this run"
            reason = error.args[0] if isinstance(error, KeyError) else error  # As str it would be in quotes.
            raise ValueError(f"{rule} ({reason}); give the data that it began with") from error


def read_recording(path: Path) -> Recording:
    """The run in a folder, as it began and went on.

    Raises:
        ValueError: there is none, or what it holds is damaged or of another version.
        OSError: it cannot be read.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise ValueError(f"{path}: there is no run to replay (no config.json); --replay takes the folder of a run")
    config, events = folder.reopen(), folder.read_events()
    if len(events) == 0:
        raise ValueError(f"{folder.events}: it is empty, nothing says how the run went; replay another one")
    deeds = []
    for number, event in enumerate(events, 1):
        details = {key: value for key, value in event.items() if key not in ("step", "event")}
        if event["event"] in DEEDS:
            deeds.append(Deed(event["step"], event["event"], details))
        elif event["event"] not in NOTES:
            rule = f"{folder.events}: line {number} tells of {event['event']!r}, which this version cannot do again"
            raise ValueError(f"{rule}; replay it with the version that wrote it")
    at_checkpoint = progress_of(folder.checkpoint).step if folder.checkpoint.exists() else None
    end = max(event["step"] for event in events) if at_checkpoint is None else at_checkpoint
    try:
        data = None if config["data"] is None else Path(config["data"])
        return Recording(folder, data, config["model"], config["training"], tuple(deeds), end)
    except KeyError as error:
        raise ValueError(f"{folder.config}: it does not say {error}; replay another run") from error
