"""Spherical harmonics: orthonormal, in gsplat's order and signs, and closed under rotation band by band."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gsplat.cuda._torch_impl import _eval_sh_bases_fast

from h3d.renderers import harmonics
from h3d.renderers.cameras import quat_to_rotation


def directions(count: int, seed: int = 0) -> torch.Tensor:
    d = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3)))
    return d / d.norm(dim=1, keepdim=True)


def test_the_bases_are_orthonormal_on_the_sphere():
    # Gauss-Legendre in z times equal steps in azimuth integrates polynomials of degree 6 exactly.
    z, weights = np.polynomial.legendre.leggauss(8)
    azimuth = np.arange(16) * 2 * np.pi / 16
    ring = np.sqrt(1 - z**2)
    x, y = ring[:, None] * np.cos(azimuth), ring[:, None] * np.sin(azimuth)
    points = torch.from_numpy(np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], -1).reshape(-1, 3))
    area = torch.from_numpy(np.repeat(weights * 2 * np.pi / 16, 16))
    basis = harmonics.basis(points, 3)
    torch.testing.assert_close(basis.T @ (area[:, None] * basis), torch.eye(16, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_order_and_signs_are_gsplats(degree):
    d = directions(50)
    torch.testing.assert_close(harmonics.basis(d, degree), _eval_sh_bases_fast((degree + 1) ** 2, d))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_coefficients_are_the_same_function_turned(degree):
    rng = np.random.default_rng(degree)
    sh = torch.from_numpy(rng.normal(size=(7, (degree + 1) ** 2, 3)))
    rotation = quat_to_rotation(rng.normal(size=4))
    d = directions(7, seed=degree + 1)
    turned = d @ torch.from_numpy(rotation).T
    before = torch.einsum("nk,nkc->nc", harmonics.basis(d, degree), sh)
    after = torch.einsum("nk,nkc->nc", harmonics.basis(turned, degree), harmonics.rotated(sh, rotation))
    torch.testing.assert_close(after, before)


def test_constant_colours_round_trip():
    rgb = torch.rand(5, 3, dtype=torch.float64)
    torch.testing.assert_close(harmonics.dc_to_rgb(harmonics.rgb_to_dc(rgb)), rgb)


def test_only_whole_degrees_have_a_degree():
    assert [harmonics.degree_of(k) for k in (1, 4, 9, 16)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="5 bases; must be 1, 4, 9 or 16"):
        harmonics.degree_of(5)
