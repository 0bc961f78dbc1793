"""Proves that `h3d render` makes the very file that a capture in the viewer makes, and names wrong flags."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from h3d.app.figures.capture import CaptureSettings, capture
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.pictures import View
from h3d.app.figures.recipe import read_recipe
from h3d.app.figures.render_verb import RenderConfig, load_camera, parse_background, read_layers, render_command
from h3d.models import formats
from h3d.renderers.cameras import camera_to_json


@pytest.fixture
def scene(tmp_path, layers) -> Path:
    path = tmp_path / "one.ply"
    formats.write(path, layers[0].asset)
    return path


def test_the_command_in_a_recipe_makes_the_same_file(tmp_path, scene, camera, monkeypatch):
    display = Display(mode="depth", sh_degree=1, splat_scale=1.3, near_plane=0.02, antialiased=True)
    settings = CaptureSettings(131, 77, samples=2, background=(0.1, 1 / 3, 1.0), margin=4, bit_depth=16, scale_bar=True)
    capture(View((read_layers([scene])[0],), display), camera, settings, tmp_path / "viewer.png")
    words = shlex.split(read_recipe(tmp_path / "viewer.png")["command"])
    assert words[:2] == ["h3d", "render"]
    monkeypatch.chdir(tmp_path)
    render_command(tyro.cli(RenderConfig, args=words[2:]))
    assert (tmp_path / "OUT.png").read_bytes() == (tmp_path / "viewer.png").read_bytes()


def test_a_camera_file_makes_the_same_file_as_the_viewer(tmp_path, scene, camera):
    (tmp_path / "cam.json").write_text(json.dumps(camera_to_json(camera)))
    render_command(RenderConfig((scene,), tmp_path / "a.png", camera=str(tmp_path / "cam.json")))
    capture(View((read_layers([scene])[0],)), camera, CaptureSettings(camera.width, camera.height), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    render_command(RenderConfig((scene,), tmp_path / "c.png", camera=str(tmp_path / "a.png")))
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_like_follows_transforms_hidden_rows_and_comparisons(tmp_path, scene, layers, camera):
    second = tmp_path / "two.ply"
    formats.write(second, layers[1].asset)
    moved = replace(
        read_layers([second])[0], wxyz=layers[1].wxyz, position=(0.3, 0.0, 0.2), hidden_rows=layers[1].hidden_rows
    )
    comparison = Comparison(View((read_layers([scene])[0], moved)), View((moved,)), split=0.6, labels=("both", "one"))
    capture(comparison, camera, CaptureSettings(99, 61, background="transparent"), tmp_path / "a.png")
    render_command(RenderConfig((second, scene), tmp_path / "b.png", like=tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_a_camera_the_whole_scene_is_in_view(tmp_path, scene):
    render_command(RenderConfig((scene,), tmp_path / "a.png", width=160, height=90, background="transparent"))
    with Image.open(tmp_path / "a.png") as image:
        alpha = np.asarray(image)[..., 3] / 255.0
    assert alpha.shape == (90, 160)
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert border.mean() < 0.1 and alpha[40:50, 75:85].mean() > 0.5


def test_depth_goes_to_an_npy_file(tmp_path, scene):
    render_command(RenderConfig((scene,), tmp_path / "a.npy", width=40, height=30))
    depth = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert depth.shape == (30, 40) and depth.max() > 1.0


def test_wrong_flags_get_a_sentence(tmp_path, scene):
    assert parse_background("transparent") == "transparent"
    assert parse_background("1,0.5,0") == (1.0, 0.5, 0.0)
    with pytest.raises(ValueError, match=r"--background 'red': write R,G,B in \[0, 1\]"):
        parse_background("red")
    with pytest.raises(ValueError, match="no scene was given"):
        render_command(RenderConfig((), tmp_path / "a.png"))
    (tmp_path / "cam.json").write_text("{")
    with pytest.raises(ValueError, match=r"cam\.json: not JSON"):
        load_camera(str(tmp_path / "cam.json"))
    with pytest.raises(ValueError, match=r"none\.json: no camera can be read"):
        load_camera(str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match="camera_to_world"):
        load_camera("{}")
    with pytest.raises(ValueError, match="width=20000"):
        render_command(RenderConfig((scene,), tmp_path / "a.png", width=20000))
