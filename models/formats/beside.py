"""The compensation of a .ply's Gaussians, in a file beside it: the network, and the features of the rows.

It is read with the .ply and belongs to those rows alone, which it knows by their places; a .ply that was written again
by a program that knows nothing of it is read without. Of two files not both can be replaced at once: what belongs to
the rows to come waits under a name of its own until they are there, and whoever reads takes the one that fits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch

from h3d.models.compensation import Compensation, CompensationNetwork, CompensationPlan
from h3d.models.gaussians import Gaussians

from . import ply
from .atomic import replacing
from .errors import DAMAGED, FormatError
from .tensors import read_header, read_safetensors, write_safetensors

KIND = "h3d compensation 1"
ENDING = ".compensation.safetensors"
NEXT = ".next"
OTHER_ROWS = "without the compensation beside it, which belongs to other rows"


def file_of(path: Path) -> Path:
    """Where the compensation of a file's Gaussians lies."""
    return path.with_name(path.name + ENDING)


@contextmanager
def written_with(path: Path, value: Gaussians) -> Iterator[None]:
    """Writes what belongs beside `path`; its rows are to be written within.

    What is there is removed where the Gaussians have no compensation. Whenever the program is killed, `path` is read
    with what belonged or belongs to its rows.
    """
    file = file_of(path)
    coming = file.with_name(file.name + NEXT)
    if coming.is_file() and path.is_file():
        _settle(path, coming, file)
    try:
        if value.compensation is not None:
            _write(coming, value)
        yield
    except BaseException:
        coming.unlink(missing_ok=True)
        raise
    if value.compensation is not None:
        os.replace(coming, file)
    else:
        for left in (file, coming):
            left.unlink(missing_ok=True)


def _settle(path: Path, coming: Path, file: Path) -> None:
    """What a killed program left: if the rows are those it was to belong to, it belongs to them now."""
    try:
        fits = read_header(coming, KIND).get("rows") == _rows(ply.read(path))
    except (FormatError, OSError):
        return  # Neither can be read; it is written anew.
    if fits:
        os.replace(coming, file)


def _write(file: Path, value: Gaussians) -> None:
    assert value.compensation is not None
    header = {"format": KIND, "plan": asdict(value.compensation.plan), "rows": _rows(value)}
    tensors = {f"network.{name}": array for name, array in value.compensation.network.state_dict().items()}
    if value.features is not None:
        tensors["features"] = value.features.cpu()
    with replacing(file) as stream:
        write_safetensors(stream, header, tensors)


def with_compensation(path: Path, value: Gaussians) -> Gaussians:
    """The Gaussians that were read from `path` with what lies beside it; a remark says where it is of other rows.

    Raises: FormatError where it is damaged.
    """
    file = file_of(path)
    there = [x for x in (file.with_name(file.name + NEXT), file) if x.is_file()]  # The newer one first.
    if len(there) == 0:
        return value
    rows = _rows(value)
    fitting = [x for x in there if read_header(x, KIND).get("rows") == rows]
    if len(fitting) == 0:
        return replace(value, remark=f"{value.remark}; {OTHER_ROWS}" if value.remark else OTHER_ROWS)
    return _with(fitting[0], value)


def _with(file: Path, value: Gaussians) -> Gaussians:
    header, tensors = read_safetensors(file, KIND)
    try:
        network = CompensationNetwork(CompensationPlan(**header["plan"]))
        weights = {name.removeprefix("network."): array for name, array in tensors.items() if name != "features"}
        network.load_state_dict(weights)
        features = tensors["features"] if network.plan.blended > 0 else None
        if features is not None and features.shape != (len(value), network.plan.blended):
            raise ValueError(f"features are {list(features.shape)}, not {[len(value), network.plan.blended]}")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise FormatError(file, "arrays", f"they do not fit together ({first})", DAMAGED) from error
    features = None if features is None else features.to(torch.float32)
    return replace(value, features=features, compensation=Compensation(network.requires_grad_(False)))


def _rows(value: Gaussians) -> str:
    """What tells these rows from others."""
    return hashlib.blake2b(value.means.cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
