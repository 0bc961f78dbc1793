"""A checkpoint of nerfstudio as its model's tensors by name, whichever method wrote it; read without unpickling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import torch_zip
from .errors import DAMAGED, FormatError
from .nerfstudio_folder import model_settings
from .torch_zip import StoredTensor

ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of the model by name, and what the files beside the checkpoint say."""

    path: Path
    tensors: dict[str, StoredTensor]
    settings: dict[str, str]
    step: Any

    def has(self, name: str) -> bool:
        return name in self.tensors

    @property
    def method(self) -> str:
        """The method of nerfstudio that it looks like, by names of tensors alone."""
        if self.has("occupancy_grid.binaries"):
            return "instant-ngp"
        if any(name.endswith("features_dc") for name in self.tensors):
            return "splatfacto"
        return "nerfacto" if any(name.startswith("proposal_networks.") for name in self.tensors) else "another method"

    @property
    def age(self) -> str:
        """How long it was trained, as a person reads it."""
        return f"{self.step if isinstance(self.step, int) else 'an unknown number of'} steps"

    def load(self, name: str, *shape: int | None) -> torch.Tensor:
        """A tensor of a shape; None leaves a size free. Raises: FormatError."""
        stored = self.tensors.get(name)
        if stored is None:
            way_out = f"give a whole checkpoint of nerfstudio's {self.method}"
            raise FormatError(self.path, name, "is not in the checkpoint", way_out)
        wanted = all(size in (None, found) for size, found in zip(shape, stored.shape, strict=False))
        if len(stored.shape) != len(shape) or not wanted:
            sizes = ", ".join("*" if size is None else str(size) for size in shape)
            raise FormatError(self.path, name, f"its shape is {list(stored.shape)}, it must be [{sizes}]", DAMAGED)
        return stored.load()

    def number(self, buffer: str, setting: str, usual: int) -> int:
        """A size from a buffer of the field, else from config.yml, else the usual one."""
        if self.has(buffer):
            return int(self.load(buffer).to(torch.int64))
        text = self.settings.get(setting, "")
        return int(text) if text.isdecimal() and len(text) < 10 else usual


def open_checkpoint(file: Path) -> Checkpoint:
    """The tensors of a checkpoint, still in the file.

    Raises:
        FormatError: it is damaged, or not nerfstudio's.
        OSError: it cannot be read.
    """
    content = torch_zip.read(file)
    state = content.get("pipeline") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(state, dict):
        raise FormatError(file, "checkpoint", "it has no 'pipeline'", "give a checkpoint that nerfstudio wrote")
    named = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, StoredTensor)}
    # Trained on several GPUs, the pipeline or its model is wrapped once more.
    tensors = {k.removeprefix("module.").removeprefix("_model.").removeprefix("module."): v for k, v in named.items()}
    return Checkpoint(file, tensors, model_settings(file), content.get("step"))


def method_of(path: Path) -> str | None:
    """The method of nerfstudio that wrote a file; None where it is no checkpoint that can be read."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            return None
    try:
        return open_checkpoint(path).method if torch_zip.is_torch_zip(path) else None
    except FormatError:
        return None
