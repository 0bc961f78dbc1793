"""Proves that wrong and damaged pictures get one sentence each, and that folders are none."""

from __future__ import annotations

import builtins
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from picture_files import PNG_MAGIC, noise, png_chunk, write_exr
from PIL import Image
from posed_ball import write_posed_ball

from h3d.models.formats.errors import FormatError
from h3d.models.pictures import is_picture, open_picture
from h3d.models.training.tasks import model_for, open_task


def refusal(path: Path) -> str:
    """The sentence that refuses a file, after checking its form; the path is left off."""
    with pytest.raises(FormatError) as caught:
        open_picture(path)
    rest = str(caught.value).removeprefix(f"{path}: ")
    assert rest != str(caught.value)
    assert re.fullmatch(r"[^\n]+: [^\n]+; [^\n]+", rest)
    return rest


def test_empty_missing_and_foreign_files(tmp_path: Path):
    (tmp_path / "empty.png").write_bytes(b"")
    assert refusal(tmp_path / "empty.png").startswith("file: is empty (0 bytes)")
    (tmp_path / "text.png").write_text("this is no picture\n" * 10)
    assert "cannot be decoded (cannot identify image file" in refusal(tmp_path / "text.png")
    assert "cannot be read (No such file" in refusal(tmp_path / "nothing.png")
    assert "cannot be read (Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_pictures_that_were_cut_short(tmp_path: Path, suffix: str, share: float):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"compression": "zlib"}, {"rowsperstrip": 3}], ids=str)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_tiffs_that_were_cut_short(tmp_path: Path, layout: dict, share: float):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(64, 64), photometric="rgb", **layout)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_exrs_that_were_cut_short(tmp_path: Path, tiled: bool, share: float):
    pytest.importorskip("OpenEXR")
    path = tmp_path / "a.exr"
    write_exr(path, np.random.default_rng(0).random((64, 64, 3)).astype(np.float32), tiled=tiled)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path)


def test_bytes_that_changed_are_found_by_the_checksum(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(noise(64, 64)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert refusal(path)


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (0, 5, "size: it is 0 x 5 pixels, must be 1 to"),
        (2**31 - 1, 2**31 - 1, "size: it is 2,147,483,647 x 2,147,483,647 pixels, must be 1 to 1,048,576 a side"),
        (2**20, 2**20, "size: it is 1,048,576 x 1,048,576 pixels, must be"),
        (200, 200, "chunks: the file ends before its last chunk"),
    ],
)
def test_sizes_that_no_picture_has(tmp_path: Path, width: int, height: int, sentence: str):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(PNG_MAGIC + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + b"")
    assert refusal(path).startswith(sentence)


def test_a_png_of_an_unknown_kind(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(
        PNG_MAGIC + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 3, 2, 0, 0, 0)) + png_chunk(b"IDAT", b"")
    )
    assert refusal(path).startswith("IHDR: there is no colour type 2 of 3 bits")


def test_exr_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "OpenEXR":
            raise ImportError("No module named 'OpenEXR'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(60))
    assert "need the package OpenEXR, which is not installed; pip install OpenEXR" in refusal(tmp_path / "a.exr")


def test_an_exr_of_other_channels_names_them(tmp_path: Path):
    OpenEXR = pytest.importorskip("OpenEXR")
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": np.ones((4, 5), np.float32)}) as file:
        file.write(str(tmp_path / "a.exr"))
    assert "channels: must hold R, G and B, or Y, a value a pixel each; it has Z" in refusal(tmp_path / "a.exr")


def test_folders_are_never_pictures_whatever_their_name(tmp_path: Path):
    ball = write_posed_ball(tmp_path / "ball.png", cameras=2, test_cameras=1, size=8)
    assert model_for(ball) == "hash_grid"
    assert model_for(ball / "transforms_train.json") == "hash_grid"
    assert model_for(ball / "train") is None
    assert model_for(ball / "train" / "000.png") == "gaussians"  # It is cut out: 3D is meant.
    assert not is_picture(ball)
    with pytest.raises(ValueError, match=r"ball\.png: it is a folder; an image field is learnt from one picture file"):
        open_task(ball, "image")
