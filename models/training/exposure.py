"""Exposure of each photo: an affine map of colours that is learnt with the scene, which then need not explain it.

A photo of P has a matrix A and an offset b, kept as 12 deviations from the identity, [A - 1 | b]: what Gaussians show,
sum of w c, becomes sum of w (A c + b); what is behind them stays as it is. The scene and all photos could change
together: deviations are pulled towards zero and kept at mean zero, so that the scene, and what is judged, has the mean
exposure of its photos. Photos that are held out are judged without a correction.
Source: the affine maps of Kerbl et al. 2024, "A Hierarchical 3D Gaussian Representation", section 6; the pull is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from h3d.renderers.adam import AdamOptions, AdamRows, adam_step

RATE, LAST_SHARE = 2e-2, 0.1
"""Learning rate at first, and the share of it that is left at the end of a decay."""
L2 = 1e-3


class Exposure:
    """The maps of all photos. Changed in place."""

    def __init__(self, rows: AdamRows) -> None:
        self.rows = rows

    @staticmethod
    def of(photos: int) -> Exposure:
        """Before the first step: the identity."""
        return Exposure(AdamRows.of(torch.zeros(photos, 12), averaged=False))

    @property
    def deviations(self) -> torch.Tensor:  # [P, 12], rows of [A - 1 | b]
        return self.rows.values

    @property
    def changed(self) -> float:
        """By how much maps differ from the identity: root mean square of their entries."""
        return float(self.deviations.square().mean().sqrt())

    def move(self, photo: int, gradient: torch.Tensor, *, step: int, decayed: float) -> None:  # [12]
        """A step for one photo; `decayed` runs from 0 to 1 over the decay of the rate."""
        gradients = torch.zeros_like(self.deviations)
        gradients[photo] = gradient
        live = torch.zeros(len(self.rows), dtype=torch.bool)
        live[photo] = True
        options = AdamOptions(learning_rate=RATE * LAST_SHARE**decayed, l2=L2)
        adam_step(self.rows, gradients, step=step, options=options, live=live)
        self.deviations.sub_(self.deviations.mean(dim=0))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        return self.rows.tensors("exposure")

    @staticmethod
    def from_tensors(tensors: Mapping[str, torch.Tensor]) -> Exposure:
        """Raises: KeyError for an array that is missing."""
        return Exposure(AdamRows.from_tensors("exposure", tensors))


def exposed(
    rgb: torch.Tensor,  # [H, W, 3], Gaussians over the background
    alpha: torch.Tensor,  # [H, W]
    background: torch.Tensor,  # [3]
    deviation: torch.Tensor,  # [12]
) -> torch.Tensor:  # [H, W, 3]
    """The picture as a photo of this exposure has it; differentiable."""
    matrix, offset = deviation.view(3, 4)[:, :3], deviation.view(3, 4)[:, 3]
    covered = alpha[..., None]
    shown = rgb - (1.0 - covered) * background
    return rgb + shown @ matrix.T + covered * offset
