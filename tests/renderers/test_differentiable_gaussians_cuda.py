"""Proves that the CUDA twin gives the pictures and gradients of the CPU's.

Tests marked gpu run it on a GPU. Without one the part of it that is ours runs on the CPU, with gsplat's own torch
functions in the place of its kernels.
"""

from __future__ import annotations

from dataclasses import replace

import gsplat
import gsplat_functions
import numpy as np
import pytest
import torch
from rasterizer_reference import random_scene

from h3d.renderers import CancelFlag, Cancelled, RasterOptions
from h3d.renderers.cameras import look_at
from h3d.renderers.cuda import differentiable_gaussians as cuda_twin
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training
from h3d.renderers.gaussians import checked_options

ROWS = ("means", "quats", "scales", "opacities", "sh", "features")
WIDTH, HEIGHT = 48, 36
VIEWS = [
    look_at(np.array(eye), np.zeros(3), np.array([0.0, -1.0, 0.0]), width=WIDTH, height=HEIGHT)
    for eye in ([0.3, -0.2, -3.0], [2.0, -0.5, -2.0])
]
BACKGROUND = RasterOptions(background=(0.3, 0.6, 0.1))


@pytest.fixture(params=["torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    if request.param == "cuda":
        return torch.device("cuda")
    monkeypatch.setattr(gsplat, "rasterization", gsplat_functions.rasterization)
    monkeypatch.setattr(gsplat, "spherical_harmonics", gsplat_functions.spherical_harmonics)
    return torch.device("cpu")


def parameters(device: torch.device, degree: int, channels: int, count: int = 60) -> dict[str, torch.Tensor]:
    scene = random_scene(17, count, degree=degree, channels=channels, size=0.25)
    rows = {name: getattr(scene, name) for name in ROWS if getattr(scene, name) is not None}
    return {name: value.to(device).clone().requires_grad_() for name, value in rows.items()}


def cameras(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    viewmats = torch.stack([torch.from_numpy(view.viewmat) for view in VIEWS]).float().to(device).requires_grad_()
    return viewmats, torch.stack([torch.from_numpy(view.K) for view in VIEWS]).float().to(device)


def by_twin(rows: dict, viewmats: torch.Tensor, Ks: torch.Tensor, options: RasterOptions) -> TrainingPictures:
    options = checked_options(options, WIDTH, HEIGHT)
    return cuda_twin.rasterize_for_training(rows, viewmats, Ks, WIDTH, HEIGHT, options=options)


def by_door(rows: dict, viewmats: torch.Tensor, Ks: torch.Tensor, options: RasterOptions) -> TrainingPictures:
    means, quats, scales, opacities, sh = (rows[name] for name in ROWS[:5])
    cameras, features = (viewmats, Ks, WIDTH, HEIGHT), rows.get("features")
    return rasterize_for_training(means, quats, scales, opacities, sh, *cameras, features=features, options=options)


def backward(seen: TrainingPictures) -> None:
    """Of a loss that weighs every pixel of every picture at random."""
    pictures, total = seen.pictures, torch.zeros(())
    for place, name in enumerate(("rgb", "alpha", "depth", "features")):
        picture = getattr(pictures, name)
        if picture is None:
            continue
        weights = torch.randn(picture.shape, generator=torch.Generator().manual_seed(place))
        if name == "depth":  # Where alpha hardly is, depth hardly means anything.
            weights = weights * (pictures.alpha.detach().cpu() > 0.05)
        total = total + (picture.cpu() * weights).sum()
    total.backward()


def close(one: torch.Tensor | None, other: torch.Tensor | None, name: str, tolerance: float = 2e-3) -> None:
    assert one is not None and other is not None, name
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    assert float(other.norm()) > 0, name
    assert float((one - other).norm() / other.norm()) < tolerance, name


@pytest.mark.parametrize(
    ("options", "degree", "channels"),
    [
        (BACKGROUND, 3, 0),
        (replace(BACKGROUND, antialiased=True), 1, 3),
        (replace(BACKGROUND, sh_degree=1, splat_scale=0.7, depth=False), 3, 2),
        (replace(BACKGROUND, rect=(6, 4, 40, 31)), 0, 0),
    ],
)
def test_pictures_and_gradients_are_those_of_the_cpu(device, options: RasterOptions, degree: int, channels: int):
    theirs, (their_viewmats, Ks) = parameters(device, degree, channels), cameras(device)
    ours, (our_viewmats, our_Ks) = parameters(torch.device("cpu"), degree, channels), cameras(torch.device("cpu"))
    there = by_twin(theirs, their_viewmats, Ks, options)
    here = by_door(ours, our_viewmats, our_Ks, options)
    assert float((there.pictures.rgb.detach().cpu() - here.pictures.rgb.detach()).abs().max()) <= 1 / 255
    assert bool(((there.radii.cpu() > 0) == (here.radii > 0)).all())
    assert float(there.gradient_norms.abs().max()) == 0.0, "nothing has flowed back yet"
    backward(there)
    backward(here)
    for name, leaf in ours.items():
        close(theirs[name].grad, leaf.grad, name)
    close(their_viewmats.grad, our_viewmats.grad, "viewmats")
    close(there.gradient_norms, here.gradient_norms, "gradient_norms")
    close(there.abs_gradient_norms, here.abs_gradient_norms, "abs_gradient_norms")
    assert bool((there.abs_gradient_norms >= there.gradient_norms - 1e-4).all())


def test_rows_that_hold_no_number_get_zeros_and_leave_the_others_alone(device):
    rows, (viewmats, Ks) = parameters(device, 1, 0), cameras(device)
    whole = by_twin(rows, viewmats, Ks, BACKGROUND)
    with torch.no_grad():
        for name, row in (("means", 3), ("scales", 5), ("sh", 8)):
            rows[name][row] = float("nan")
        rows["quats"][9] = 0.0
    seen = by_twin(rows, viewmats, Ks, BACKGROUND)
    assert bool(torch.isfinite(seen.pictures.rgb).all()) and bool((whole.pictures.rgb != seen.pictures.rgb).any())
    backward(seen)
    for name, leaf in rows.items():
        assert leaf.grad is not None and bool(torch.isfinite(leaf.grad).all()), name
        assert float(leaf.grad[[3, 5, 8, 9]].abs().max()) == 0.0, name
        assert float(leaf.grad.abs().max()) > 0.0, name


def test_a_set_flag_stops_it(device):
    cancel = CancelFlag()
    cancel.set()
    viewmats, Ks = cameras(device)
    rows = parameters(device, 0, 0)
    with pytest.raises(Cancelled):
        cuda_twin.rasterize_for_training(rows, viewmats, Ks, WIDTH, HEIGHT, options=BACKGROUND, cancel=cancel)


@pytest.mark.gpu
def test_the_door_takes_what_lies_on_the_gpu_there():
    device = torch.device("cuda")
    rows, (viewmats, Ks) = parameters(device, 1, 0), cameras(device)
    seen = by_door(rows, viewmats, Ks, BACKGROUND)
    assert seen.pictures.rgb.is_cuda
    twin = by_twin(rows, viewmats, Ks, BACKGROUND)
    assert torch.equal(seen.pictures.rgb, twin.pictures.rgb)
