"""Checkpoints of all trainers: one safetensors file, and in its header as JSON what kind, how trained and how far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import DAMAGED, FormatError
from h3d.models.formats.tensors import read_header, read_safetensors, write_safetensors
from h3d.models.knobs import known_settings

Config = TypeVar("Config")


@dataclass(frozen=True)
class Reached:
    """How far a run is."""

    step: int
    seconds: float


def save_checkpoint(
    path: Path, kind: str, config: Any, at: Reached, tensors: dict[str, torch.Tensor], **more: Any
) -> None:
    """Writes a checkpoint of format `kind`, whole or not at all; `more` is what the header says besides."""
    header = {"format": kind, "config": asdict(config), "step": at.step, "seconds": at.seconds, **more}
    with replacing(path) as stream:
        write_safetensors(stream, header, tensors)


def load_checkpoint(path: Path, kind: str, config: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors that `save_checkpoint` wrote; `config` must be the one that it was written with.

    Raises:
        FormatError: it is damaged, of another kind, or of another configuration.
    """
    header, tensors = read_safetensors(path, kind)
    began = config_in(path, header, "config", type(config))
    changed = {name for name, value in asdict(config).items() if asdict(began)[name] != value}
    if changed:
        raise FormatError(path, "config", f"{', '.join(sorted(changed))} differ from the run's", "start a new run")
    return header, tensors


def config_in(path: Path, header: Mapping[str, Any], name: str, kind: type[Config]) -> Config:
    """A config that a header holds; fields that are newer than the file are as by default, as they were then.

    Raises:
        FormatError: it is not of this kind.
    """
    try:
        return kind(**known_settings(kind, header[name]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> FormatError:
    """What to raise when the state in a checkpoint does not fit together."""
    return FormatError(path, "state", f"something is missing or of the wrong kind: {error!r}", DAMAGED)


def progress_of(path: Path) -> Reached:
    """How far a checkpoint is, by its header alone.

    Raises:
        FormatError: it is no checkpoint, or it is damaged.
    """
    header = read_header(path)
    try:
        return Reached(int(header["step"]), float(header["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "header", f"step or seconds are missing: {error!r}", DAMAGED) from error
