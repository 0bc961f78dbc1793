"""Proves the gradients of the rasteriser: those of float64 autograd and of finite differences, zeros where nothing was
drawn; the same bits at every number of threads and in bands; and that bad arguments are told apart."""

from __future__ import annotations

from dataclasses import replace

import differentiable_reference as reference
import numpy as np
import pytest
import torch
from rasterizer_reference import random_scene

from h3d.renderers import (
    CancelFlag,
    Cancelled,
    RasterOptions,
    Rendered,
    num_threads,
    rasterize_gaussians,
    set_num_threads,
)
from h3d.renderers.cameras import look_at
from h3d.renderers.cpu import differentiable_gaussians as twin
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training

ROWS = ("means", "quats", "scales", "opacities", "sh", "features")
VIEW = look_at(np.array([0.3, -0.2, -3.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]), width=53, height=38)
CLOSE = look_at(np.array([0.2, 0.1, -0.8]), np.zeros(3), np.array([0.0, -1.0, 0.0]), width=53, height=38)
BACKGROUND = RasterOptions(background=(0.3, 0.6, 0.1))
CASES = {
    "classic": (BACKGROUND, VIEW, 3),
    "antialiased": (replace(BACKGROUND, antialiased=True), VIEW, 3),
    "constant_colour": (BACKGROUND, VIEW, 0),
    "degree_1": (BACKGROUND, VIEW, 1),
    "degree_2_of_3": (replace(BACKGROUND, sh_degree=2), VIEW, 3),
    "scaled": (replace(BACKGROUND, splat_scale=0.6, eps2d=0.05), VIEW, 2),
    "close_with_clamped_jacobians": (BACKGROUND, CLOSE, 3),
    "rectangle": (replace(BACKGROUND, rect=(5, 3, 41, 30)), VIEW, 3),
    "opaque": (BACKGROUND, VIEW, 1),
}


def parameters(seed: int, *, count: int = 60, degree: int = 3, channels: int = 0, size: float = 0.25) -> dict:
    scene = random_scene(seed, count, degree=degree, channels=channels, size=size)
    return {name: getattr(scene, name) for name in ROWS if getattr(scene, name) is not None}


def leaves(rows: dict, dtype=torch.float32) -> dict:
    return {name: value.to(dtype).clone().requires_grad_() for name, value in rows.items()}


