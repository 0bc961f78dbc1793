"""Proves that captures are the whole picture whatever the tiles, hold their recipe, and stay within bounded memory."""

import json
import shlex
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from h3d.app.figures import capture as captures
from h3d.app.figures import compare, images
from h3d.app.figures.capture import CaptureSettings, capture
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.images import Tile, View
from h3d.app.figures.recipe import RecipeError, read_recipe, subject_from
from h3d.renderers import CancelFlag, Cancelled
from h3d.renderers.cameras import camera_from_json


def pixels_of(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def subjects(view: View) -> dict[str, View | Comparison]:
    other = View(view.layers[:1], Display(sh_degree=0))
    modes = ("rgb", "depth", "alpha", "normals", "contribution", "top_id")
    views = {mode: replace(view, display=replace(view.display, mode=mode)) for mode in modes}
    return {**views, **{m: Comparison(view, other, mode=m) for m in ("wipe", "side_by_side", "difference", "flip")}}


@pytest.mark.parametrize("name", ["rgb", "depth", "contribution", "top_id", "wipe", "side_by_side", "difference"])
def test_tiles_give_the_same_file_as_one_piece(tmp_path, monkeypatch, view, camera, name):
    subject = subjects(view)[name]
    settings = CaptureSettings(150, 93, samples=2, background="transparent", scale_bar=True)
    capture(subject, camera, settings, tmp_path / "whole.png")
    monkeypatch.setattr(captures, "TILE_POINTS", 2 * 2 * 32 * 48)
    assert captures.tile_size(150, 93, 2) == (16, 96)
    capture(subject, camera, settings, tmp_path / "tiles.png")
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / "tiles.png").read_bytes()


def test_an_opaque_capture_is_the_picture_on_the_screen(tmp_path, view, camera):
    view = replace(view, display=Display(background=(0.3, 0.2, 0.1)))
    capture(view, camera, CaptureSettings(150, 93, background=(0.3, 0.2, 0.1)), tmp_path / "a.png")
    assert np.abs(pixels_of(tmp_path / "a.png").astype(int) - images.render(view, camera).pixels).max() <= 1


