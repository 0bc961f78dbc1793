"""Bad input gets one sentence with file, place, rule and way out, and takes neither memory nor anything outside."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from PIL import Image
from splat_files import Recipe, pack_3dgs, pack_ksplat, pack_ply, pack_spz, ply_names, rows_of, scene

from h3d.models import formats

VALUE = scene(Recipe(seed=0, count=40, degree=1, extent=4.0))


def refusal(path: Path, data: bytes | None = None) -> str:
    """The sentence that refuses a file, after checking its form; the path is left off."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(formats.FormatError) as caught:
        formats.read(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    rest = sentence.removeprefix(f"{path}: ")
    assert re.fullmatch(r"[^\n]+: [^\n]+; [^\n]+", rest)
    return rest


def changed(name: str, row: int, value: float) -> bytes:
    names, table = ply_names(1), rows_of(VALUE)
    table[row, names.index(name)] = value
    return pack_ply({n: table[:, i] for i, n in enumerate(names)})


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("x", np.nan, "vertex 12: position is nan"),
        ("z", np.inf, "vertex 12: position is inf"),
        ("f_dc_1", np.nan, "vertex 12: spherical harmonics is nan"),
        ("f_rest_8", -np.inf, "vertex 12: spherical harmonics is -inf"),
        ("scale_1", np.nan, "vertex 12: size is nan"),
        ("scale_1", np.inf, "vertex 12: size is inf"),
        ("scale_1", 1000.0, "vertex 12: size is exp(1000)"),
        ("opacity", np.nan, "vertex 12: opacity is nan"),
        ("rot_2", np.nan, "vertex 12: rot_0..3 (its quaternion) is not finite"),
    ],
)
def test_a_value_that_no_gaussian_can_have_is_named_with_its_vertex(tmp_path, name, value, place):
    assert refusal(tmp_path / "a.ply", changed(name, 12, value)).startswith(place)


def test_a_zero_quaternion_is_named_with_its_vertex(tmp_path):
    table = rows_of(VALUE)
    table[7, -4:] = 0
    data = pack_ply({n: table[:, i] for i, n in enumerate(ply_names(1))})
    assert refusal(tmp_path / "a.ply", data).startswith("vertex 7: rot_0..3 (its quaternion) is all zero")


