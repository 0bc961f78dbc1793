"""The compensation of a .ply's Gaussians, in a file beside it: the network, and the features of the rows.

It is read with the .ply and belongs to those rows alone, which it knows by their places; a .ply that was written again
by a program that knows nothing of it is read without.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import torch

from h3d.models.compensation import Compensation, CompensationNetwork, CompensationPlan
from h3d.models.gaussians import Gaussians

from .atomic import replacing
from .errors import DAMAGED, FormatError
from .tensors import read_safetensors, write_safetensors

KIND = "h3d compensation 1"
ENDING = ".compensation.safetensors"
OTHER_ROWS = "without the compensation beside it, which belongs to other rows"


def file_of(path: Path) -> Path:
    """Where the compensation of a file's Gaussians lies."""
    return path.with_name(path.name + ENDING)


def write(path: Path, value: Gaussians) -> None:
    """Writes what belongs beside `path`, or removes what is there, where the Gaussians have no compensation."""
    file = file_of(path)
    if value.compensation is None:
        file.unlink(missing_ok=True)
        return
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
    if not file.is_file():
        return value
    header, tensors = read_safetensors(file, KIND)
    if header.get("rows") != _rows(value):
        return replace(value, remark=f"{value.remark}; {OTHER_ROWS}" if value.remark else OTHER_ROWS)
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
