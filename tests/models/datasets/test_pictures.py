"""Pixels: what the file holds, box-filtered as a double loop would, kept within a bound of bytes."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
from dataset_files import write_photo
from PIL import Image

from h3d.models import datasets
from h3d.models.datasets import DatasetError, ImageCache, PosedImage, PosedImages
from h3d.models.datasets.pictures import auto_downscale, box_filtered, load, picture_header


def posed(path: Path, width: int, height: int) -> PosedImage:
    return PosedImage(path, np.eye(4), np.eye(3), width, height)


def slow_box(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares, pixel by pixel, with colours weighted by alpha."""
    height, width, channels = pixels.shape
    out = np.zeros((height // factor, width // factor, channels))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            block = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].reshape(-1, channels) / 255
            if channels == 4:
                alpha = block[:, 3].sum()
                color = (block[:, :3] * block[:, 3:]).sum(axis=0) / alpha if alpha > 0 else 0
                out[y, x] = [*np.broadcast_to(color, 3), alpha / factor**2]
            else:
                out[y, x] = block.mean(axis=0)
    return out * 255


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_box_filter_is_the_mean_over_squares(tmp_path, alpha, factor):
    pixels = write_photo(tmp_path / "a.png", 13, 9, alpha=alpha)
    reduced = load(posed(tmp_path / "a.png", 13, 9), factor)
    assert reduced.dtype == np.uint8
    assert np.abs(reduced - slow_box(pixels, factor)).max() <= 0.5 + 1e-3


def test_hidden_colours_do_not_show_at_silhouettes():
    pixels = np.array([[[200, 100, 50, 255], [0, 255, 0, 0]], [[200, 100, 50, 255], [0, 255, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(box_filtered(pixels, 2), [[[200, 100, 50, 128]]])
    np.testing.assert_array_equal(box_filtered(np.zeros((2, 2, 4), np.uint8), 2), np.zeros((1, 1, 4)))


def test_a_side_shorter_than_the_factor_becomes_one_pixel():
    pixels = np.arange(3 * 16 * 3, dtype=np.uint8).reshape(3, 16, 3)
    reduced = box_filtered(pixels, 8)
    assert reduced.shape == (1, 2, 3)
    np.testing.assert_allclose(reduced[0, 0], pixels[:, :8].reshape(-1, 3).mean(axis=0), atol=0.5)


def test_full_size_pixels_are_those_of_the_file(tmp_path):
    pixels = write_photo(tmp_path / "a.png", alpha=True)
    np.testing.assert_array_equal(datasets.image(posed(tmp_path / "a.png", 8, 6)), pixels)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 3), ("LA", 4), ("P", 3), ("1", 3), ("CMYK", 3), ("I;16", 3), ("RGBA", 4)]
)
def test_every_colour_mode_becomes_rgb_or_rgba(tmp_path, mode, channels):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(path)
    else:
        Image.new("RGBA" if "A" in mode else "RGB", (3, 1), "white").convert(mode).save(path)
    width, height, alpha = picture_header(path)
    pixels = load(posed(path, width, height))
    assert pixels.shape == (1, 3, channels)
    assert alpha == (channels == 4)
    assert pixels[0, 2].min() >= 254
    if mode == "I;16":
        np.testing.assert_array_equal(pixels[0, :, 0], [0, 1, 255])


def test_the_cache_hands_out_the_same_read_only_pixels(tmp_path):
    write_photo(tmp_path / "a.png")
    cache = ImageCache()
    first = cache.image(posed(tmp_path / "a.png", 8, 6), 2)
    assert cache.image(posed(tmp_path / "a.png", 8, 6), 2) is first
    assert not first.flags.writeable
    assert cache.bytes == first.nbytes


def test_the_cache_lets_the_least_lately_used_go_at_its_bound(tmp_path):
    for i in range(3):
        write_photo(tmp_path / f"{i}.png", seed=i)
    photos = [posed(tmp_path / f"{i}.png", 8, 6) for i in range(3)]
    cache = ImageCache(limit_bytes=2 * 8 * 6 * 3)
    first, second = cache.image(photos[0]), cache.image(photos[1])
    assert cache.image(photos[0]) is first
    cache.image(photos[2])
    assert cache.bytes <= cache.limit_bytes
    assert cache.image(photos[0]) is first
    assert cache.image(photos[1]) is not second


def test_a_photo_beyond_the_bound_is_read_but_not_kept(tmp_path):
    pixels = write_photo(tmp_path / "a.png")
    cache = ImageCache(limit_bytes=10)
    np.testing.assert_array_equal(cache.image(posed(tmp_path / "a.png", 8, 6)), pixels)
    assert cache.bytes == 0


def test_a_changed_file_is_read_again(tmp_path):
    write_photo(tmp_path / "a.png", seed=0)
    cache = ImageCache()
    cache.image(posed(tmp_path / "a.png", 8, 6))
    pixels = np.full((6, 8, 3), 7, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(cache.image(posed(tmp_path / "a.png", 8, 6)), pixels)


def test_a_file_that_changed_its_size_is_refused(tmp_path):
    write_photo(tmp_path / "a.png", 8, 6)
    with pytest.raises(DatasetError, match="is 8 x 6 pixels, was 6 x 8 when it was opened; open the data set again"):
        load(posed(tmp_path / "a.png", 6, 8))


@pytest.mark.parametrize(("side", "factor"), [(640, 1), (641, 2), (800, 2), (1920, 4), (9000, 16)])
def test_auto_brings_the_longest_side_to_640_or_less(side, factor):
    photo = posed(Path("a.png"), 100, side)
    dataset = PosedImages("a", Path("a"), (photo,), (0,), ())
    assert auto_downscale(dataset, "auto") == factor
    assert auto_downscale(dataset, 8) == 8


def test_exr_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "OpenEXR":
            raise ImportError("No module named 'OpenEXR'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with pytest.raises(DatasetError, match="need the package OpenEXR, which is not installed; pip install OpenEXR"):
        picture_header(tmp_path / "a.exr")


@pytest.mark.parametrize("alpha", [False, True])
def test_exr_comes_as_linear_floats(tmp_path, alpha):
    OpenEXR = pytest.importorskip("OpenEXR")
    pixels = np.random.default_rng(0).uniform(0, 9, (6, 8, 4 if alpha else 3)).astype(np.float32)
    path = tmp_path / "a.exr"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGBA" if alpha else "RGB": pixels}) as file:
        file.write(str(path))
    assert picture_header(path) == (8, 6, alpha)
    np.testing.assert_array_equal(load(posed(path, 8, 6)), pixels)
    reduced = load(posed(path, 8, 6), 2)
    assert (reduced.dtype, reduced.shape) == (np.float32, (3, 4, pixels.shape[2]))
    assert posed(path, 8, 6).is_linear


def test_a_corrupt_exr_gets_a_sentence(tmp_path):
    pytest.importorskip("OpenEXR")
    (tmp_path / "a.exr").write_bytes(b"v/1\x01" + bytes(40))
    with pytest.raises(DatasetError, match=r"a\.exr: picture: cannot be decoded"):
        picture_header(tmp_path / "a.exr")