def test_a_cut_file_is_refused_in_every_format(tmp_path):
    formats.write(tmp_path / "a.compressed.ply", VALUE)
    formats.write(tmp_path / "a.splat", VALUE)
    formats.write(tmp_path / "a.sog", VALUE)
    formats.write(tmp_path / "a.spz", VALUE)
    formats.write(tmp_path / "a.ply", VALUE)
    formats.spz.write(tmp_path / "b.spz", VALUE, version=4)
    (tmp_path / "a.ksplat").write_bytes(pack_ksplat(VALUE, 1))
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        for length in (1, 3, len(data) // 2 + 1, len(data) - 1):
            assert refusal(path, data[:length])


@pytest.mark.parametrize("count", [41, 10**6, 10**12])
def test_a_count_beyond_the_file_is_refused_before_memory_is_taken(tmp_path, count):
    sentence = refusal(tmp_path / "a.ply", pack_3dgs(VALUE, count=count))
    assert sentence.startswith(f"header: declares {count:,} rows of element vertex, but the file ends before the last")


def test_a_count_below_the_file_is_refused_since_rows_would_be_lost(tmp_path):
    assert "the counts of the header are too small" in refusal(tmp_path / "a.ply", pack_3dgs(VALUE, count=39))


@pytest.mark.parametrize("count", ["-1", "x", "9" * 30, "1.5"])
def test_a_count_that_is_no_number_is_refused(tmp_path, count):
    data = pack_3dgs(VALUE).replace(b"vertex 40", f"vertex {count}".encode())
    assert refusal(tmp_path / "a.ply", data).startswith("header line 3: an element line must be")


def test_missing_fields_are_listed(tmp_path):
    table = dict(zip(ply_names(1), rows_of(VALUE).T, strict=True))
    del table["rot_3"], table["opacity"]
    sentence = refusal(tmp_path / "a.ply", pack_ply(table))
    assert sentence == "header: element vertex has no opacity, rot_3; export Gaussians with all fields of 3DGS"


def test_a_wrong_number_of_sh_fields_is_refused(tmp_path):
    table = dict(zip(ply_names(1), rows_of(VALUE).T, strict=True))
    del table["f_rest_8"]
    assert refusal(tmp_path / "a.ply", pack_ply(table)).startswith("header: 8 f_rest fields; must be 0, 9, 24 or 45")


def test_a_file_without_gaussians_is_refused(tmp_path):
    assert "0 Gaussians" in refusal(tmp_path / "a.ply", pack_ply({n: np.empty(0) for n in ply_names(0)}))


def test_an_empty_file_is_refused(tmp_path):
    assert refusal(tmp_path / "a.ply", b"") == "file: is empty (0 bytes); fetch or export it again"


def test_what_is_not_there_or_no_file_is_refused(tmp_path):
    assert refusal(tmp_path / "none.ply").startswith("file: there is no such file or folder")
    os.mkfifo(tmp_path / "pipe.ply")
    assert refusal(tmp_path / "pipe.ply").startswith("file: is neither a file nor a folder")


def test_content_of_no_format_is_refused_with_the_suffixes_to_use(tmp_path):
    sentence = refusal(tmp_path / "a.ply", b"<html>not found</html>")
    assert sentence.startswith("first bytes: starts with b'<html>no', which no 3DGS PLY file does; give one of")
    assert ".sog" in refusal(tmp_path / "a.txt", b"some text")


def test_negative_sizes_are_refused(tmp_path):
    row = struct.pack("<6f", 0, 0, 0, 1, -0.5, 1) + bytes([1, 2, 3, 4, 255, 128, 128, 128])
    sentence = refusal(tmp_path / "a.splat", row)
    assert sentence.startswith("vertex 0: size is -0.5, must not be negative")


def test_bounds_of_a_chunk_that_are_no_numbers_are_refused(tmp_path):
    formats.write(tmp_path / "a.compressed.ply", VALUE)
    data = bytearray((tmp_path / "a.compressed.ply").read_bytes())
    start = data.index(b"end_header\n") + len(b"end_header\n")
    data[start : start + 4] = struct.pack("<f", np.nan)
    assert refusal(tmp_path / "a.compressed.ply", bytes(data)).startswith("chunk 0 (vertices from 0): its bounds")


@pytest.mark.parametrize("version", [0, 5, 2**31])
def test_an_unknown_version_of_spz_is_refused(tmp_path, version):
    head = struct.pack("<4sIIBBBB", b"NGSP", version, 1, 0, 12, 0, 0)
    assert f"version {version}, only 1 to 4" in refusal(tmp_path / "a.spz", gzip.compress(head + bytes(20)))


def test_a_gzip_that_is_no_spz_is_refused(tmp_path):
    assert "no SPZ header" in refusal(tmp_path / "a.spz", gzip.compress(b"something else altogether"))


def test_an_spz_that_holds_more_than_it_declares_is_refused(tmp_path):
    data = bytearray(gzip.decompress(pack_spz(VALUE, 3)))
    struct.pack_into("<I", data, 8, 39)
    assert "holds more" in refusal(tmp_path / "a.spz", gzip.compress(bytes(data)))


@pytest.mark.parametrize("version", [1, 3])
def test_ksplat_of_another_version_or_level_is_refused(tmp_path, version):
    data = bytearray(pack_ksplat(VALUE, 0))
    data[0] = version
    assert f"version {version}.1" in refusal(tmp_path / "a.ksplat", bytes(data))
    data[0], data[20] = 0, 9
    assert "compression level 9" in refusal(tmp_path / "a.ksplat", bytes(data))


def sog_parts(tmp_path: Path) -> dict[str, bytes]:
    formats.write(tmp_path / "good.sog", VALUE)
    with zipfile.ZipFile(tmp_path / "good.sog") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    "name", ["../secret.webp", "/etc/passwd", "a/../../secret.webp", "C:\\secret.webp", "link.webp"]
)
def test_a_sog_folder_cannot_name_files_outside_itself(tmp_path, name):
    parts = sog_parts(tmp_path)
    folder = tmp_path / "scene"
    folder.mkdir()
    for part, data in parts.items():
        (folder / part).write_bytes(data)
    (tmp_path / "secret.webp").write_bytes(parts["quats.webp"])
    (folder / "link.webp").symlink_to(tmp_path / "secret.webp")
    meta = json.loads(parts["meta.json"])
    meta["quats"]["files"] = [name]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(formats.FormatError, match="outside its folder; keep textures beside meta.json"):
        formats.read(folder)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("version", 3, "SOG version 3, only 2 is known"),
        ("count", 41_000, "texels, expected at least 41,000"),
        ("count", -1, "is -1, must be a whole number from 1"),
        ("count", 1e300, "must be a whole number from 1"),
        ("count", True, "is True, must be a whole number"),
        ("means", {"mins": [0, 0], "maxs": [1, 1, 1], "files": []}, "must be 3 finite numbers"),
        ("scales", {"codebook": ["a"] * 256, "files": ["scales.webp"]}, "must be 256 finite numbers"),
        ("quats", {"files": ["none.webp"]}, "holds no 'none.webp'"),
        ("quats", {"files": ["scales.webp"]}, "alpha of quats is"),
        ("sh0", None, "is missing or no object"),
    ],
)
def test_a_meta_json_that_does_not_fit_is_refused(tmp_path, field, value, rule):
    parts = sog_parts(tmp_path)
    meta = json.loads(parts["meta.json"])
    meta[field] = value
    parts["meta.json"] = json.dumps(meta).encode()
    if field == "quats":
        buffer = io.BytesIO()
        Image.new("RGBA", (8, 8), (1, 2, 3, 100)).save(buffer, "WEBP", lossless=True, exact=True)
        parts["scales.webp"] = buffer.getvalue()
    assert rule in refusal(tmp_path / "a.sog", zipped(parts))