def cameras(view, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(view.viewmat).to(dtype).clone().requires_grad_(), torch.from_numpy(view.K).double()


def draw(rows: dict, view, options: RasterOptions, cancel: CancelFlag | None = None, viewmat=None) -> TrainingPictures:
    return rasterize_for_training(
        **rows,
        viewmats=torch.from_numpy(view.viewmat)[None] if viewmat is None else viewmat[None],
        Ks=torch.from_numpy(view.K)[None],
        width=view.width,
        height=view.height,
        options=options,
        cancel=cancel,
    )


def draw_plain(rows: dict, view, options: RasterOptions) -> Rendered:
    cameras = {"viewmats": view.viewmat[None], "Ks": view.K[None], "width": view.width, "height": view.height}
    return rasterize_gaussians(**rows, **cameras, options=replace(options, backend="cpu"))


def weights_like(*pictures: torch.Tensor, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(picture.shape, generator=generator, dtype=torch.float64) for picture in pictures]


def loss_of(pictures, weights) -> torch.Tensor:
    values = [pictures.rgb, pictures.alpha, pictures.depth, pictures.features]
    return sum(((v * w.to(v)).sum() for v, w in zip(values, weights, strict=False) if v is not None), torch.zeros(()))


def assert_close(ours: torch.Tensor, true: torch.Tensor, name: str, tolerance: float = 3e-5) -> None:
    error = (ours.double() - true).norm() / (true.norm() + 1e-12)
    assert float(true.norm()) > 0, name
    assert float(error) < tolerance, f"{name}: relative error {float(error):.2e}"


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_is_that_of_float64_autograd(case: str):
    options, view, degree = CASES[case]
    rows = parameters(3, degree=degree, channels=3, size=0.6 if case == "opaque" else 0.25)
    if case == "opaque":
        # Pixels that are finished, alphas that are clamped, and opacities above 1.
        rows["opacities"] = torch.linspace(0.9, 1.05, len(rows["means"]))
    learnt, viewmat = leaves(rows), cameras(view)[0]
    seen = draw(learnt, view, options, viewmat=viewmat)
    true_rows, (true_viewmat, K) = leaves(rows, torch.float64), cameras(view)
    expected = reference.render(true_rows, true_viewmat, K, view.width, view.height, options)
    x0, y0, x1, y1 = options.rect or (0, 0, view.width, view.height)
    whole = [expected.rgb, expected.alpha, expected.depth, expected.features]
    crops = [picture[y0:y1, x0:x1] for picture in whole]
    assert case != "opaque" or float((crops[1] > 0.999).double().mean()) > 0.2
    weights = weights_like(*crops)
    # Where alpha hardly is, depth hardly means anything: its gradient grows as 1 / alpha.
    weights[2] = weights[2] * (crops[1].detach() > 0.05)
    sum((p * w).sum() for p, w in zip(crops, weights, strict=True)).backward()  # type: ignore[reportAttributeAccessIssue]
    loss_of(seen.pictures, [w[None] for w in weights]).backward()
    for name in rows:
        assert_close(learnt[name].grad, true_rows[name].grad, name)
    assert viewmat.grad is not None and true_viewmat.grad is not None
    assert_close(viewmat.grad, true_viewmat.grad, "viewmat")
    per_pixel = expected.means_per_pixel.grad
    assert per_pixel is not None
    assert_close(seen.gradient_norms[0], per_pixel.sum((1, 2)).norm(dim=-1), "gradient_norms")
    assert_close(seen.abs_gradient_norms[0], per_pixel.abs().sum((1, 2)).norm(dim=-1), "abs_gradient_norms")


def smooth_rows() -> dict:
    """Gaussians that fill the picture and leave light: no pixel is near a cut."""
    rows = parameters(5, count=6, degree=2, channels=2)
    generator = torch.Generator().manual_seed(2)
    return rows | {
        "means": 0.3 * rows["means"],
        "scales": 0.5 + 0.3 * torch.rand(6, 3, generator=generator),
        "opacities": 0.1 + 0.3 * torch.rand(6, generator=generator),
        "sh": 0.3 * rows["sh"],
    }


NARROW = look_at(
    np.array([0.1, -0.2, -3.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]), fov_y_radians=0.25, width=24, height=20
)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", [*ROWS, "viewmat"])
def test_finite_differences_agree_where_no_cut_is_near(name: str, antialiased: bool):
    # A large eps2d, so that the antialiased opacity moves.
    options = replace(BACKGROUND, antialiased=antialiased, eps2d=30.0)
    rows, viewmat = smooth_rows(), torch.from_numpy(NARROW.viewmat).clone()
    value = viewmat if name == "viewmat" else rows[name]
    direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(value)
    direction[3:] = 0 if name == "viewmat" else direction[3:]
    plain = draw(rows, NARROW, options)
    assert float(plain.pictures.alpha.min()) > 0.1 and float(plain.pictures.alpha.max()) < 0.99
    weights = weights_like(plain.pictures.rgb, plain.pictures.alpha, plain.pictures.depth, plain.pictures.features)  # type: ignore[reportArgumentType]

    def loss(moved: torch.Tensor) -> torch.Tensor:
        changed = rows if name == "viewmat" else rows | {name: moved}
        seen = draw(changed, NARROW, options, viewmat=moved if name == "viewmat" else viewmat).pictures
        doubles = [v.double() for v in (seen.rgb, seen.alpha, seen.depth, seen.features) if v is not None]
        return sum(((v * w).sum() for v, w in zip(doubles, weights, strict=True)), torch.zeros(()))

    step = 2e-3
    slope = float(loss(value + step * direction) - loss(value - step * direction)) / (2 * step)
    learnt = value.clone().requires_grad_()
    loss(learnt).backward()
    assert learnt.grad is not None
    assert float((learnt.grad * direction).sum()) == pytest.approx(slope, rel=1e-2, abs=2e-2)


def gradients(rows: dict, view=VIEW, options: RasterOptions = BACKGROUND, seed: int = 1) -> dict:
    """Of a random loss, by the names of the arguments, and what densification gets."""
    learnt, viewmat = leaves(rows), cameras(view)[0]
    seen = draw(learnt, view, options, viewmat=viewmat)
    pictures = seen.pictures
    shown = [p for p in (pictures.rgb, pictures.alpha, pictures.depth, pictures.features) if p is not None]
    loss_of(pictures, weights_like(*shown, seed=seed)).backward()
    found = {name: leaf.grad for name, leaf in learnt.items()} | {"viewmat": viewmat.grad}
    return found | {name: getattr(seen, name) for name in ("radii", "gradient_norms", "abs_gradient_norms")}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_the_same_bits_come_out_at_every_number_of_threads():
    rows, threads = parameters(7, count=3000, channels=5, size=0.1), num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            set_num_threads(count)
            found.append(gradients(rows))
    finally:
        set_num_threads(threads)
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_a_picture_made_in_bands_has_the_same_gradients(monkeypatch: pytest.MonkeyPatch):
    rows = parameters(7, count=400, channels=2)
    stats = draw_plain(rows, VIEW, BACKGROUND).stats
    assert stats is not None and stats["intersections"] > 3 * 150  # So that there are several.
    whole = gradients(rows)
    monkeypatch.setattr(twin, "BAND_ENTRIES", 150)
    assert_same(whole, gradients(rows))


def test_gradients_follow_their_rows_through_a_permutation():
    rows = parameters(8, count=500, channels=2)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    plain, mixed = gradients(rows), gradients({name: value[order] for name, value in rows.items()})
    for name in rows:
        assert torch.equal(plain[name][order], mixed[name]), name
    assert torch.equal(plain["gradient_norms"][:, order], mixed["gradient_norms"])
    torch.testing.assert_close(plain["viewmat"], mixed["viewmat"], rtol=1e-5, atol=1e-3)


def test_rows_that_are_not_drawn_get_zeros_and_leave_the_others_alone():
    rows = parameters(9, count=40, channels=2)
    hidden = {"means": torch.zeros(7, 3) + torch.tensor([0.0, 0.0, -50.0])}
    hidden |= {name: value[:7].clone() for name, value in rows.items() if name != "means"}
    hidden["means"][1:4] = 0.0
    hidden["opacities"][1], hidden["scales"][2, 0], hidden["sh"][3, 0, 1] = 1e-4, torch.nan, torch.inf
    hidden["means"][4], hidden["quats"][5] = torch.nan, torch.nan
    both = {name: torch.cat([hidden[name], rows[name]]) for name in rows}
    alone, found = gradients(rows), gradients(both)
    for name in rows:
        assert torch.equal(found[name][:7], torch.zeros_like(hidden[name])), name
        assert torch.equal(found[name][7:], alone[name]), name
    for name in ("radii", "gradient_norms", "abs_gradient_norms"):
        assert torch.equal(found[name][:, :7], torch.zeros(1, 7)), name
        assert float(found[name][:, 7:].min()) >= 0 and float(found[name].max()) > 0
    torch.testing.assert_close(found["viewmat"], alone["viewmat"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [0, 3])
def test_a_picture_of_nothing_has_gradients_of_zero(count: int):
    rows = parameters(1, count=count, channels=1) if count > 0 else {k: v[:0] for k, v in parameters(1).items()}
    rows["means"] = rows["means"] + torch.tensor([0.0, 0.0, -100.0])
    found = gradients(rows)
    for name in rows:
        assert torch.equal(found[name], torch.zeros_like(rows[name])), name
    assert torch.equal(found["viewmat"], torch.zeros(4, 4, dtype=torch.float64))


@pytest.mark.parametrize("depth", [True, False])
def test_pictures_and_radii_are_those_of_the_rasteriser(depth: bool):
    rows, options = parameters(2, count=300, channels=3), replace(BACKGROUND, depth=depth)
    seen = draw(leaves(rows), VIEW, options)
    plain = draw_plain(rows, VIEW, options)
    for name in ("rgb", "alpha", "depth", "features"):
        ours, theirs = getattr(seen.pictures, name), getattr(plain, name)
        assert (ours is None) == (theirs is None) and (ours is None or torch.equal(ours, theirs)), name
    doubles = {name: value.double() for name, value in rows.items()}
    viewmat, K = (matrix.detach() for matrix in cameras(VIEW))
    expected = reference.project(doubles, viewmat, K, VIEW.width, VIEW.height, options)
    reach = 2 * torch.log(255 * expected.opacities) * torch.linalg.inv(expected.conics).diagonal(dim1=1, dim2=2).T
    drawn = seen.radii[0] > 0
    assert 50 < int(drawn.sum()) <= 300
    torch.testing.assert_close(seen.radii[0][drawn].double(), reach.sqrt().amax(0)[drawn], rtol=1e-3, atol=1e-3)


def test_gradients_of_several_cameras_add_up():
    rows, learnt = parameters(4), leaves(parameters(4))
    views = (VIEW, CLOSE)
    viewmats = torch.stack([torch.from_numpy(view.viewmat) for view in views]).requires_grad_()
    Ks = torch.stack([torch.from_numpy(view.K) for view in views])
    seen = rasterize_for_training(**learnt, viewmats=viewmats, Ks=Ks, width=53, height=38, options=BACKGROUND)
    assert seen.pictures.rgb.shape == (2, 38, 53, 3) and seen.radii.shape == (2, 60)
    (seen.pictures.rgb**2).sum().backward()
    total = {name: torch.zeros_like(value) for name, value in rows.items()}
    for camera, view in enumerate(views):
        alone, viewmat = leaves(rows), cameras(view)[0]
        one = draw(alone, view, BACKGROUND, viewmat=viewmat)
        (one.pictures.rgb**2).sum().backward()
        total = {name: total[name] + leaf.grad for name, leaf in alone.items()}
        assert viewmats.grad is not None and viewmat.grad is not None
        torch.testing.assert_close(viewmats.grad[camera], viewmat.grad)
        assert torch.equal(seen.gradient_norms[camera], one.gradient_norms[0])
    for name in rows:
        torch.testing.assert_close(learnt[name].grad, total[name])


def test_only_what_is_wanted_is_worked_out_and_a_graph_can_be_walked_twice():
    rows = parameters(4)
    means = rows["means"].clone().requires_grad_()
    seen = draw(rows | {"means": means}, VIEW, BACKGROUND)
    draw(parameters(5), VIEW, BACKGROUND)  # Another picture in between leaves the tape alone.
    (first,) = torch.autograd.grad(seen.pictures.rgb.sum(), means, retain_graph=True)
    (second,) = torch.autograd.grad(seen.pictures.rgb.sum(), means)
    assert torch.equal(first, second) and float(first.abs().max()) > 0
    assert all(rows[name].grad is None for name in rows)
    assert not draw(rows, VIEW, BACKGROUND).pictures.rgb.requires_grad


def test_rows_that_do_not_lie_side_by_side_are_read_right():
    rows = parameters(4)
    wide = {name: torch.stack([value, value + 1], -1)[..., 0] for name, value in rows.items()}
    assert not wide["means"].is_contiguous()
    assert_same(gradients(rows), gradients(wide))


def test_a_set_flag_stops_the_picture_and_its_backward_pass():
    cancel, learnt = CancelFlag(), leaves(parameters(4))
    seen = draw(learnt, VIEW, BACKGROUND, cancel)
    cancel.set()
    with pytest.raises(Cancelled):
        seen.pictures.rgb.sum().backward()
    with pytest.raises(Cancelled):
        draw(learnt, VIEW, BACKGROUND, cancel)


def test_changing_a_parameter_before_backward_is_refused():
    learnt = leaves(parameters(4))
    seen = draw(learnt, VIEW, BACKGROUND)
    with torch.no_grad():
        learnt["means"] += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        seen.pictures.rgb.sum().backward()


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({"means": torch.zeros(60, 2)}, {}, r"means: its shape is \[60, 2\]; it must be \[N, 3\]"),
        ({"sh": torch.zeros(60, 5, 3)}, {}, "sh: 5 bases"),
        ({"quats": torch.zeros(60, 4).double()}, {}, "quats: it is torch.float64; gradients are worked out in"),
        ({"scales": torch.zeros(60, 3, device="meta")}, {}, "scales: it is on meta, means are on cpu"),
        ({}, {"shape": "rings"}, "shape: rings; pictures to learn from have splats, use rasterize_gaussians"),
        ({}, {"rgb_dtype": "uint8"}, "rgb_dtype: uint8; pictures to learn from have float32"),
        ({}, {"contributions": True}, "contributions: True; pictures to learn from have False"),
        ({}, {"rect": (0, 0, 60, 3)}, "rect: "),
    ],
)
def test_bad_arguments_are_told_apart(change: dict, options: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        draw(parameters(4) | change, VIEW, replace(BACKGROUND, **options))
