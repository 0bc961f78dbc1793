"""Gaussians and splat files for tests: random scenes that can be matched after a reordering, and packers of bytes.

The packers spell layouts a second time, from their descriptions and with `struct`, so that a reader and its writer
cannot be wrong together.
"""

from __future__ import annotations

import gzip
import os
import shlex
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.spatial import KDTree

from h3d.models.gaussians import Gaussians, from_rows

C0 = 0.28209479177387814


@dataclass(frozen=True)
class Recipe:
    """What a random scene is made from; small, so that a failing example can be read."""

    seed: int
    count: int
    degree: int
    extent: float
    flat: bool = False
    extreme: bool = False
    antialiased: bool = False


def recipes(most: int = 700) -> st.SearchStrategy[Recipe]:
    """Scenes of all degrees, from millimetres to kilometres, flat ones and ones with extreme sizes and opacities."""
    return st.builds(
        Recipe,
        seed=st.integers(0, 2**32 - 1),
        count=st.integers(1, most),
        degree=st.integers(0, 3),
        extent=st.sampled_from([1e-2, 1.0, 30.0, 1500.0]),
        flat=st.booleans(),
        extreme=st.booleans(),
        antialiased=st.booleans(),
    )


def scene(recipe: Recipe) -> Gaussians:
    """Gaussians near the points of a shuffled grid: far enough apart that rows can be found again by position."""
    rng = np.random.default_rng(recipe.seed)
    side = 40 if recipe.flat else 12
    cells = rng.permutation(side**2 if recipe.flat else side**3)[: recipe.count]
    grid = np.stack([cells % side, cells // side % side, cells // side**2], axis=1)
    means = (grid + rng.uniform(-0.2, 0.2, (recipe.count, 3)) - side / 2) * recipe.extent / side
    if recipe.flat:
        means[:, 2] = recipe.extent * 1e-3
    log_scales = rng.normal(np.log(recipe.extent / side), 1.5, (recipe.count, 3))
    logits = rng.normal(0, 3, recipe.count)
    sh = rng.normal(0, 0.2, (recipe.count, (recipe.degree + 1) ** 2, 3))
    if recipe.extreme:
        log_scales[rng.random(log_scales.shape) < 0.1] = -19.0
        log_scales[rng.random(log_scales.shape) < 0.1] = 19.0
        logits[rng.random(recipe.count) < 0.3] = 40.0
        logits[rng.random(recipe.count) < 0.3] = -40.0
        sh[rng.random(sh.shape) < 0.1] = 3.5
    quats = rng.normal(size=(recipe.count, 4))
    quats[rng.random(recipe.count) < 0.2] = (0, 0, 1, 0)
    return from_rows(
        means=means,
        quats=quats,
        log_scales=log_scales,
        logit_opacities=logits,
        sh=sh,
        antialiased=recipe.antialiased,
    )


def matched(original: Gaussians, loaded: Gaussians) -> Gaussians:
    """The rows of `loaded` in the order of `original`, found by nearest position; every row exactly once."""
    assert len(original) == len(loaded)
    rows = KDTree(loaded.means.double().numpy()).query(original.means.double().numpy())[1]
    assert len(np.unique(rows)) == len(original)
    import torch

    return loaded.keep(torch.from_numpy(rows))


def quaternion_error(a: Gaussians, b: Gaussians) -> float:
    """Largest difference of a component over all rows, q and -q being the same rotation."""
    p, q = a.quats.double(), b.quats.double()
    signs = (p * q).sum(dim=1, keepdim=True).sign()
    return float((p - signs * q).abs().max())


def largest(difference) -> float:
    """Largest absolute value of a tensor, 0 for an empty one."""
    return float(difference.abs().max()) if difference.numel() > 0 else 0.0


def rows_of(value: Gaussians) -> np.ndarray:
    """[N, 14 + 3 (K - 1)] float32 in the field order of the 3DGS .ply without normals."""
    sh = value.sh.numpy()
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(len(value), -1)
    parts = [value.means, sh[:, 0], rest, value.logit_opacities[:, None], value.log_scales, value.quats]
    return np.hstack([np.asarray(part) for part in parts]).astype(np.float32)


def ply_names(degree: int) -> list[str]:
    """Property names that belong to `rows_of`."""
    rest = [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]
    dc, scales, rotation = [f"f_dc_{i}" for i in range(3)], [f"scale_{i}" for i in range(3)], ["rot_0", "rot_1"]
    return ["x", "y", "z", *dc, *rest, "opacity", *scales, *rotation, "rot_2", "rot_3"]


def pack_ply(
    columns: dict[str, np.ndarray],
    *,
    encoding: str = "binary_little_endian",
    types: dict[str, str] | None = None,
    comments: tuple[str, ...] = (),
    count: int | None = None,
) -> bytes:
    """A .ply with one element `vertex`; `types` are PLY type names (float where not named), `count` may lie."""
    codes = {"float": "f4", "double": "f8", "uchar": "u1", "short": "i2", "int": "i4", "ushort": "u2"}
    types = types or {}
    rows = len(next(iter(columns.values())))
    lines = ["ply", f"format {encoding} 1.0", *(f"comment {comment}" for comment in comments)]
    lines += [f"element vertex {rows if count is None else count}"]
    lines += [f"property {types.get(name, 'float')} {name}" for name in columns]
    head = "\n".join([*lines, "end_header", ""]).encode()
    if encoding == "ascii":
        table = zip(*columns.values(), strict=True)
        return head + "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in table).encode()
    order = ">" if "big" in encoding else "<"
    block = np.empty(rows, [(name, order + codes[types.get(name, "float")]) for name in columns])
    for name, values in columns.items():
        block[name] = values
    return head + block.tobytes()


def pack_3dgs(value: Gaussians, **options) -> bytes:
    """A 3DGS .ply by `pack_ply`."""
    table = rows_of(value)
    return pack_ply({name: table[:, i] for i, name in enumerate(ply_names(value.sh_degree))}, **options)


def pack_spz(value: Gaussians, version: int, *, degree: int | None = None) -> bytes:
    """An .spz of versions 1 to 3 (gzip), one Gaussian after the other within each attribute, axes turned to disk."""
    bits = 12
    means = value.means.numpy() * [1, -1, -1]
    quats = value.quats.numpy() * [1, 1, -1, -1]
    odd = {"": 1, "y": -1, "z": -1, "x": 1, "xy": -1, "yz": 1, "xz": -1, "xyz": 1}
    axes = ["", "y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x"]
    sh = value.sh.numpy() * np.array([odd[a] for a in axes[: value.sh.shape[1]]])[:, None]
    out = bytearray()
    for mean in means:
        if version == 1:
            out += struct.pack("<3e", *mean)
        else:
            for v in mean:
                out += int(round(v * 2**bits)).to_bytes(3, "little", signed=True)
    out += bytes(round(255 / (1 + np.exp(-float(v)))) for v in value.logit_opacities)
    out += bytes(int(np.clip(round((v * 0.15 + 0.5) * 255), 0, 255)) for row in sh[:, 0] for v in row)
    out += bytes(int(np.clip(round((v + 10) * 16), 0, 255)) for row in value.log_scales.numpy() for v in row)
    for w, x, y, z in quats:
        if version < 3:
            sign = 1 if w >= 0 else -1
            out += bytes(round((sign * v + 1) * 127.5) for v in (x, y, z))
        else:
            xyzw = [x, y, z, w]
            top = int(np.argmax(np.abs(xyzw)))
            packed = top
            for index, v in enumerate(xyzw):
                if index != top:
                    negative = (v < 0) != (xyzw[top] < 0)
                    packed = packed << 10 | negative << 9 | round(abs(v) * 511 * 2**0.5)
            out += struct.pack("<I", packed)
    out += bytes(int(np.clip(round(v * 128 + 128), 0, 255)) for row in sh[:, 1:] for base in row for v in base)
    number = value.sh_degree if degree is None else degree
    return gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", version, len(value), number, bits, 0, 0) + bytes(out))


def pack_ksplat(value: Gaussians, level: int, *, bucket_size: int = 16, block_size: float = 5.0) -> bytes:
    """A .ksplat of one section; buckets are cubes of `block_size`, full ones first, then one partial each."""
    means = value.means.numpy().astype(np.float64)
    cell = np.floor(means / block_size).astype(int)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, key in enumerate(map(tuple, cell)):
        groups.setdefault(key, []).append(row)
    full, partial = [], []
    for key, rows in groups.items():
        for start in range(0, len(rows), bucket_size):
            part = rows[start : start + bucket_size]
            (full if len(part) == bucket_size else partial).append((key, part))
    centres = b"".join(struct.pack("<3f", *((k + 0.5) * block_size for k in key)) for key, _ in full + partial)
    lengths = b"".join(struct.pack("<I", len(rows)) for _, rows in partial)
    body = b""
    for key, rows in full + partial:
        for row in rows:
            centre = (np.array(key) + 0.5) * block_size
            body += _ksplat_row(value, row, level, (means[row] - centre) / (block_size / 2 / 32767) + 32767)
    count, buckets = len(value), len(full) + len(partial)
    header = bytearray(4096)
    struct.pack_into("<BB", header, 0, 0, 1)
    struct.pack_into("<4IH", header, 4, 1, 1, count, count, level)
    struct.pack_into("<2f", header, 36, -1.5, 1.5)
    section = bytearray(1024)
    struct.pack_into("<4IfH", section, 0, count, count, bucket_size, buckets, block_size, 12)
    struct.pack_into("<I", section, 24, 32767)
    struct.pack_into("<IIH", section, 32, len(full), len(partial), min(value.sh_degree, 2))
    return bytes(header + section) + lengths + centres + body


def _ksplat_row(value: Gaussians, row: int, level: int, steps: np.ndarray) -> bytes:
    real = "f" if level == 0 else "e"
    if level == 0:
        out = struct.pack("<3f", *value.means[row].tolist())
    else:
        out = struct.pack("<3H", *(int(np.clip(round(s), 0, 65535)) for s in steps))
    out += struct.pack(f"<3{real}4{real}", *np.exp(value.log_scales[row].numpy()), *value.quats[row].tolist())
    alpha = 1 / (1 + np.exp(-float(value.logit_opacities[row])))
    rgba = [*(0.5 + C0 * value.sh[row, 0].numpy()), alpha]
    out += bytes(int(np.clip(round(255 * v), 0, 255)) for v in rgba)
    for first, last in ((1, 4), (4, 9))[: min(value.sh_degree, 2)]:
        for channel in range(3):
            for base in range(first, last):
                v = float(value.sh[row, base, channel])
                if level < 2:
                    out += struct.pack(f"<{real}", v)
                else:
                    out += bytes([int(np.clip(round((v + 1.5) / 3 * 255), 0, 255))])
    return out


def real_data(name: str) -> Path:
    """A file or folder of the real data, or a skip that says which variable is missing."""
    root = os.environ.get("H3D_DATA")
    if not root:
        pytest.skip("H3D_DATA is unset: it names the folder of real scenes")
    return Path(root) / "splats" / name


def splat_transform(*arguments: str | Path) -> None:
    """Runs the independent converter, or skips when it is not installed."""
    command = os.environ.get("H3D_SPLAT_TRANSFORM")
    if not command:
        pytest.skip("H3D_SPLAT_TRANSFORM is unset: it names the command of @playcanvas/splat-transform")
    words = ["node", command] if command.endswith((".mjs", ".js")) else shlex.split(command)
    done = subprocess.run(
        [*words, "-q", "-w", *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