def test_json_nested_too_deep_is_refused(tmp_path):
    parts = sog_parts(tmp_path) | {"meta.json": b"[" * 200_000}
    assert "is no JSON" in refusal(tmp_path / "a.sog", zipped(parts))


HALF_GIGABYTE = 1 << 29
MEGABYTE = bytes(1 << 20)


def zstd_bomb() -> bytes:
    """An SPZ of version 4 that declares 40 Gaussians and unpacks to 512 MB a stream."""
    packer = zstandard.ZstdCompressor().compressobj()
    stream = b"".join(packer.compress(MEGABYTE) for _ in range(HALF_GIGABYTE >> 20)) + packer.flush()
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 40, 0, 12, 0, 5, 32)
    table = b"".join(struct.pack("<QQ", len(stream), 40 * size) for size in (9, 1, 3, 3, 4))
    return head + table + stream * 5


def gzip_bomb(count: int) -> bytes:
    """An SPZ of version 3 that unpacks to 512 MB, whatever its header declares."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, count, 3, 12, 0, 0)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same input gives the same bytes: one piece is packed and repeated.
    piece = packer.compress(MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (HALF_GIGABYTE >> 20)


def member_bomb() -> bytes:
    """A zip whose meta.json unpacks to 512 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("meta.json", "w") as member:
        for _ in range(HALF_GIGABYTE >> 20):
            member.write(MEGABYTE)
    return out.getvalue()


def picture_bomb() -> bytes:
    """The header of a WebP picture of 16383 x 16383 texels."""
    picture = bytearray(b"RIFF\x00\x10\x00\x00WEBPVP8L\x00\x10\x00\x00\x2f" + bytes(4096))
    picture[21:25] = (16382 | 16382 << 14 | 1 << 28).to_bytes(4, "little")
    return bytes(picture)


def bombs() -> dict[str, bytes]:
    """Small files that declare gigabytes, or unpack to 512 MB."""
    means = {"mins": [0, 0, 0], "maxs": [1, 1, 1], "files": ["m", "m"]}
    meta = {count: json.dumps({"version": 2, "count": count, "means": means}).encode() for count in (100, 268_000_000)}
    return {
        "declared.spz": gzip_bomb(100_000_000),
        "held.spz": gzip_bomb(40),
        "zstd.spz": zstd_bomb(),
        "declared.sog": zipped({"meta.json": meta[268_000_000], "m": picture_bomb()}),
        "picture.sog": zipped({"meta.json": meta[100], "m": picture_bomb()}),
        "member.sog": member_bomb(),
        "vertices.ply": pack_3dgs(VALUE, count=2**31),
        "sections.ksplat": struct.pack("<BBxx4IH", 0, 1, 2**32 - 1, 1, 1, 1, 0) + bytes(5000),
    }


READ_WITHIN_LIMIT = """
import resource, sys
from pathlib import Path
import zstandard
from PIL import Image
from h3d.models import formats
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[1:]:
    try:
        formats.read(name)
        print("loaded", name)
    except formats.FormatError as error:
        print("refused", error)
"""


def test_bombs_are_refused_without_taking_their_memory(tmp_path):
    files = bombs()
    assert sum(map(len, files.values())) < 8 << 20
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", READ_WITHIN_LIMIT, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["refused"] * len(files), done.stdout


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    good = tmp_path / "a.spz"
    formats.write(good, VALUE)
    before = good.read_bytes()
    far = VALUE.keep(torch.arange(40))
    far.means[0] = 1e30
    with pytest.raises(formats.FormatError, match="does not fit into 24 bits; scale the scene down"):
        formats.write(good, far)
    assert good.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.spz"]


def test_writing_with_an_unknown_suffix_or_no_rows_is_refused(tmp_path):
    with pytest.raises(formats.FormatError, match=r"no format is written with the suffix \.ksplat; use one of"):
        formats.write(tmp_path / "a.ksplat", VALUE)
    with pytest.raises(formats.FormatError, match="there are 0 Gaussians to write"):
        formats.write(tmp_path / "a.ply", VALUE.keep(torch.arange(0)))
