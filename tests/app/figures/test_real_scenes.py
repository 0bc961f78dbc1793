"""Proves on real captures what small scenes cannot: they stand upright in view, and wipes cut them without a seam."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splat_files import real_data

from h3d.app.figures import compare, images
from h3d.app.figures.compare import Comparison
from h3d.app.figures.framing import frame_camera
from h3d.app.figures.pictures import View
from h3d.app.figures.render_verb import RenderConfig, read_layers, render_command
from h3d.renderers.cameras import Camera

SCENES = ("biker.compressed.ply", "playbot_sog")


def opened(name: str) -> tuple[View, Camera]:
    layers = read_layers([real_data(name)])
    return View(layers), frame_camera(layers, width=320, height=180)


@pytest.mark.parametrize("name", SCENES)
def test_a_capture_stands_in_the_middle_of_its_first_picture_and_fills_it(name):
    view, camera = opened(name)
    alpha = images.render_float(view, camera).alpha
    rows, columns = (np.flatnonzero((alpha > 0.5).any(axis=axis)) for axis in (1, 0))
    margins = [rows[0] / 180, 1 - rows[-1] / 180, columns[0] / 320, 1 - columns[-1] / 320]
    assert 0.005 < min(margins) < 0.15
    assert abs(margins[0] - margins[1]) < 0.08 and abs(margins[2] - margins[3]) < 0.12


def test_heads_are_up():
    view, camera = opened(SCENES[0])
    pixels = images.render(view, camera).pixels.astype(float)
    rows = np.flatnonzero((images.render_float(view, camera).alpha > 0.5).any(axis=1))
    reddish = pixels[..., 0] - pixels[..., 2]  # skin, on a man in black leather
    top, bottom = np.array_split(reddish[rows[0] : rows[-1] + 1], 2)
    head = top[: len(top) // 3]
    assert head.max() > 40 and head.mean() > 3 * abs(bottom.mean())


@pytest.mark.parametrize("name", SCENES)
def test_the_halves_of_a_wipe_are_the_full_pictures_halves(name):
    view, camera = opened(name)
    flat = replace(view, display=replace(view.display, sh_degree=0, splat_scale=0.8))
    wiped = compare.render(Comparison(view, flat, split=0.4871, line=False), camera).pixels
    at = round(0.4871 * 320)
    assert np.array_equal(wiped[:, :at], images.render(view, camera).pixels[:, :at])
    assert np.array_equal(wiped[:, at:], images.render(flat, camera).pixels[:, at:])


def test_a_folder_and_its_file_give_the_same_picture(tmp_path):
    folder = real_data(SCENES[1])
    for name, scene in (("a.png", folder), ("b.png", Path(folder) / "meta.json")):
        render_command(RenderConfig((scene,), tmp_path / name, width=160, height=90, mode="depth", scale_bar=True))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