@pytest.mark.parametrize("background", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_a_transparent_capture_over_a_colour_is_the_opaque_capture(tmp_path, view, camera, background):
    capture(view, camera, CaptureSettings(150, 93, background="transparent"), tmp_path / "clear.png")
    capture(view, camera, CaptureSettings(150, 93, background=background), tmp_path / "opaque.png")
    clear, opaque = pixels_of(tmp_path / "clear.png") / 255.0, pixels_of(tmp_path / "opaque.png") / 255.0
    alpha = clear[..., 3:]
    composed = clear[..., :3] * alpha + (1.0 - alpha) * np.array(background)
    rounded = np.round(composed * 255) / 255
    assert np.abs(rounded - opaque).max() <= 1.0 / 255 + 1e-9
    assert 0.05 < (alpha > 0).mean() and (alpha == 0).any()


def test_sixteen_bits_hold_more_than_eight(view, camera):
    tile = images.render_float(view, camera)
    fine = captures.quantized(tile, CaptureSettings(150, 93, bit_depth=16)).astype(np.float64) / 65535
    coarse = captures.quantized(tile, CaptureSettings(150, 93)).astype(np.float64) / 255
    exact = np.clip(tile.rgb.astype(np.float64), 0, 1)
    assert np.abs(fine - exact).max() < 1e-5
    assert 1e-3 < np.abs(coarse - exact).max() < 2.1e-3


def test_colours_brighter_than_their_alpha_are_cut_not_wrapped():
    tile = Tile(np.full((1, 1, 3), 0.9, np.float32), np.full((1, 1), 0.5, np.float32))
    got = captures.quantized(tile, CaptureSettings(1, 1, background="transparent"))
    assert got.tolist() == [[[255, 255, 255, 128]]]


@pytest.mark.parametrize("color, outside", [("white", [255] * 4), ("black", [0, 0, 0, 255]), ("transparent", [0] * 4)])
def test_margins_surround_the_picture(tmp_path, view, camera, color, outside):
    capture(view, camera, CaptureSettings(150, 93), tmp_path / "plain.png")
    capture(view, camera, CaptureSettings(150, 93, margin=11, margin_color=color), tmp_path / "margin.png")
    plain, framed = pixels_of(tmp_path / "plain.png"), pixels_of(tmp_path / "margin.png")
    assert framed.shape == (93 + 22, 150 + 22, 4 if color == "transparent" else 3)
    assert np.array_equal(framed[11:-11, 11:-11, :3], plain)
    border = np.ones(framed.shape[:2], bool)
    border[11:-11, 11:-11] = False
    assert (framed[border] == outside[: framed.shape[2]]).all()


def test_depth_is_saved_as_floats_with_its_recipe_beside_it(tmp_path, monkeypatch, view, camera):
    settings = CaptureSettings(150, 93)
    recipe = capture(view, camera, settings, tmp_path / "whole.npy")
    depth = np.load(tmp_path / "whole.npy", allow_pickle=False)
    expected = images.render_float(view, camera, depth=True)
    assert depth.dtype == np.float32 and depth.shape == (93, 150)
    assert expected.depth is not None and np.array_equal(depth, expected.depth)
    assert read_recipe(tmp_path / "whole.npy") == json.loads(json.dumps(recipe))
    monkeypatch.setattr(captures, "TILE_POINTS", 16 * 32)
    capture(view, camera, settings, tmp_path / "tiles.npy")
    assert (tmp_path / "tiles.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize("name", ["rgb", "depth", "top_id", "wipe", "side_by_side", "difference", "flip"])
def test_following_the_recipe_gives_the_same_file(tmp_path, view, camera, name):
    settings = CaptureSettings(120, 70, samples=2, margin=2)
    capture(subjects(view)[name], camera, settings, tmp_path / "a.png")
    recipe = read_recipe(tmp_path / "a.png")
    again = subject_from(recipe, view.layers)
    stored = {**recipe["capture"], "background": tuple(recipe["capture"]["background"])}
    capture(again, camera_from_json(recipe["camera"]), CaptureSettings(**stored), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_recipe_holds_scenes_camera_and_settings_but_no_path(tmp_path, layers, camera):
    named = replace(layers[0], path=tmp_path / "secret folder" / "one.ply", sha256="ab" * 32)
    settings = CaptureSettings(64, 40, samples=3, background=(1.0, 1.0, 1.0))
    capture(View((named,)), camera, settings, tmp_path / "a.png")
    recipe = read_recipe(tmp_path / "a.png")
    assert recipe["scenes"][0]["file"] == "one.ply" and recipe["scenes"][0]["sha256"] == "ab" * 32
    assert recipe["capture"]["samples"] == 3 and recipe["camera"]["width"] == 64
    assert recipe["view"]["display"]["background"] == [1.0, 1.0, 1.0]
    assert recipe["backend"] in ("cpu", "cuda") and recipe["version"]
    assert recipe["command"].startswith("h3d render one.ply -o OUT.png --camera '{")
    assert str(tmp_path) not in json.dumps(recipe) and "secret" not in json.dumps(recipe)


def test_a_recipe_for_other_scenes_is_refused_by_name(tmp_path, view, camera):
    capture(view, camera, CaptureSettings(32, 20), tmp_path / "a.png")
    recipe = read_recipe(tmp_path / "a.png")
    with pytest.raises(RecipeError, match="made of two with sha256 .*; the scenes given .one. are other files"):
        subject_from(recipe, view.layers[:1])
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(RecipeError, match=r"plain\.png: the picture carries no recipe"):
        read_recipe(tmp_path / "plain.png")
    del recipe["view"]["display"]
    with pytest.raises(RecipeError, match="cannot be followed"):
        subject_from(recipe, view.layers)


def test_progress_rises_to_one(tmp_path, monkeypatch, view, camera):
    monkeypatch.setattr(captures, "TILE_POINTS", 16 * 64)
    seen: list[float] = []
    capture(view, camera, CaptureSettings(150, 93), tmp_path / "a.png", progress=seen.append)
    assert len(seen) == 18 and seen == sorted(seen) and seen[-1] == 1.0


def test_wrong_settings_and_names_are_told(tmp_path, view, camera):
    with pytest.raises(ValueError, match="width=16385; must be from 1 to 16384"):
        CaptureSettings(width=16385)
    with pytest.raises(ValueError, match="samples=5"):
        CaptureSettings(samples=5)
    with pytest.raises(ValueError, match=r"out\.jpg: a capture is written as \.png .* or \.npy"):
        capture(view, camera, CaptureSettings(8, 8), tmp_path / "out.jpg")
    with pytest.raises(ValueError, match="a comparison has no depth"):
        capture(Comparison(view, view), camera, CaptureSettings(8, 8), tmp_path / "out.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_is_captured_as_it_is_rendered(tmp_path, view, camera):
    comparison = Comparison(view, View(view.layers[:1]), labels=("all", "one"))
    capture(comparison, camera, CaptureSettings(150, 93), tmp_path / "a.png")
    screen = compare.render(comparison, camera).pixels
    assert np.abs(pixels_of(tmp_path / "a.png").astype(int) - screen).max() <= 1


MEASURE = textwrap.dedent(
    """
    import resource, sys
    from dataclasses import replace
    from pathlib import Path
    import torch
    from h3d.app.figures.capture import CaptureSettings, capture
    from h3d.app.figures.framing import frame_camera
    from h3d.app.figures.pictures import View
    from h3d.app.workspace.scene import Layer
    from h3d.models.gaussians import from_rows
    n = 50
    random = torch.Generator().manual_seed(0)
    rows = from_rows(means=torch.randn(n, 3, generator=random), quats=torch.randn(n, 4, generator=random),
                     log_scales=torch.full((n, 3), -2.5), logit_opacities=torch.zeros(n),
                     sh=torch.randn(n, 1, 3, generator=random))
    layer = Layer(1, "tiny", rows)
    path, width, height = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    camera = frame_camera([layer], width=width, height=height)
    capture(View((layer,)), camera, CaptureSettings(64, 64), path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capture(View((layer,)), camera, CaptureSettings(width, height, background="transparent"), path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) // 1024)
    """
)


@pytest.mark.parametrize("height", [1024, pytest.param(16384, marks=pytest.mark.slow)])
def test_a_16k_wide_capture_stays_in_bounded_memory(tmp_path, height):
    pytest.importorskip("resource")
    target = tmp_path / "big.png"
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(target), "16384", str(height)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    # The picture alone, as floats, would take 320 MB at the small height and 5 GB at the large one.
    assert int(run.stdout) < 300, f"{run.stdout} MiB more than before"
    # Pillow takes a picture of this size for an attack: the header says how large it is.
    assert struct.unpack(">II", target.read_bytes()[16:24]) == (16384, height)


def test_a_cancelled_capture_leaves_no_file(tmp_path, monkeypatch, view, camera):
    monkeypatch.setattr(captures, "TILE_POINTS", 16 * 64)
    cancel = CancelFlag()

    def stop(share: float) -> None:
        if share > 0.3:
            cancel.set()

    with pytest.raises(Cancelled):
        capture(view, camera, CaptureSettings(150, 93), tmp_path / "a.png", progress=stop, cancel=cancel)
    assert list(tmp_path.iterdir()) == []


def test_the_command_to_paste_names_the_scene_where_it_lies(tmp_path, layers, camera):
    path = tmp_path / "with space" / "one.ply"
    line = captures.command_line(View((replace(layers[0], path=path),)), camera, CaptureSettings(64, 40))
    words = shlex.split(line)
    assert words[:5] == ["h3d", "render", str(path), "-o", "OUT.png"]
    moved = captures.command_line(View(layers), camera, CaptureSettings(64, 40), "shot.png")
    assert moved == "h3d render one two --like shot.png -o AGAIN.png"
