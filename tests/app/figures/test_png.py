"""Proves that PNG files hold what was written, the same bytes for the same pixels, and appear whole or not at all."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from h3d.app.figures import png


def decoded(path: Path) -> np.ndarray:
    """A reader of the specification's own words, row by row and byte by byte, for 8 and 16 bits."""
    data = path.read_bytes()
    assert data[:8] == png.SIGNATURE
    at, idat, header = 8, b"", (0, 0, 0, 0, 0, 0, 0)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        if kind == b"IDAT":
            idat += body
        at += 12 + length
    width, height, depth, color = header[:4]
    channels = {2: 3, 6: 4}[color]
    stride = channels * depth // 8
    raw, line = zlib.decompress(idat), width * stride
    rows = [bytearray(line)]
    for y in range(height):
        kind, row = raw[y * (line + 1)], bytearray(raw[y * (line + 1) + 1 : (y + 1) * (line + 1)])
        for x in range(line):
            a = row[x - stride] if x >= stride else 0
            b = rows[-1][x]
            c = rows[-1][x - stride] if x >= stride else 0
            row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) % 256
        rows.append(row)
    samples = np.frombuffer(b"".join(rows[1:]), np.uint8 if depth == 8 else ">u2")
    return samples.reshape(height, width, channels)


def paeth(a: int, b: int, c: int) -> int:
    distances = [abs(a + b - c - v) for v in (a, b, c)]
    return (a, b, c)[distances.index(min(distances))]


def gradient(height: int, width: int, channels: int, dtype: type) -> np.ndarray:
    rows, columns, thirds = np.mgrid[:height, :width, :channels]
    top = np.iinfo(dtype).max
    return ((np.sin(rows / 9.0) * np.cos(columns / 7.0 + thirds) * 0.5 + 0.5) * top).astype(dtype)


@pytest.mark.parametrize("channels", [3, 4])
def test_pillow_reads_back_the_8_bit_pixels_and_the_text(tmp_path, channels):
    pixels = gradient(61, 47, channels, np.uint8)
    png.write_png(tmp_path / "a.png", pixels, {"h3d-view": '{"name":"Ü"}'})
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["h3d-view"] == '{"name":"Ü"}'
        assert image.info["srgb"] == 0


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_reader_of_the_specification_gets_every_sample(tmp_path, channels, dtype):
    pixels = gradient(23, 31, channels, dtype)
    pixels[10:] = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, pixels[10:].shape, dtype)
    png.write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(decoded(tmp_path / "a.png"), pixels)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_pictures_survive_the_round_trip(tmp_path, data):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4])))
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    seed, top = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.sampled_from([2, np.iinfo(dtype).max]))
    pixels = np.random.default_rng(seed).integers(0, top, shape, dtype)
    png.write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(decoded(tmp_path / "a.png"), pixels)


def test_the_bytes_do_not_depend_on_how_the_rows_were_cut(tmp_path):
    pixels = gradient(300, 500, 4, np.uint8)
    pixels[:, 250:] = np.random.default_rng(0).integers(0, 255, (300, 250, 4), np.uint8)
    png.write_png(tmp_path / "whole.png", pixels)
    with png.writing_png(tmp_path / "rows.png", 500, 300, channels=4) as writer:
        for first in (0, 1, 17, 100, 299):
            last = {0: 1, 1: 17, 17: 100, 100: 299, 299: 300}[first]
            writer.write(pixels[first:last])
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / "rows.png").read_bytes()


def test_filters_make_a_smooth_picture_smaller_than_plain_compression_does(tmp_path):
    rows, columns = np.mgrid[:200, :200]
    smooth = 120 + 80 * np.sin(rows / 40.0) * np.cos(columns / 30.0)
    noise = np.random.default_rng(0).normal(size=(200, 200, 3))
    pixels = (smooth[..., None] + 2.0 * noise).astype(np.uint8)
    png.write_png(tmp_path / "a.png", pixels)
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "png")
    ours = (tmp_path / "a.png").stat().st_size
    assert ours < 0.8 * len(zlib.compress(pixels.tobytes(), 6))
    assert ours < 1.1 * len(plain.getvalue())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.png"
    png.write_png(target, gradient(5, 5, 3, np.uint8))
    before = target.read_bytes()
    with pytest.raises(RuntimeError, match="stopped"), png.writing_png(target, 5, 5) as writer:
        writer.write(np.zeros((2, 5, 3), np.uint8))
        raise RuntimeError("stopped")
    with pytest.raises(ValueError, match="2 of 5 rows"), png.writing_png(target, 5, 5) as writer:
        writer.write(np.zeros((2, 5, 3), np.uint8))
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_wrong_rows_are_refused_by_name(tmp_path):
    with (
        pytest.raises(ValueError, match=r"rows are uint16 \[1, 5, 3\]; must be uint8 \[h, 5, 3\]"),
        png.writing_png(tmp_path / "a.png", 5, 5) as writer,
    ):
        writer.write(np.zeros((1, 5, 3), np.uint16))
    with (
        pytest.raises(ValueError, match="row 6 of a picture of 5"),
        png.writing_png(tmp_path / "a.png", 5, 5) as writer,
    ):
        writer.write(np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="2 channels"), png.writing_png(tmp_path / "a.png", 5, 5, channels=2):
        pass


def test_text_is_found_among_other_chunks_and_bad_files_are_told(tmp_path):
    path = tmp_path / "a.png"
    png.write_png(path, gradient(5, 5, 3, np.uint8), {"Title": "x", "h3d-view": "recipe"})
    assert png.read_text(path, "h3d-view") == "recipe"
    assert png.read_text(path, "other") is None
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:45])
    with pytest.raises(ValueError, match=r"cut\.png: cut short"):
        png.read_text(tmp_path / "cut.png", "h3d-view")
    (tmp_path / "not.png").write_bytes(b"hello world")
    with pytest.raises(ValueError, match=r"not\.png: not a PNG"):
        png.read_text(tmp_path / "not.png", "h3d-view")
