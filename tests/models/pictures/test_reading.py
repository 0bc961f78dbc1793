"""Proves the reading of pictures: each kind gives the pixels that another decoder finds, in memory and in tiles."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from picture_files import noise, smooth, write_exr, write_png
from PIL import Image

from h3d.models import pictures
from h3d.models.pictures import HeldPicture, TiledPicture, open_picture, tiff
from h3d.models.pictures.source import as_floats, pyramid


def everything(path: Path) -> np.ndarray:  # [H, W, 3]
    source = open_picture(path)
    return source.pixels(0, 0, source.width, source.height)


def over_white(rgba: np.ndarray) -> np.ndarray:
    """[H, W, 4] of shares to [H, W, 3]."""
    return rgba[..., :3] * rgba[..., 3:] + 1.0 - rgba[..., 3:]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_every_8_bit_mode_of_png_is_what_pillow_shows_on_white(tmp_path: Path, mode: str):
    picture = Image.fromarray(noise(37, 21, 4)).convert("RGBA" if "A" in mode else "RGB").convert(mode)
    picture.save(tmp_path / "a.png")
    expected = over_white(np.asarray(picture.convert("RGBA")).astype(np.float64) / 255)
    np.testing.assert_allclose(everything(tmp_path / "a.png"), expected, atol=0.5001 / 255)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits_with_transparent_entries_are_read(tmp_path: Path, bits: int):
    picture = Image.fromarray(noise(9, 13, 1)[..., 0] % 2**bits, mode="P")
    picture.putpalette(noise(1, 2**bits)[0].tobytes())
    picture.save(tmp_path / "a.png", bits=bits, transparency=b"\x80\xff")
    with Image.open(tmp_path / "a.png") as reopened:
        expected = over_white(np.asarray(reopened.convert("RGBA")).astype(np.float64) / 255)
    np.testing.assert_allclose(everything(tmp_path / "a.png"), expected, atol=0.5001 / 255)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_transparent_colour_of_a_png_shows_white(tmp_path: Path, mode: str):
    picture = Image.fromarray(noise(9, 13)).convert(mode)
    key = picture.getpixel((3, 4))
    picture.save(tmp_path / "a.png", transparency=key)
    assert everything(tmp_path / "a.png")[4, 3] == pytest.approx(1.0)
    assert everything(tmp_path / "a.png").min() < 0.1


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_all_16_bits_through_all_filters_and_band_borders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, channels: int, dtype: type
):
    samples = noise(23, 17, channels, dtype=dtype)
    write_png(tmp_path / "a.png", samples, kind)
    monkeypatch.setattr(pictures.png, "BAND_BYTES", 3 * 17 * channels * dtype().itemsize + 3)
    shares = samples / np.iinfo(dtype).max
    color = shares[..., :3] if channels >= 3 else np.repeat(shares[..., :1], 3, axis=2)
    expected = color if kind in (0, 2) else over_white(np.concatenate([color, shares[..., -1:]], axis=2))
    np.testing.assert_allclose(everything(tmp_path / "a.png"), expected, atol=0.51 / np.iinfo(dtype).max)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_what_pillow_shows(tmp_path: Path, mode: str):
    Image.fromarray(smooth(40, 30)).convert(mode).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        np.testing.assert_allclose(everything(tmp_path / "a.jpg"), np.asarray(picture.convert("RGB")) / 255, atol=1e-6)


def test_a_photo_taken_on_its_side_stands_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(32, 48)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    source = open_picture(tmp_path / "a.jpg")
    assert (source.width, source.height) == (32, 48)
    assert np.abs(everything(tmp_path / "a.jpg") - np.rot90(smooth(32, 48), -1) / 255).mean() < 0.02


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (16, 32)},
        {"compression": "zlib", "rowsperstrip": 5},
        {"compression": "zlib", "predictor": True, "tile": (16, 16)},
        {"bigtiff": True, "byteorder": ">", "tile": (16, 16)},
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_layout_of_tiff_gives_its_pixels(tmp_path: Path, dtype: type, layout: dict, channels: int):
    if dtype is np.float32:
        values = np.random.default_rng(0).uniform(0.0, 9.0, (45, 38, channels)).astype(np.float32)
        largest, slack = 1.0, 1e-2
    else:
        values, largest, slack = noise(45, 38, channels, dtype=dtype), np.iinfo(dtype).max, 1e-6
    kind = {1: "minisblack", 3: "rgb"}[channels]
    stored = values[..., 0] if channels == 1 else values
    try:
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind, **layout)
    except (KeyError, ValueError, ImportError) as error:
        pytest.skip(f"tifffile cannot write it here: {error}")
    expected = np.repeat(values, 3, axis=2) if channels == 1 else values
    np.testing.assert_allclose(everything(tmp_path / "a.tif"), expected / largest, atol=slack, rtol=1e-3)
    assert open_picture(tmp_path / "a.tif").hdr == (dtype is np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("meaning", ["assocalpha", "unassalpha", "unspecified"])
@pytest.mark.parametrize("channels", [2, 4])
def test_a_further_channel_of_tiff_counts_as_what_it_is_said_to_be(
    tmp_path: Path, dtype: type, meaning: str, channels: int
):
    share = np.random.default_rng(0).random((12, 17, channels))
    if meaning == "assocalpha":
        share[..., :-1] *= share[..., -1:]
    largest = 1 if dtype is np.float32 else np.iinfo(dtype).max
    kind = "rgb" if channels == 4 else "minisblack"
    values = (share * largest).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=kind, planarconfig="contig", extrasamples=[meaning])
    color, alpha = np.broadcast_to(share[..., :-1], (12, 17, 3)), share[..., -1:]
    behind = 1.0 - alpha
    expected = {"assocalpha": color + behind, "unassalpha": color * alpha + behind, "unspecified": color}[meaning]
    np.testing.assert_allclose(everything(tmp_path / "a.tif"), expected, atol=3 / 255 if dtype is np.uint8 else 2e-3)


def test_white_may_be_zero(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 55, 255]], np.uint8), photometric="miniswhite")
    np.testing.assert_allclose(everything(tmp_path / "a.tif")[0, :, 0], [1.0, 200 / 255, 0.0], atol=1e-6)


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "RGBA"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_what_tifffile_leaves_alone_pillow_decodes(tmp_path: Path, mode: str, compression: str):
    picture = Image.fromarray(noise(20, 30, 4)).convert("RGB" if mode != "RGBA" else "RGBA").convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    expected = over_white(np.asarray(picture.convert("RGBA")).astype(np.float64) / 255)
    np.testing.assert_allclose(everything(tmp_path / "a.tif"), expected, atol=1.1 / 255)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_exr_is_linear_light_over_white_without_what_is_no_number(tmp_path: Path, tiled: bool, channels: int):
    pytest.importorskip("OpenEXR")
    pixels = np.random.default_rng(0).uniform(0.0, 20.0, (300, 24, channels)).astype(np.float32)
    pixels[..., 3:] = pixels[..., 3:] / 20.0
    pixels[0, 0, 0], pixels[0, 1, 1], pixels[0, 2, 2] = np.nan, np.inf, -3.0
    write_exr(tmp_path / "a.exr", pixels, tiled=tiled)
    light = np.nan_to_num(pixels[..., :3], nan=0.0, posinf=65504.0).clip(0.0)
    behind = 1.0 - pixels[..., 3:] if channels == 4 else 0.0
    source = open_picture(tmp_path / "a.exr")
    assert source.hdr
    np.testing.assert_allclose(everything(tmp_path / "a.exr"), (light + behind).clip(0, 65504), rtol=2e-3, atol=2e-3)


def test_parts_and_points_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = noise(300, 530)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="rgb", tile=(64, 48))
    held = open_picture(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "HELD_PIXELS", 1000)
    cached = open_picture(tmp_path / "a.png", cache=tmp_path / "cache")
    in_place = open_picture(tmp_path / "b.tif", cache=tmp_path / "cache")
    assert isinstance(held, HeldPicture) and isinstance(cached, TiledPicture) and isinstance(in_place, TiledPicture)
    assert in_place.tiles.path == tmp_path / "b.tif"
    rows, columns = np.random.default_rng(1).integers(0, [[300], [530]], (2, 999))
    for source in (held, cached, in_place):
        assert (source.width, source.height, source.hdr) == (530, 300, False)
        np.testing.assert_array_equal(source.pixels(3, 250, 530, 300), as_floats(values[250:300, 3:530]))
        np.testing.assert_array_equal(source.pixels(100, 60, 101, 61), as_floats(values[60:61, 100:101]))
        np.testing.assert_array_equal(source.at(rows, columns), as_floats(values[rows, columns]))
        with pytest.raises(ValueError, match="must lie inside the picture"):
            source.pixels(0, 0, 531, 10)
        with pytest.raises(ValueError, match="rows: 0 to 300; must be 0 to 299"):
            source.at(np.array([0, 300]), np.array([0, 0]))


@pytest.mark.parametrize("dtype", [np.uint16, np.float16])
def test_the_cache_keeps_16_bits_and_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type):
    monkeypatch.setattr(pictures, "HELD_PIXELS", 1000)
    values = np.random.default_rng(0).uniform(0, 60000, (70, 300, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", rowsperstrip=7)
    source = open_picture(tmp_path / "a.tif", cache=tmp_path / "cache")
    assert isinstance(source, TiledPicture) and source.tiles.dtype == dtype
    np.testing.assert_array_equal(source.pixels(0, 0, 300, 70), as_floats(values))


def test_a_picture_is_converted_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    path, cache = tmp_path / "a.png", tmp_path / "cache"
    Image.fromarray(noise(300, 20)).save(path)
    told: list[str] = []
    open_picture(path, cache=cache, progress=told.append)
    assert re.fullmatch(r"converting a.png to tiles: 85 %, \d+ s left", told[0])
    assert told[-1] == "converting a.png to tiles: 100 %, 0 s left"
    open_picture(path, cache=cache, progress=told.append)
    assert len(told) == 2
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-1])  # As a full disk of another program would leave it.
    open_picture(path, cache=cache, progress=told.append)
    assert len(told) == 4
    changed = noise(301, 20, seed=1)
    Image.fromarray(changed).save(path)
    source = open_picture(path, cache=cache, progress=told.append)
    np.testing.assert_array_equal(source.pixels(0, 0, 20, 301), as_floats(changed))


def test_the_cache_lets_the_least_lately_used_go_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    monkeypatch.setattr(pictures.cache, "FOLDER_BYTES", 5 * 256 * 256 * 3 // 2)
    cache = tmp_path / "cache"
    for name in "abc":
        Image.fromarray(noise(20, 20, seed=ord(name))).save(tmp_path / f"{name}.png")
        open_picture(tmp_path / f"{name}.png", cache=cache)
    assert sorted(file.name[0] for file in cache.iterdir()) == ["b", "c"]


def test_a_conversion_that_fails_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    path = tmp_path / "a.png"
    Image.fromarray(noise(300, 40)).save(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match="a.png"):
        open_picture(path, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_conversion_that_is_interrupted_leaves_no_cache_and_one_that_was_killed_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    path, cache = tmp_path / "a.png", tmp_path / "cache"
    Image.fromarray(noise(300, 40)).save(path)

    def interrupt(_: str) -> None:
        assert len(list(cache.iterdir())) == 1, "it is under way"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_picture(path, cache=cache, progress=interrupt)
    assert list(cache.iterdir()) == []
    killed, running = (cache / f".b-0.tiles.npy.{name}.part" for name in ("dead", "busy"))
    for part in (killed, running):
        part.write_bytes(b"some tiles")
    long_ago = time.time() - 2 * pictures.cache.ABANDONED_SECONDS
    os.utime(killed, (long_ago, long_ago))
    open_picture(path, cache=cache)
    assert not killed.exists() and running.exists()


def test_a_file_that_shrinks_under_its_reader_is_named(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(128, 128), photometric="rgb", tile=(64, 64))
    tiles = tiff.tiles_in_place(path)
    assert tiles is not None
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"a\.tif: tiles: cannot be read any more \(tile 1, 1 is cut short\); open"):
        tiles.read(1, 1)


def test_a_pyramid_holds_the_means_of_squares():
    values = noise(21, 12, dtype=np.uint16)
    levels = pyramid(values)
    assert [level.shape[:2] for level in levels] == [(21, 12), (10, 6), (5, 3), (2, 1)]
    assert all(level.dtype == np.uint16 for level in levels)
    expected = values[4:8, 8:12].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(levels[2][1, 2], expected, atol=1.1)
