"""Proves reference pictures: files come back as they were, what is shipped is held out, bad ones are one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from h3d import assets
from h3d.models.formats.errors import FormatError
from h3d.models.procedural import HELD_OUT
from h3d.models.training.references import is_cut_out, picture_of_object, read_reference, write_reference

SEED = 1_000_003
POSE = (30.0, 15.0, 2.0)


def save(path: Path, rgba: np.ndarray) -> Path:
    Image.fromarray(rgba).save(path)
    return path


def disc(size: int = 64, width: int | None = None) -> np.ndarray:
    """A red disc on nothing, [size, width, 4]."""
    y, x = np.mgrid[:size, : width or size]
    inside = (x - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 3) ** 2
    rgba = np.zeros((*inside.shape, 4), np.uint8)
    rgba[inside] = (220, 30, 30, 255)
    return rgba


def test_a_picture_comes_back_with_its_pose_and_object(tmp_path: Path):
    made = picture_of_object(SEED, POSE, 96)
    write_reference(tmp_path / "made.png", made)
    back = read_reference(tmp_path / "made.png", elevation_degrees=60.0)
    assert back.seed == SEED
    assert back.reference.pose == POSE
    assert float((back.reference.alpha - made.reference.alpha).abs().max()) < 0.01
    covered = made.reference.alpha[0] > 0.5
    assert float((back.reference.rgb - made.reference.rgb)[:, covered].abs().max()) < 0.01


def test_a_picture_that_says_nothing_is_of_azimuth_0_and_the_elevation_that_is_given(tmp_path: Path):
    found = read_reference(save(tmp_path / "disc.png", disc()), elevation_degrees=25.0)
    assert found.seed is None
    assert found.reference.pose == (0.0, 25.0, 2.0)


def test_a_large_picture_is_kept_small(tmp_path: Path):
    found = read_reference(save(tmp_path / "large.png", disc(2000)), 0.0)
    assert found.reference.rgb.shape == (3, 512, 512)
    assert float(found.reference.alpha.mean()) == pytest.approx(float((disc(2000)[..., 3] > 0).mean()), abs=1e-3)


def test_what_is_shipped_is_of_objects_that_were_held_out():
    shipped = sorted(assets.path("references").glob("*.png"))
    assert len(shipped) >= 4
    for path in shipped:
        assert is_cut_out(path)
        assert read_reference(path, 0.0).seed in HELD_OUT


def test_only_pictures_with_clear_pixels_are_cut_out(tmp_path: Path):
    opaque = disc()
    opaque[..., 3] = 255
    assert is_cut_out(save(tmp_path / "disc.png", disc()))
    assert not is_cut_out(save(tmp_path / "opaque.png", opaque))
    assert not is_cut_out(save(tmp_path / "rgb.png", disc()[..., :3]))
    assert not is_cut_out(tmp_path)
    (tmp_path / "torn.png").write_bytes((tmp_path / "disc.png").read_bytes()[:60])
    assert not is_cut_out(tmp_path / "torn.png")


def opaque_disc(size: int = 64) -> np.ndarray:
    rgba = disc(size)
    rgba[..., 3] = 255
    return rgba


@pytest.mark.parametrize(
    ("rgba", "said"),
    [
        (disc()[..., :3], "it has no transparency"),
        (opaque_disc(), "nothing of it is transparent"),
        (np.zeros((64, 64, 4), np.uint8), "all of it is transparent"),
        (disc(64, 96), "it is 96 x 64 pixels; a reference must be square"),
        (np.zeros((2, 9000, 4), np.uint8), "more than 8192 a side"),
    ],
    ids=["no alpha", "opaque", "clear", "not square", "huge"],
)
def test_a_picture_that_cannot_be_one_is_one_sentence(rgba: np.ndarray, said: str, tmp_path: Path):
    path = save(tmp_path / "picture.png", rgba)
    with pytest.raises(FormatError, match=said) as error:
        read_reference(path, 0.0)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_picture_is_one_sentence(tmp_path: Path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(FormatError, match="no picture that can be read"):
        read_reference(tmp_path / "text.png", 0.0)


def test_a_chunk_that_says_nonsense_is_one_sentence(tmp_path: Path):
    made = picture_of_object(SEED, POSE, 32)
    write_reference(tmp_path / "a.png", made)
    content = (tmp_path / "a.png").read_bytes()
    assert b'"pose": [30.0, 15.0, 2.0]' in content
    with Image.open(tmp_path / "a.png") as image:
        from PIL import PngImagePlugin

        chunk = PngImagePlugin.PngInfo()
        chunk.add_text("h3d", '{"pose": "north"}')
        image.save(tmp_path / "b.png", pnginfo=chunk)
    with pytest.raises(FormatError, match="does not say a pose and an object"):
        read_reference(tmp_path / "b.png", 0.0)


def test_the_picture_of_an_object_is_over_any_grey_what_the_object_looks_like():
    picture = picture_of_object(SEED, POSE, 48).reference
    for grey in (0.0, 0.5, 1.0):
        over = picture.over(grey)
        assert over.shape == (1, 3, 48, 48)
        clear = picture.alpha[0] == 0.0
        assert torch.allclose(over[0][:, clear], torch.full_like(over[0][:, clear], grey))
