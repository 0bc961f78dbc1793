"""Proves that noisy looks add up to their mean, that both sides of a comparison get the same time, and that pictures of
path-traced scenes are means of passes: on a screen as long as nothing changes, in files as many as fit their time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from surface_scenes import write_scene

from h3d.app.figures import compare, images
from h3d.app.figures.capture import CaptureSettings, capture
from h3d.app.figures.display import Display
from h3d.app.figures.passes import FixedPasses, GrowingPasses, offset
from h3d.app.figures.pictures import View
from h3d.app.figures.render_verb import RenderConfig, render_command
from h3d.app.workspace.scene import Layer
from h3d.models.field_view import FieldView
from h3d.models.path_traced import PathTracedScene
from h3d.models.surface_scene import read_scene
from h3d.renderers import CancelFlag, Cancelled
from h3d.renderers.fields import RenderedRays


def look_taking(seconds: float):
    """A look whose passes show their number, in a picture of which pixel 1 is seen by every other pass alone."""

    def look(number: int) -> RenderedRays:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        alpha = torch.tensor([1.0, float(number % 2 == 0)])
        return RenderedRays(number * alpha[:, None].expand(2, 3), alpha, 5.0 * alpha, torch.ones(2, dtype=torch.int32))

    return look


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    scene = read_scene(write_scene(tmp_path_factory.mktemp("scene") / "room.scene.json"))
    return Layer(1, "room", PathTracedScene(scene))


def camera_of(layer: Layer, width: int = 60, height: int = 40):
    assert isinstance(layer.asset, PathTracedScene)
    return layer.asset.scene.camera.resized(width, height)


def test_the_mean_weighs_depth_by_what_is_there():
    seen = FixedPasses(4).mean("key", 1.0, look_taking(0.0))
    assert torch.allclose(seen.rgb[:, 0], torch.tensor([1.5, 0.5]))
    assert torch.allclose(seen.alpha, torch.tensor([1.0, 0.5]))
    assert torch.allclose(seen.depth, torch.tensor([5.0, 5.0])) and seen.counts.tolist() == [4, 4]


def test_sums_grow_while_their_key_stays_and_end_with_their_time():
    passes, look = GrowingPasses(), look_taking(0.01)
    counts = []
    for _ in range(4):
        passes.begin(0.5)
        passes.mean("key", 1.0, look)
        counts.append(passes.report[0][0])
    assert counts[0] == 1 and counts[1] > 10 and counts[1] < counts[2] < counts[3]
    assert not passes.unfinished and passes.report[0][1] == pytest.approx(0.5, abs=0.1)
    passes.begin(0.5)
    passes.mean("key", 1.0, look)
    assert passes.report[0][0] == counts[3], "a finished picture is not worked on"
    passes.begin(0.5)
    passes.mean("other", 1.0, look)
    assert passes.report == [(1, pytest.approx(0.01, abs=0.02))] and passes.unfinished and not passes.refines


def test_both_sides_get_the_same_time_whatever_a_pass_costs():
    passes = GrowingPasses()
    for _ in range(3):
        passes.begin(1.0)
        passes.mean("a", 1.0, look_taking(0.004))
        passes.mean("b", 1.0, look_taking(0.02))
        passes.mean("a quarter", 0.25, look_taking(0.004))
    (few, a), (many, b), (_, quarter) = sorted(passes.report, key=lambda entry: -entry[1])
    assert a == pytest.approx(b, rel=0.15) and abs(few - many) > min(few, many)
    assert quarter == pytest.approx(0.25 * a, rel=0.3)


def test_a_cancelled_pass_leaves_the_sum_as_it_was():
    passes, flag = GrowingPasses(), CancelFlag()

    def look(number: int) -> RenderedRays:
        if number == 3:
            raise Cancelled
        return look_taking(0.001)(number)

    passes.begin(1.0)
    passes.mean("key", 1.0, look)
    passes.begin(1.0)
    with pytest.raises(Cancelled):
        passes.mean("key", 1.0, look)
    passes.begin(1.0)
    seen = passes.mean("key", 1.0, look_taking(0.001))
    assert passes.report[0][0] > 3 and passes.refines and not flag.is_set()
    assert float(seen.rgb[0, 0]) == pytest.approx((passes.report[0][0] - 1) / 2)


def test_passes_look_through_different_points_of_a_pixel():
    points = np.array([offset(number) for number in range(64)])
    assert tuple(points[0]) == (0.0, 0.0) and len(np.unique(points, axis=0)) == 64
    assert np.abs(points).max() <= 0.5 and np.abs(points.mean(axis=0)).max() < 0.03


def test_a_still_picture_gets_less_noisy_and_a_moved_camera_begins_anew(layer: Layer):
    passes, view, camera = GrowingPasses(), View((layer,)), camera_of(layer)
    wanted = images.render(view, camera, passes=FixedPasses(512)).pixels.astype(float)
    errors = []
    for _ in range(3):
        passes.begin(0.4)
        picture = images.render(view, camera, passes=passes)
        errors.append(float(np.square(picture.pixels - wanted).mean()))
    assert errors[2] < 0.2 * errors[0]
    passes.begin(0.4)
    images.render(view, replace(camera, fov_y_radians=0.9), passes=passes)
    assert not passes.refines


def test_exposure_brightens_what_is_summed_already(layer: Layer):
    passes, camera = GrowingPasses(), camera_of(layer)
    for exposure in (0.0, 1.0):
        passes.begin(0.2)
        picture = images.render(View((layer,), Display(exposure=exposure)), camera, passes=passes)
    assert passes.refines
    assert float(np.median(picture.pixels)) > 0


def test_tiles_of_a_picture_join_without_seams(layer: Layer):
    drawer = images.painter(View((layer,)), camera_of(layer), passes=FixedPasses(3))
    whole, part = drawer.tile(), drawer.tile((20, 10, 50, 30))
    assert np.array_equal(part.rgb, whole.rgb[10:30, 20:50])


def test_a_capture_has_as_many_passes_as_fit_its_time(layer: Layer, tmp_path: Path):
    camera = camera_of(layer)
    noise = {}
    for seconds in (0.0, 0.5):
        drawer = images.painter(View((layer,), Display(path_seconds=seconds)), camera)
        assert isinstance(drawer.passes, FixedPasses)
        noise[seconds] = drawer.passes.count
    assert noise[0.0] == 1 and noise[0.5] > 20
    path = tmp_path / "a.png"
    capture(View((layer,), Display(path_seconds=0.1)), camera, CaptureSettings(width=60, height=40, samples=2), path)
    assert path.stat().st_size > 500


def test_a_comparison_of_with_and_without_the_cache_shares_its_sums(layer: Layer):
    plain = Display(field=FieldView(cached=False))
    comparison = compare.Comparison(View((layer,)), View((layer,), plain), "side_by_side", line=False)
    passes = GrowingPasses()
    for _ in range(2):
        passes.begin(0.4)
        compare.painter(comparison, camera_of(layer), passes=passes).picture()
    (_, a), (_, b) = passes.report
    assert a == pytest.approx(b, rel=0.3)


def test_h3d_render_looks_from_where_the_scene_says(tmp_path: Path):
    path = write_scene(tmp_path / "room.scene.json")
    config = RenderConfig((path,), tmp_path / "a.png", width=60, height=40, path_seconds=0.2, cached=False)
    recipe = render_command(config)
    assert np.allclose(np.array(recipe["camera"]["camera_to_world"])[:3, 3], [0, 0, 0.9])
    assert recipe["view"]["display"]["path_seconds"] == 0.2 and recipe["view"]["display"]["field"]["cached"] is False
    again = replace(config, output=tmp_path / "b.png", like=tmp_path / "a.png")
    assert render_command(again)["view"] == recipe["view"]
