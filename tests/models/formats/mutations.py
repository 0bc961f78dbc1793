"""Run as a program: reads thousands of damaged splat files and prints what was not as it must be, as JSON.

Arguments: how many, a seed, a folder to work in. A reader may return Gaussians that can be rendered or raise
FormatError; anything else is listed. The process may take 1 GB more than it starts with, so that a reader that
believes a wrong count meets a MemoryError, which is not a FormatError either.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import resource
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
import zstandard
from PIL import Image
from splat_files import Recipe, pack_3dgs, pack_ksplat, pack_ply, pack_spz, rows_of, scene

from h3d.models import formats
from h3d.models.formats import compressed_ply, ply, sog_writer, splat, spz

ALLOWED = 1 << 30


def corpus(folder: Path) -> dict[str, bytes]:
    """File name to content: every format and variant, small."""
    values = {d: scene(Recipe(seed=d, count=90, degree=d, extent=5.0, extreme=d == 3)) for d in range(4)}
    table = rows_of(values[0])
    cloud = {name: table[:, i] for i, name in enumerate("xyz")}
    cloud |= {name: (table[:, 3 + i] * 40 + 128).clip(0, 255) for i, name in enumerate(("red", "green", "blue"))}
    files = {
        "ascii.ply": pack_3dgs(values[1], encoding="ascii"),
        "big.ply": pack_3dgs(values[1], encoding="binary_big_endian"),
        "cloud.ply": pack_ply(cloud, types={"red": "uchar", "green": "uchar", "blue": "uchar"}),
        **{f"level{level}.ksplat": pack_ksplat(values[2], level) for level in range(3)},
        **{f"v{version}.spz": pack_spz(values[1], version) for version in (1, 2, 3)},
    }
    path = folder / "seed"
    for name, write in (
        ("d3.ply", lambda: ply.write(path, values[3])),
        ("d0.compressed.ply", lambda: compressed_ply.write(path, values[0])),
        ("d3.compressed.ply", lambda: compressed_ply.write(path, values[3])),
        ("d0.splat", lambda: splat.write(path, values[0])),
        ("v4.spz", lambda: spz.write(path, values[2], version=4)),
        ("d2.sog", lambda: sog_writer.write(path, values[2])),
        ("d0.sog", lambda: sog_writer.write(path, values[0])),
    ):
        write()
        files[name] = path.read_bytes()
    return files


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to three of: flipped bits, a cut, a spliced piece, a number rewritten, a run of one byte."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(DAMAGE)(out, rng)
    return bytes(out)


def _flip(out: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 4, 16))):
        if len(out) > 0:
            out[_at(out, rng)] ^= 1 << rng.randrange(8)


def _cut(out: bytearray, rng: random.Random) -> None:
    del out[_at(out, rng) :]


def _splice(out: bytearray, rng: random.Random) -> None:
    start = _at(out, rng)
    piece = out[start : start + rng.choice((1, 4, 32, 1000))]
    target = _at(out, rng)
    out[target : target + rng.choice((0, len(piece)))] = piece


def _number(out: bytearray, rng: random.Random) -> None:
    """A decimal number in a text header, or a little-endian integer anywhere near the start."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(out[:3000])))
    if len(found) > 0 and rng.random() < 0.7:
        match = rng.choice(found)
        wild = (b"0", b"1", b"-1", b"257", b"1e39", b"nan", b"4294967295", b"18446744073709551616", b"999999999")
        out[match.start() : match.end()] = rng.choice(wild)
    elif len(out) >= 64:
        at = rng.randrange(0, 60)
        out[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 91, 2**16, 2**24, 2**31 - 1, 2**32 - 1)))


def _run(out: bytearray, rng: random.Random) -> None:
    at = _at(out, rng)
    size = min(rng.choice((1, 4, 16, 200)), len(out) - at)
    out[at : at + size] = bytes([rng.choice((0, 255, 127, 128))]) * size


def _at(out: bytearray, rng: random.Random) -> int:
    """A place in the data, near the start as often as not: headers lie there."""
    if len(out) == 0:
        return 0
    return rng.randrange(min(len(out), 400) if rng.random() < 0.5 else len(out))


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _cut, _splice, _number, _run)


def mutated(name: str, data: bytes, rng: random.Random) -> bytes:
    """Damage on the outside, or as often inside the compression, where it would not be caught by a checksum."""
    if rng.random() < 0.4:
        return damaged(data, rng)
    if name.endswith(".spz") and data[:2] == b"\x1f\x8b":
        return gzip.compress(damaged(gzip.decompress(data), rng), 1)
    if name == "v4.spz":
        return _inside_zstd(data, rng)
    if name.endswith(".sog"):
        return _inside_zip(data, rng)
    return damaged(data, rng)


def _inside_zstd(data: bytes, rng: random.Random) -> bytes:
    number, table = struct.unpack_from("<BI", data, 15)
    at, pieces, sizes = table + 16 * number, [], b""
    victim = rng.randrange(number)
    for index in range(number):
        packed, size = struct.unpack_from("<QQ", data, table + 16 * index)
        raw = zstandard.ZstdDecompressor().decompress(data[at : at + packed])
        raw = damaged(raw, rng) if index == victim else raw
        pieces.append(zstandard.ZstdCompressor().compress(raw))
        sizes += struct.pack("<QQ", len(pieces[-1]), rng.choice((size, len(raw))))
        at += packed
    return data[:table] + sizes + b"".join(pieces)


def _inside_zip(data: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        victim = rng.choice([*old.namelist(), "meta.json"])
        for name in old.namelist():
            content = old.read(name)
            if name == victim:
                content = _other_picture(rng) if rng.random() < 0.2 else damaged(content, rng)
            if name != victim or rng.random() < 0.95:
                new.writestr(name, content)
    return out.getvalue()


def _other_picture(rng: random.Random) -> bytes:
    out = io.BytesIO()
    size = (rng.choice((1, 4, 12, 512, 4000)), rng.choice((1, 8, 12, 900)))
    Image.new(rng.choice(("RGB", "RGBA")), size, (rng.randrange(256), 1, 2)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def verdict(path: Path) -> str | None:
    """None when the file was refused with FormatError or gave Gaussians that can be rendered; else what happened."""
    try:
        value = formats.read(path)
    except formats.FormatError as error:
        sentence = str(error)
        return None if sentence.startswith(str(path)) and "; " in sentence else f"no sentence: {sentence}"
    except BaseException as error:  # noqa: BLE001 - any other exception is the finding.
        return f"{type(error).__name__}: {error}"
    floats = (value.means, value.quats, value.log_scales, value.logit_opacities, value.sh, value.scales)
    if not all(bool(torch.isfinite(t).all()) for t in floats):
        return "loaded values that are not finite"
    if float((value.quats.norm(dim=1) - 1).abs().max()) > 1e-3:
        return "loaded quaternions that are not unit"
    return None


def main(count: int, seed: int, folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    files = corpus(folder)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        assert len(formats.read(folder / name)) == 90, name
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
    # Not ru_maxrss: it survives exec, and so counts the memory of the process that started this one.
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
    print(json.dumps({"read": count, "findings": findings, "peak_bytes": peak}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
