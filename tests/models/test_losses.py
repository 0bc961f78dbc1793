"""Proves that l1, psnr and ssim are scikit-image's to rounding, are differentiable, and name wrong input."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from h3d.models import losses


def pictures(seed: int, height: int = 40, width: int = 57, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 10.0
    a = 0.5 + 0.4 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], axis=-1)
    b = np.clip(a + noise * rng.normal(size=a.shape), 0.0, 1.0)
    return a, b


@pytest.mark.parametrize("noise", [0.003, 0.1, 0.5])
def test_ssim_is_that_of_scikit_image(noise):
    a, b = pictures(1, noise=noise)
    # scikit-image leaves a border of 5 pixels out of its mean: the windows that lie whole inside.
    expected = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    got = losses.ssim(torch.from_numpy(a), torch.from_numpy(b))
    assert float(got) == pytest.approx(expected, abs=1e-12)
    single = losses.ssim(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert float(single) == pytest.approx(expected, abs=2e-5)


def test_psnr_and_l1_are_those_of_scikit_image_and_numpy():
    a, b = pictures(2)
    got = losses.psnr(torch.from_numpy(a), torch.from_numpy(b))
    assert float(got) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-10)
    assert float(losses.l1(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(np.abs(a - b).mean(), abs=1e-12)


def test_equal_pictures_have_ssim_one_and_infinite_psnr():
    a = torch.from_numpy(pictures(3)[0])
    assert float(losses.ssim(a, a)) == pytest.approx(1.0, abs=1e-12)
    assert math.isinf(float(losses.psnr(a, a)))


def test_ssim_is_symmetric_and_a_batch_is_the_mean_of_its_pictures():
    a, b = (torch.from_numpy(p) for p in pictures(4))
    assert float(losses.ssim(a, b)) == pytest.approx(float(losses.ssim(b, a)), abs=1e-12)
    both = losses.ssim(torch.stack([a, a]), torch.stack([b, a]))
    assert float(both) == pytest.approx((float(losses.ssim(a, b)) + 1.0) / 2, abs=1e-12)


def test_zero_padding_counts_a_window_at_every_pixel():
    a, b = (torch.from_numpy(p) for p in pictures(5))
    inside = losses.ssim(zero_padded(a), zero_padded(b))
    assert float(losses.ssim(a, b, padding="same")) == pytest.approx(float(inside), abs=1e-12)


def zero_padded(picture: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(picture, (0, 0, 5, 5, 5, 5))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_gradients_are_those_of_finite_differences(padding):
    a, b = (torch.from_numpy(p[:12, :11, :1].copy()) for p in pictures(6))
    b = b.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.ssim(a, x, padding=padding), b)
    assert torch.autograd.gradcheck(lambda x: losses.psnr(a, x), b)


def test_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"\[4, 4, 3\] and \[4, 5, 3\]"):
        losses.l1(torch.zeros(4, 4, 3), torch.zeros(4, 5, 3))
    with pytest.raises(ValueError, match="5x20; both sides must be >= 11"):
        losses.ssim(torch.zeros(20, 5, 3), torch.zeros(20, 5, 3))
