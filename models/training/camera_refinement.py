"""Moving cameras a little while a field is trained, so that their rays meet what they have photographed.

Each of N photos has a correction [6] in NGP space: a translation of its camera, and a rotation about it as a vector
(axis times angle in radians). Scene and cameras could drift together and away from photos that are held out, so that
corrections are kept at mean zero. R rays, S samples.
Source: Mueller et al. 2022, whose code steps them every 16 steps by Adam, with this rate and this pull towards zero.
"""

from __future__ import annotations

import math

import torch

from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.fields import Samples

INTERVAL = 16
"""Steps of the training whose gradients make one step of the cameras."""
RATE, RATE_SHARE = 1e-3, 1e-3
RATE_DECAY, RATE_STEPS = 0.33, 128
"""The rate falls by this factor in so many steps of the cameras, to `RATE_SHARE` of the field's at least."""
L2 = 1e-4


class CameraRefinement:
    """The corrections of all photos, and the gradient that is gathered for their next step. Changed in place."""

    def __init__(self, rows: AdamRows, gathered: torch.Tensor) -> None:  # gathered [N, 6]
        self.rows, self.gathered = rows, gathered

    @staticmethod
    def of(photos: int) -> CameraRefinement:
        """Before the first step: cameras are where the data set has them."""
        return CameraRefinement(AdamRows.of(torch.zeros(photos, 6)), torch.zeros(photos, 6))

    def to(self, device: torch.device) -> CameraRefinement:
        """All arrays on `device`."""
        return CameraRefinement(self.rows.to(device), self.gathered.to(device))

    @property
    def corrections(self) -> torch.Tensor:  # [N, 6]
        """Translation and rotation vector of each photo's camera."""
        return self.rows.values

    @property
    def moved(self) -> tuple[float, float]:
        """How far cameras have turned, in degrees, and moved, as a share of NGP's unit cube: means over the photos."""
        moves, turns = self.corrections[:, :3].norm(dim=1), self.corrections[:, 3:].norm(dim=1)
        return math.degrees(float(turns.mean())), float(moves.mean())

    def gather(self, gradient: torch.Tensor, *, step: int, field_rate: float) -> None:  # [N, 6]
        """Adds a gradient; `step` counts them from 1, every `INTERVAL` cameras move."""
        self.gathered += gradient
        if step % INTERVAL != 0:
            return
        moves = step // INTERVAL
        rate = max(RATE * RATE_DECAY ** (moves / RATE_STEPS), RATE_SHARE * field_rate)
        options = AdamOptions(learning_rate=rate, l2=L2, skip_zero_rows=True)
        adam_step(self.rows, self.gathered / INTERVAL, step=moves, options=options)
        self.rows.values.sub_(self.rows.values.mean(dim=0))
        self.gathered.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        return self.rows.tensors("cameras") | {"cameras.gathered": self.gathered}

    @staticmethod
    def from_tensors(tensors: dict[str, torch.Tensor]) -> CameraRefinement:
        """Raises: KeyError for an array that is missing."""
        return CameraRefinement(AdamRows.from_tensors("cameras", tensors), tensors["cameras.gathered"].clone())


def corrected(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    corrections: torch.Tensor,  # [R, 6] of each ray's photo
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rays of moved cameras, unit as before; differentiable."""
    moves, turns = corrections[:, :3], corrections[:, 3:]
    # Rodrigues' formula by sin(a) / a and (1 - cos(a)) / a^2, smooth where there is no turn; angles are small.
    square = turns.square().sum(dim=1, keepdim=True)
    first = 1.0 - square / 6.0 + square.square() / 120.0
    second = 0.5 - square / 24.0 + square.square() / 720.0
    across = torch.linalg.cross(turns, directions)
    turned = directions + first * across + second * torch.linalg.cross(turns, across)
    return origins + moves, torch.nn.functional.normalize(turned, dim=1)


def sampled_along(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    samples: Samples,
) -> torch.Tensor:  # [S, 3]
    """The samples' positions by the rays that they lie on, through which a gradient comes back to them."""
    t = 0.5 * (samples.t_starts + samples.t_ends)
    total = samples.t_starts.shape[0]
    spread = (a.repeat_interleave(samples.ray_counts, dim=0, output_size=total) for a in (origins, directions))
    origin, direction = spread
    return origin + t[:, None] * direction
