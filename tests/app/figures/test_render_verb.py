"""Proves that `h3d render` makes the very file that a capture in the viewer makes, and names wrong flags."""

import json
import re
import shlex
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image
from posed_ball import write_posed_ball

from h3d.app.figures.capture import CaptureSettings, capture
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.pictures import View
from h3d.app.figures.recipe import read_recipe
from h3d.app.figures.render_verb import RenderConfig, load_camera, parse_background, read_layers, render_command
from h3d.app.homes import photo_camera
from h3d.app.workspace.scene import Layer
from h3d.models import datasets, formats
from h3d.models.photo_field import PhotoField
from h3d.models.training.hash_grid import HashGridTraining, train
from h3d.renderers.cameras import Camera, camera_to_json


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


@pytest.fixture
def photographed(tmp_path) -> tuple[Path, Comparison, Camera]:
    """A run's snapshot beside a photo that it learns from, before anything of it was saved; and where it lies now."""
    dataset = datasets.read(write_posed_ball(tmp_path / "ball", cameras=4, test_cameras=1, size=24))
    config = HashGridTraining(levels=4, log2_table_size=10, finest_resolution=32, samples_per_step=1 << 10)
    field = next(islice(train(dataset, config), 5, None)).snapshot()
    posed = dataset.images[dataset.test[0]]
    placed = Layer(1, "ball", field, run=1, position=(0.5, 0.0, 0.0))
    photo = replace(placed, key=-1, name="photo", asset=PhotoField(posed, 2, data=dataset.path), run=None)
    field.save(tmp_path / "field.safetensors")
    matrix = placed.asset_to_world @ photo_camera(posed, 1.0).camera_to_world
    camera = replace(photo_camera(posed, 1.0), camera_to_world=matrix)
    return tmp_path / "field.safetensors", Comparison(View((placed,)), View((photo,)), "side_by_side"), camera


def test_like_finds_the_photo_that_a_field_was_compared_with(tmp_path, photographed):
    file, comparison, camera = photographed
    overlaid = View((*comparison.a.layers, replace(comparison.b.layers[0], asset=_half(comparison))))
    for subject in (comparison, overlaid):
        recipe = capture(subject, camera, CaptureSettings(64, 32), tmp_path / "a.png")
        assert recipe["command"].startswith("h3d render ball --like "), "photos are no scene files to name"
        assert pixels(tmp_path / "a.png")[:, 34:].std() > 20, "the photo is to be seen"
        # The snapshot has become a file, which is what the recipe names from now on.
        render_command(RenderConfig((file,), tmp_path / "b.png", like=tmp_path / "a.png"))
        np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
        render_command(RenderConfig((file,), tmp_path / "c.png", like=tmp_path / "b.png"))
        assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _half(comparison: Comparison) -> PhotoField:
    photo = comparison.b.layers[0].asset
    assert isinstance(photo, PhotoField)
    return replace(photo, opacity=0.5)


def test_a_data_set_that_has_gone_moved_or_changed_is_said_in_a_sentence(tmp_path, photographed):
    file, comparison, camera = photographed
    capture(comparison, camera, CaptureSettings(64, 32), tmp_path / "a.png")
    (tmp_path / "ball").rename(tmp_path / "moved")
    again = RenderConfig((file,), tmp_path / "b.png", like=tmp_path / "a.png")
    gone = (
        f"the picture shows 000.png of a data set, {tmp_path}/ball, which is not there; say by --data where it lies now"
    )
    with pytest.raises(ValueError, match=re.escape(gone)):
        render_command(again)
    render_command(replace(again, data=tmp_path / "moved"))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match="of a data set that cannot be read: "):
        render_command(replace(again, data=tmp_path))
    (photo,) = (tmp_path / "moved" / "test").iterdir()
    photo.write_bytes((tmp_path / "moved" / "train" / "001.png").read_bytes())
    with pytest.raises(ValueError, match="has changed since: the photo, its pose or its lens is another"):
        render_command(replace(again, data=tmp_path / "moved"))
    other = write_posed_ball(tmp_path / "other", cameras=4, test_cameras=1, size=24)
    for split in ("train", "test"):
        settings = other / f"transforms_{split}.json"
        settings.write_text(settings.read_text().replace("/00", "/no00"))
        for picture in (other / split).iterdir():
            picture.rename(picture.with_name(f"no{picture.name}"))
    with pytest.raises(ValueError, match="other has no such photo; give that data set by --data"):
        render_command(replace(again, data=other))
    with pytest.raises(ValueError, match="--data: it goes with --like"):
        render_command(replace(again, like=None, data=other))
    assert not (tmp_path / "b.png").exists()


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
