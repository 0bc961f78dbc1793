"""Laws of the CPU kernels: the same bits however the work is cut, no row that can hurt, and a flag that stops them."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterizer_reference import random_scene, render

from h3d.renderers import (
    CancelFlag,
    Cancelled,
    RasterOptions,
    Rendered,
    SplatScene,
    backends,
    num_threads,
    rasterize_scenes,
    set_num_threads,
)
from h3d.renderers.cameras import Camera, look_at

VIEW = look_at(np.array([0.3, -0.2, -3.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]), width=101, height=67)
ALL = RasterOptions(background=(0.1, 0.2, 0.3), contributions=True, top_id=True)
PICTURES = ("rgb", "alpha", "depth", "features", "top_id")
TOTALS = ("contribution_sum", "contribution_max", "contribution_count")
SHAPES = ["splats", "points", "ellipsoids", "rings"]


def draw(scenes, options: RasterOptions = ALL, view: Camera = VIEW, cancel: CancelFlag | None = None) -> Rendered:
    return rasterize_scenes(
        scenes, view.viewmat[None], view.K[None], view.width, view.height, options=options, cancel=cancel
    )


def assert_same(a: Rendered, b: Rendered, names=PICTURES + TOTALS) -> None:
    for name in names:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert torch.equal(x, y), name


def total(rendered: Rendered, name: str) -> torch.Tensor:
    value = getattr(rendered, name)
    assert isinstance(value, torch.Tensor)
    return value


def rows(scene: SplatScene, order: torch.Tensor) -> SplatScene:
    return scene.mapped(lambda array: array[order])


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.sampled_from(SHAPES), antialiased=st.booleans())
def test_the_order_of_rows_changes_no_bit(seed, shape, antialiased):
    scene = random_scene(seed, 300, channels=2, size=0.1)
    options = replace(ALL, shape=shape, antialiased=antialiased)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(300))
    plain, shuffled = draw([scene], options), draw([rows(scene, order)], options)
    assert_same(plain, shuffled, ("rgb", "alpha", "depth", "features"))
    assert torch.equal(total(plain, "contribution_sum")[order], total(shuffled, "contribution_sum"))
    top = shuffled.top_id
    assert top is not None and plain.top_id is not None
    assert torch.equal(torch.where(top >= 0, order[top.long().clamp_min(0)].int(), top), plain.top_id)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), shape=st.sampled_from(SHAPES))
def test_a_rectangle_is_the_crop_of_the_whole_bit_for_bit(data, shape):
    scene, options = random_scene(1, 400, channels=2), replace(ALL, shape=shape)
    x0, y0 = data.draw(st.integers(0, 100)), data.draw(st.integers(0, 66))
    x1, y1 = data.draw(st.integers(x0 + 1, 101)), data.draw(st.integers(y0 + 1, 67))
    whole, part = draw([scene], options), draw([scene], replace(options, rect=(x0, y0, x1, y1)))
    for name in PICTURES:
        assert torch.equal(getattr(part, name), getattr(whole, name)[:, y0:y1, x0:x1]), name


def test_threads_and_repetition_change_no_bit():
    scenes = [random_scene(seed, 20_000, channels=1, size=0.05) for seed in (1, 2)]
    before = num_threads()
    try:
        set_num_threads(1)
        alone = draw(scenes)
        for threads in (1, 2, 5):
            set_num_threads(threads)
            assert num_threads() == threads
            assert_same(alone, draw(scenes))
            assert_same(alone, draw(scenes))
    finally:
        set_num_threads(before)


def test_bytes_are_the_rounded_floats():
    scene = random_scene(2, 200)
    floats, integers = draw([scene]), draw([scene], replace(ALL, rgb_dtype="uint8"))
    assert integers.rgb.dtype == torch.uint8
    assert torch.equal(integers.rgb, (floats.rgb.clamp(0, 1) * 255).round().to(torch.uint8))
    assert_same(floats, integers, ("alpha", "depth"))


def test_what_is_asked_for_changes_no_other_picture():
    scene = random_scene(3, 300, channels=3)
    bare = draw([replace(scene, features=None)], RasterOptions(background=ALL.background, depth=False))
    assert bare.depth is None and bare.features is None and bare.top_id is None and bare.contribution_sum is None
    assert_same(bare, draw([scene]), ("rgb", "alpha"))


def test_contributions_sum_to_the_sum_of_alpha():
    rendered = draw([random_scene(4, 300), random_scene(5, 100)])
    assert rendered.contribution_sum is not None and rendered.contribution_max is not None
    total = rendered.contribution_sum.double().sum().item()
    assert total == pytest.approx(rendered.alpha.double().sum().item(), rel=1e-5)
    assert (rendered.contribution_max <= rendered.contribution_sum + 1e-6).all()


def test_contributions_add_up_over_cameras():
    scene, other = random_scene(6, 200), look_at(np.array([2.0, 0, -2]), np.zeros(3), np.array([0.0, -1, 0]))
    views = [VIEW, other.resized(VIEW.width, VIEW.height)]
    viewmats, Ks = np.stack([v.viewmat for v in views]), np.stack([v.K for v in views])
    both = rasterize_scenes([scene], viewmats, Ks, VIEW.width, VIEW.height, options=ALL)
    one, two = (draw([scene], view=v) for v in views)
    assert both.contribution_sum is not None and both.contribution_max is not None
    torch.testing.assert_close(both.contribution_sum, total(one, "contribution_sum") + total(two, "contribution_sum"))
    assert torch.equal(
        both.contribution_max, torch.maximum(total(one, "contribution_max"), total(two, "contribution_max"))
    )


def test_maximum_and_top_row_are_those_of_the_formulas():
    scene = random_scene(7, 60)
    expected = render([scene], VIEW.viewmat, VIEW.K, VIEW.width, VIEW.height, ALL)
    rendered = draw([scene])
    assert rendered.contribution_max is not None and rendered.top_id is not None
    np.testing.assert_allclose(rendered.contribution_max.numpy(), expected.contribution_max, atol=1 / 255)
    clear = expected.top_margin > 0.01
    assert clear.mean() > 0.2
    assert np.array_equal(rendered.top_id[0].numpy()[clear], expected.top_id[clear])
    assert (rendered.top_id[rendered.alpha == 0] == -1).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacities", "sh", "features"])
@pytest.mark.parametrize("shape", ["splats", "ellipsoids"])
def test_rows_that_are_not_finite_are_left_out(field, value, shape):
    scene, options = random_scene(8, 100, channels=2), replace(ALL, shape=shape)
    bad = torch.arange(100) % 4 == 1
    spoiled = getattr(scene, field).clone()
    spoiled[bad] = value
    hidden = draw([replace(scene, visible=~bad)], options)
    assert_same(hidden, draw([replace(scene, **{field: spoiled})], options))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_extreme_rows_neither_crash_nor_poison_the_picture(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(seed, 64, channels=1)
    wild = np.array([0.0, -0.0, 1e-38, 1e-20, 1e10, 1e20, 3e38, -1.0, -1e30], np.float32)
    fields = {}
    for name in ("means", "quats", "scales", "opacities"):
        values = getattr(scene, name).numpy().copy()
        spots = rng.random(values.shape) < 0.15
        values[spots] = rng.choice(wild, spots.sum())
        fields[name] = torch.from_numpy(values)
    for shape in SHAPES:
        rendered = draw([replace(scene, **fields)], replace(ALL, shape=shape))
        for name in ("rgb", "alpha", "depth", "features"):
            assert torch.isfinite(getattr(rendered, name)).all(), (shape, name)
        assert rendered.alpha.min() >= 0.0 and rendered.alpha.max() <= 1.0


def test_splats_that_fill_the_screen_are_drawn_in_bands_of_bounded_memory():
    count, view = 12_000, VIEW.resized(1280, 720)
    scene = random_scene(9, count, degree=0, size=60.0)
    scene = replace(scene, opacities=torch.full((count,), 0.01), means=scene.means * 0.3)
    options = RasterOptions(contributions=True)
    rendered = draw([scene], options, view)
    assert rendered.stats is not None
    # More entries than fit the budget of 2^25 of eight bytes, so there are bands, and all scratch stays near it.
    assert rendered.stats["intersections"] > 2**25
    assert rendered.stats["scratch_bytes"] < 2**25 * 8 * 2.5
    part = draw([scene], replace(options, rect=(640, 352, 656, 368)), view)
    assert torch.equal(part.rgb, rendered.rgb[:, 352:368, 640:656])
    assert rendered.contribution_sum is not None
    total = rendered.contribution_sum.double().sum().item()
    assert total == pytest.approx(rendered.alpha.double().sum().item(), rel=1e-3)


def test_scratch_follows_the_scene_down_again():
    backends.kernels().release_scratch()
    large, small = random_scene(10, 200_000, degree=0, size=0.01), random_scene(10, 1000, degree=0)
    stats = draw([large], RasterOptions()).stats
    assert stats is not None
    peak = stats["scratch_bytes"]
    assert peak < 120 * 200_000 + 2**20
    for _ in range(70):
        stats = draw([small], RasterOptions()).stats
    assert stats is not None and stats["scratch_bytes"] < peak / 10


def test_a_set_flag_stops_the_call_and_a_cleared_one_does_not():
    flag = CancelFlag()
    flag.set()
    assert flag.is_set()
    with pytest.raises(Cancelled):
        draw([random_scene(0)], cancel=flag)
    flag.clear()
    assert_same(draw([random_scene(0)], cancel=flag), draw([random_scene(0)]))


def test_a_flag_set_from_another_thread_stops_a_long_call():
    scene = random_scene(11, 40_000, degree=0, size=20.0)
    scene = replace(scene, opacities=torch.full((40_000,), 0.008))
    flag, outcome = CancelFlag(), []

    def long_call() -> None:
        try:
            rasterize_scenes(
                [scene] * 20, VIEW.viewmat[None], VIEW.K[None], 1280, 720, options=RasterOptions(), cancel=flag
            )
            outcome.append("done")
        except Cancelled:
            outcome.append("cancelled")

    thread = threading.Thread(target=long_call)
    thread.start()
    flag.set()
    thread.join(timeout=60)
    assert outcome == ["cancelled"]


def test_calls_from_many_threads_take_turns_and_do_not_mix():
    scenes = [random_scene(seed, 2000, size=0.1) for seed in range(4)]
    alone = [draw([scene]) for scene in scenes]
    mismatches: list[int] = []

    def loop(i: int) -> None:
        for _ in range(8):
            try:
                assert_same(alone[i], draw([scenes[i]]))
            except AssertionError:
                mismatches.append(i)

    threads = [threading.Thread(target=loop, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert mismatches == []


def test_points_are_opaque_discs_of_their_size():
    one = SplatScene(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.01), torch.ones(1), torch.ones(1, 1, 3)
    )
    view = look_at(np.array([0.0, 0, -3]), np.zeros(3), np.array([0.0, -1, 0]), width=64, height=64)
    for diameter in (1.0, 6.0, 20.0):
        alpha = draw([one], RasterOptions(shape="points", point_size=diameter), view).alpha[0]
        assert alpha.sum().item() == pytest.approx(np.pi * diameter**2 / 4, rel=0.15, abs=0.7)
        assert alpha[32, 32] > 0.2


def test_ellipsoids_are_lit_solids_and_rings_are_hollow():
    scale = torch.tensor([[0.3, 0.15, 0.2]])
    one = SplatScene(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), scale, torch.ones(1), torch.ones(1, 1, 3))
    view = look_at(np.array([0.0, 0, -3]), np.zeros(3), np.array([0.0, -1, 0]), width=96, height=96)
    solid = draw([one], RasterOptions(shape="ellipsoids"), view)
    inside = solid.alpha[0] > 0.5
    brightness = solid.rgb[0].mean(-1)[inside]
    assert solid.alpha[0].unique().numel() == 2
    assert brightness.max() > 1.8 * brightness.min()
    assert solid.rgb[0, 40, 40].mean() > solid.rgb[0, 56, 56].mean()  # the light comes from the upper left
    ring = draw([one], RasterOptions(shape="rings"), view)
    assert ring.alpha[0, 48, 48] == 0.0
    assert 0 < (ring.alpha[0] > 0).sum() < 0.4 * inside.sum()


def test_faint_gaussians_are_not_drawn_as_solids():
    scene = random_scene(12, 50)
    faint = scene.opacities < 0.2
    assert faint.any() and not faint.all()
    options = replace(ALL, shape="ellipsoids")
    assert_same(draw([scene], options), draw([replace(scene, visible=~faint)], options))
