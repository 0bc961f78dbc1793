"""Proves that photos become a pinhole's: what a direction showed through the lens, it shows without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from h3d.models.datasets import Distortion, PosedImage, PosedImages, camera_directions, pixel_grid
from h3d.models.training.pinhole_photos import pinhole_photo, pinhole_photos

K = np.array([[70.0, 0, 41.5], [0, 66.0, 28.0], [0, 0, 1]])
LENSES = {
    "none": None,
    "barrel": Distortion("radial", k1=-0.2, k2=0.03, p1=0.004, p2=-0.003),
    "pincushion": Distortion("radial", k1=0.15),
    "fisheye": Distortion("fisheye", k1=0.02, k2=-0.004),
}


def colors(directions: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
    """What there is to be seen in each direction: smooth, another in every one."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return 0.5 + 0.4 * np.sin(unit * [3.0, 4.0, 5.0] + [0.1, 0.5, 1.0])


def photographed(path: Path, lens: Distortion | None) -> PosedImage:
    pose = np.eye(4)
    pose[:3, 3] = [0.5, -1.0, 2.0]
    posed = PosedImage(path, pose, K, 84, 56, lens)
    seen = colors(camera_directions(posed, pixel_grid(posed, 1))).reshape(56, 84, 3)
    Image.fromarray(np.rint(255 * seen).astype(np.uint8)).save(path)
    return posed


@pytest.mark.parametrize("name", LENSES)
def test_a_direction_shows_what_it_showed_through_the_lens(tmp_path: Path, name: str):
    photo = pinhole_photo(photographed(tmp_path / "a.png", LENSES[name]), 1)
    x, y = np.meshgrid(np.arange(84) + 0.5, np.arange(56) + 0.5)
    wanted = colors(np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1))
    known = np.ones((56, 84), bool) if photo.known is None else photo.known.numpy()
    error = np.abs(photo.over(torch.zeros(3)).numpy() - wanted)
    assert error[known].max() < 0.02 and known.mean() > 0.5
    assert (photo.known is not None) == (name in ("pincushion",)), "only this lens sees less than the pinhole"
    assert torch.allclose(photo.viewmat[:3, 3], torch.tensor([-0.5, 1.0, -2.0]))


def test_reduced_photos_have_reduced_cameras(tmp_path: Path):
    photo = pinhole_photo(photographed(tmp_path / "a.png", None), 2)
    assert photo.size == (42, 28) and np.allclose(photo.K.numpy()[:2], K[:2] / 2)


def test_transparent_parts_show_the_background(tmp_path: Path):
    path = tmp_path / "a.png"
    pixels = np.zeros((56, 84, 4), np.uint8)
    pixels[:, :40] = [255, 0, 0, 255]
    Image.fromarray(pixels).save(path)
    photo = pinhole_photo(PosedImage(path, np.eye(4), K, 84, 56, has_alpha=True), 1)
    over = photo.over(torch.tensor([0.0, 1.0, 0.5]))
    assert over[5, 5].tolist() == [1.0, 0.0, 0.0] and over[5, 60].tolist() == pytest.approx([0.0, 1.0, 0.5])


def test_a_data_set_without_photos_gets_a_sentence(tmp_path: Path):
    empty = PosedImages("empty", tmp_path, (), (), ())
    with pytest.raises(ValueError, match="empty: there is no photo to train on"):
        pinhole_photos(empty, [], 1)
