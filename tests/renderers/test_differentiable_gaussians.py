"""Proves the gradients of the rasteriser: those of float64 autograd, of finite differences, and of nothing where nothing
was drawn; the same bits at every number of threads and in bands; and that bad arguments are told apart."""

from __future__ import annotations

from dataclasses import replace

import differentiable_reference as reference
import numpy as np
import pytest
import torch
from rasterizer_reference import random_scene

from h3d.renderers import CancelFlag, Cancelled, RasterOptions, num_threads, rasterize_gaussians, set_num_threads
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
}


def parameters(seed: int, *, count: int = 60, degree: int = 3, channels: int = 0, size: float = 0.25) -> dict:
    scene = random_scene(seed, count, degree=degree, channels=channels, size=size)
    return {name: getattr(scene, name) for name in ROWS if getattr(scene, name) is not None}


def leaves(rows: dict, dtype=torch.float32) -> dict:
    return {name: value.to(dtype).clone().requires_grad_() for name, value in rows.items()}


def cameras(view, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(view.viewmat).to(dtype).clone().requires_grad_(), torch.from_numpy(view.K).double()


def draw(rows: dict, view, options: RasterOptions, cancel: CancelFlag | None = None, viewmat=None) -> TrainingPictures:
    arguments = [rows[name] for name in ROWS[:5]]
    viewmats = torch.from_numpy(view.viewmat)[None] if viewmat is None else viewmat[None]
    return rasterize_for_training(
        *arguments,
        viewmats,
        torch.from_numpy(view.K)[None],
        view.width,
        view.height,
        features=rows.get("features"),
        options=options,
        cancel=cancel,
    )


def weights_like(*pictures: torch.Tensor, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(picture.shape, generator=generator, dtype=torch.float64) for picture in pictures]


def loss_of(pictures, weights) -> torch.Tensor:
    values = [pictures.rgb, pictures.alpha, pictures.depth, pictures.features]
    return sum(((v * w.to(v)).sum() for v, w in zip(values, weights, strict=False) if v is not None), torch.zeros(()))


def assert_close(ours: torch.Tensor, true: torch.Tensor, name: str, tolerance: float = 2e-4) -> None:
    error = (ours.double() - true).norm() / (true.norm() + 1e-12)
    assert float(true.norm()) > 0, name
    assert float(error) < tolerance, f"{name}: relative error {float(error):.2e}"


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_is_that_of_float64_autograd(case: str):
    options, view, degree = CASES[case]
    rows = parameters(3, degree=degree, channels=3)
    learnt, viewmat = leaves(rows), cameras(view)[0]
    seen = draw(learnt, view, options, viewmat=viewmat)
    true_rows, (true_viewmat, K) = leaves(rows, torch.float64), cameras(view)
    expected = reference.render(true_rows, true_viewmat, K, view.width, view.height, options)
    x0, y0, x1, y1 = options.rect or (0, 0, view.width, view.height)
    whole = [expected.rgb, expected.alpha, expected.depth, expected.features]
    crops = [picture[y0:y1, x0:x1] for picture in whole]
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
