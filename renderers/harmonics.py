"""Real spherical harmonics up to degree 3, in the order and with the signs of 3D Gaussian Splatting.

K = (degree + 1)^2 bases. Signs carry the Condon-Shortley phase, as in the 3DGS files and in gsplat.
Source: Ramamoorthi and Hanrahan 2001 (real SH in Cartesian form); Kerbl et al. 2023 for the order.
"""

from __future__ import annotations

import numpy as np
import torch

C0 = 0.28209479177387814
C1 = 0.4886025119029199


def degree_of(num_bases: int) -> int:
    """The degree of an SH array with `num_bases` bases, one of 1, 4, 9, 16."""
    degrees = {1: 0, 4: 1, 9: 2, 16: 3}
    if num_bases not in degrees:
        raise ValueError(f"sh: {num_bases} bases; must be 1, 4, 9 or 16 (degree 0 to 3)")
    return degrees[num_bases]


def basis(directions: torch.Tensor, degree: int) -> torch.Tensor:  # [..., 3] unit -> [..., K]
    """The K = (degree + 1)^2 bases at unit directions."""
    x, y, z = directions.unbind(-1)
    bases = [torch.full_like(x, C0)]
    if degree >= 1:
        bases += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        bases += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        bases += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(bases, dim=-1)


def rotated(sh: torch.Tensor, rotation: np.ndarray) -> torch.Tensor:  # [N, K, 3], [3, 3] -> [N, K, 3]
    """Coefficients of the same function turned by `rotation`: rotated(sh)(R d) == sh(d).

    Each band is closed under rotation, so its matrix follows from the bases at a few directions d:
    B(R d) M = B(d), solved in least squares over more directions than bases.
    """
    degree = degree_of(sh.shape[1])
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = basis(torch.from_numpy(directions), degree).numpy()
    after = basis(torch.from_numpy(directions @ np.asarray(rotation, np.float64).T), degree).numpy()
    out = sh.clone()
    for band in range(1, degree + 1):
        columns = slice(band * band, (band + 1) ** 2)
        matrix = np.linalg.lstsq(after[:, columns], before[:, columns], rcond=None)[0]
        out[:, columns] = torch.einsum("kj,njc->nkc", torch.from_numpy(matrix).to(sh), sh[:, columns])
    return out


def rgb_to_dc(rgb):
    """Degree-0 coefficient of a constant colour in [0, 1]; inverse of `dc_to_rgb`. Arrays or tensors."""
    return (rgb - 0.5) / C0


def dc_to_rgb(dc):
    """Constant colour of a degree-0 coefficient (not clamped); inverse of `rgb_to_dc`. Arrays or tensors."""
    return 0.5 + C0 * dc
