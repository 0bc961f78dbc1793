"""Proves the training loss: value and gradient are those of float64 autograd, at every size and number of threads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from h3d.models import losses
from h3d.renderers.backends import num_threads, set_num_threads
from h3d.renderers.cuda import image_loss as torch_twin
from h3d.renderers.image_loss import ImageLoss, image_loss


def pictures(height: int, width: int, channels: int = 3, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    rows = torch.arange(height)[:, None, None] / 7.0
    columns = torch.arange(width)[None, :, None] / 5.0
    target = 0.5 + 0.4 * torch.sin(rows + columns * torch.arange(1, channels + 1))
    rendered = (target + noise * torch.randn(target.shape, generator=generator)).clamp(0.0, 1.0)
    return rendered, target


def in_float64(rendered: torch.Tensor, target: torch.Tensor, share: float) -> tuple[float, torch.Tensor]:
    """Loss and gradient by autograd of models/losses.py."""
    x, y = rendered.double().requires_grad_(), target.double()
    loss = (1.0 - share) * losses.l1(x, y) + share * (1.0 - losses.ssim(x, y, padding="same"))
    (gradient,) = torch.autograd.grad(loss, x)
    return float(loss.detach()), gradient


SIZES = [(400, 400), (37, 53), (16, 16), (11, 11), (3, 40), (40, 3), (1, 1), (5, 5)]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_loss_and_gradient_are_those_of_float64_autograd(height: int, width: int, share: float):
    rendered, target = pictures(height, width)
    expected, slope = in_float64(rendered, target, share)
    x = rendered.clone().requires_grad_()
    result = image_loss(x, target, ssim_share=share)
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(expected, abs=2e-6)
    assert x.grad is not None
    # Variances are differences of float32 means of squares: 1e-7 beside a C2 of 9e-4.
    assert float((x.grad - slope).norm() / slope.norm().clamp_min(1e-12)) < 2e-4


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_may_have_any_number_of_channels(channels: int):
    rendered, target = pictures(20, 31, channels)
    expected, slope = in_float64(rendered, target, 0.2)
    x = rendered.clone().requires_grad_()
    result = image_loss(x, target)
    (gradient,) = torch.autograd.grad(result.loss, x)
    assert float(result.loss.detach()) == pytest.approx(expected, abs=2e-6)
    assert float((gradient - slope).norm() / slope.norm()) < 2e-4


def test_flat_and_nearly_equal_pictures_keep_a_true_gradient():
    target = torch.full((40, 40, 3), 0.5)
    rendered = target + 1e-3 * torch.randn(40, 40, 3, generator=torch.Generator().manual_seed(0))
    _, slope = in_float64(rendered, target, 1.0)
    x = rendered.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(image_loss(x, target, ssim_share=1.0).loss, x)
    assert float((gradient - slope).norm() / slope.norm()) < 1e-2


def test_equal_pictures_have_no_loss_and_no_gradient_of_l1():
    target = pictures(30, 30)[1]
    x = target.clone().requires_grad_()
    result = image_loss(x, target, ssim_share=0.0)
    result.loss.backward()
    assert result.l1 == 0.0 and result.ssim == pytest.approx(1.0, abs=1e-6)
    assert x.grad is not None and not bool(x.grad.any())


def test_l1_and_ssim_are_told_apart_with_or_without_a_gradient():
    rendered, target = pictures(33, 47)
    plain, learnt = image_loss(rendered, target), image_loss(rendered.clone().requires_grad_(), target)
    assert not plain.loss.requires_grad and (plain.l1, plain.ssim) == (learnt.l1, learnt.ssim)
    assert plain.l1 == pytest.approx(float(losses.l1(rendered.double(), target.double())), abs=1e-6)
    assert plain.ssim == pytest.approx(float(losses.ssim(rendered.double(), target.double(), "same")), abs=1e-6)


def test_the_gradient_is_scaled_by_what_follows():
    rendered, target = pictures(24, 24)
    x = rendered.clone().requires_grad_()
    (once,) = torch.autograd.grad(image_loss(x, target).loss, x)
    (thrice,) = torch.autograd.grad(3.0 * image_loss(x, target).loss, x)
    torch.testing.assert_close(thrice, 3.0 * once)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    rendered, target = pictures(203, 117)
    before, results = num_threads(), []
    try:
        for threads in (1, 2, 5):
            set_num_threads(threads)
            x = rendered.clone().requires_grad_()
            result = image_loss(x, target)
            results.append((result.l1, result.ssim, torch.autograd.grad(result.loss, x)[0]))
    finally:
        set_num_threads(before)
    for l1, ssim, gradient in results[1:]:
        assert (l1, ssim) == results[0][:2] and torch.equal(gradient, results[0][2])


def test_a_number_that_is_none_is_not_hidden():
    rendered, target = pictures(40, 40)
    rendered[7, 9, 1] = float("nan")
    x = rendered.requires_grad_()
    result = image_loss(x, target)
    (gradient,) = torch.autograd.grad(result.loss, x)
    assert bool(result.loss.detach().isnan()) and bool(gradient[7, 9, 1].isnan())
    assert bool(gradient[30].isfinite().all())


def test_the_twin_in_torch_agrees():
    rendered, target = pictures(37, 53)
    ours, theirs = rendered.clone().requires_grad_(), rendered.clone().requires_grad_()
    a: ImageLoss = image_loss(ours, target)
    b: ImageLoss = torch_twin.image_loss(theirs, target, 0.2)
    a.loss.backward()
    b.loss.backward()
    assert a.l1 == pytest.approx(b.l1, abs=1e-6) and a.ssim == pytest.approx(b.ssim, abs=1e-5)
    assert ours.grad is not None and theirs.grad is not None
    assert float((ours.grad - theirs.grad).norm() / theirs.grad.norm()) < 4e-4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": torch.zeros(4, 5, 3)}, r"target: its shape is \[4, 5, 3\]"),
        ({"rendered": torch.zeros(4, 4, 3, dtype=torch.float64)}, r"rendered: it is torch.float64; must be"),
        ({"target": torch.zeros(4, 4, 3, requires_grad=True)}, "target: it requires a gradient"),
        ({"ssim_share": 1.5}, r"ssim_share: 1.5; must be in \[0, 1\]"),
        ({"rendered": torch.zeros(0, 4, 3), "target": torch.zeros(0, 4, 3)}, "rendered: its shape .* have a pixel"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Any], sentence: str):
    arguments: dict[str, Any] = {"rendered": torch.zeros(4, 4, 3), "target": torch.zeros(4, 4, 3)} | change
    with pytest.raises(ValueError, match=sentence):
        image_loss(**arguments)
