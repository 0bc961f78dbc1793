"""Our own files: arrays as safetensors, and in the header, under "h3d", JSON whose "format" names what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch

from .errors import DAMAGED, FormatError

SUFFIX = ".safetensors"
DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_safetensors(stream: BinaryIO, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes one of our files. The arrays go from memory to the file as they are.

    `safetensors.torch.save` holds all of them twice more meanwhile, which for the state of a large run is gigabytes.
    """
    # The widest first, so that each array begins at a multiple of its own width.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    described: dict[str, Any] = {"__metadata__": {"h3d": json.dumps(header)}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        described[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        values = tensor.detach().contiguous()
        values = values.view(torch.int16) if values.dtype == torch.bfloat16 else values  # numpy has no bfloat16.
        stream.write(values.numpy().reshape(-1).view("u1").data)


def read_header(path: Path, kind: str | None = None) -> dict[str, Any]:
    """The JSON that one of our files holds beside its arrays; `kind` is the format that it must name (None: any).

    Raises:
        FormatError: it is no such file, or it is damaged.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("h3d", "null"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise FormatError(path, "header", f"it cannot be read as safetensors ({error})", DAMAGED) from error
    found = header.get("format") if isinstance(header, dict) else None
    if not isinstance(found, str) or (kind is not None and found != kind):
        rule = f"the format is {found!r}, not {'one of h3d' if kind is None else repr(kind)}"
        raise FormatError(path, "header", rule, "give a file that h3d train wrote")
    return header


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_safetensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and arrays of one of our files; raises what `read_header` does."""
    header = read_header(path, kind)
    with safetensors.safe_open(path, framework="pt") as file:
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
