"""Run as a program: reads hundreds of damaged field files and prints what was not as it must be, as JSON.

Arguments: how many, a seed, a folder to work in. A reader may return a field that answers, or raise FormatError;
anything else is listed. As in `mutations`, the process may take 1 GB more than it starts with.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import resource
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from mutations import ALLOWED, damaged
from snapshot_files import nerfstudio_state, snapshot, write_checkpoint, write_snapshot

from h3d.models.field_files import read_field
from h3d.models.formats.errors import FormatError
from h3d.models.hash_grid import HashGridField
from h3d.models.nerfstudio_field import NerfstudioField

WILD = (
    0, 1, -1, 7, 2**16, 2**31, 2**62, -0.5, float("nan"), float("inf"), 1e30,
    "", "nerf", b"", b"\0" * 9, [], {}, None, True,
)  # fmt: skip


def corpus(folder: Path) -> dict[str, bytes]:
    """File name to content: every format, small."""
    content = snapshot(side=1, cascades=1)
    content["snapshot"]["density_grid_binary"] = b""
    paths = [write_snapshot(folder / name, content) for name in ("a.ingp", "b.msgpack")]
    for implementation in ("torch", "tcnn"):
        state = nerfstudio_state(implementation, levels=1)
        state["_model.occupancy_grid.binaries"] = torch.rand(1, 8, 9, 10) > 0.5
        paths.append(write_checkpoint(folder / f"{implementation}.ckpt", state))
    read_field(paths[-1]).save(folder / "ours.safetensors")
    return {path.name: path.read_bytes() for path in (*paths, folder / "ours.safetensors")}


def mutated(name: str, data: bytes, rng: random.Random) -> bytes:
    """Damage on the outside, inside the compression, in the pickle alone, or of one value."""
    if rng.random() < 0.25:
        return damaged(data, rng)
    if name.endswith(".ckpt"):
        return _inside_zip(data, rng)
    if name.endswith(".safetensors"):
        size = int.from_bytes(data[:8], "little")
        header = damaged(data[8 : 8 + size], rng)
        return len(header).to_bytes(8, "little") + header + data[8 + size :]
    inside = gzip.decompress(data) if name.endswith(".ingp") else data
    inside = damaged(inside, rng) if rng.random() < 0.4 else _other_value(inside, rng)
    return gzip.compress(inside, 1) if name.endswith(".ingp") else inside


def _other_value(data: bytes, rng: random.Random) -> bytes:
    """A wild value at some place of the keys, or a key less."""
    root = msgspec.msgpack.decode(data)
    for _ in range(rng.choice((1, 1, 2))):
        part: Any = root
        while True:
            key = rng.choice(list(part)) if isinstance(part, dict) else rng.randrange(len(part))
            inner = part[key]
            if isinstance(inner, dict | list) and len(inner) > 0 and rng.random() < 0.85:
                part = inner
                continue
            if isinstance(part, dict) and rng.random() < 0.2 and len(part) > 1:
                del part[key]
            else:
                part[key] = rng.choice(WILD)
            break
    return msgspec.msgpack.encode(root)


def _inside_zip(data: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        victim = rng.choice((rng.choice(names), next(name for name in names if name.endswith("data.pkl"))))
        for name in names:
            content = damaged(old.read(name), rng) if name == victim else old.read(name)
            if name != victim or rng.random() < 0.95:
                new.writestr(name, content)
    return out.getvalue()


def verdict(path: Path) -> str | None:
    """None when the file was refused with FormatError or gave a field that answers; else what happened."""
    try:
        field = read_field(path)
        assert isinstance(field, HashGridField | NerfstudioField)
        density, rgb = field.query(torch.rand(4, 3), torch.nn.functional.normalize(torch.randn(4, 3), dim=1))
        assert density.shape == (4,) and rgb.shape == (4, 3)
        assert np.isfinite(field.bounds).all() and len(field.facts) > 0
    except FormatError as error:
        sentence = str(error)
        return None if sentence.startswith(str(path)) and "; " in sentence else f"no sentence: {sentence}"
    except BaseException as error:  # noqa: BLE001 - any other exception is the finding.
        return f"{type(error).__name__}: {error}"
    return None


def main(count: int, seed: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    warnings.simplefilter("error")
    files = corpus(folder)
    assert all(verdict(folder / name) is None for name in files)
    rng = random.Random(seed)
    start = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (start + ALLOWED, start + ALLOWED))
    names = sorted(files)
    findings = []
    for index in range(count):
        name = names[index % len(names)]
        data = mutated(name, files[name], rng)
        path = folder / f"mutant-{name}"
        path.write_bytes(data)
        found = verdict(path)
        if found is not None:
            (folder / f"finding-{index}-{name}").write_bytes(data)
            findings.append(f"{index} {name}: {found[:300]}")
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
    print(json.dumps({"read": count, "findings": findings, "peak_bytes": peak}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
