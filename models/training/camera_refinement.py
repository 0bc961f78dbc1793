"""Moving cameras a little while a field is trained, so that their rays meet what they have photographed.

Each of N photos has a correction [6]: a translation of its camera, in NGP space or in shares of a scene's extent, and a
rotation about it as a vector (axis times angle in radians). Fields give all photos of a batch a gradient, and cameras
move every 16 steps; a step of Gaussians shows one photo, whose camera moves at once. Scene and cameras could drift
together and away from photos that are held out, so that corrections are kept at mean zero. R rays, S samples.
Source: Mueller et al. 2022, whose code steps them every 16 steps by Adam, with this rate and this pull towards zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.fields import Samples

INTERVAL = 16
"""Steps of the training whose gradients make one step of the cameras."""
RATE, RATE_SHARE = 1e-3, 1e-3
RATE_DECAY, RATE_STEPS = 0.33, 128
"""The rate falls by this factor in so many steps of the cameras, to `RATE_SHARE` of the field's at least."""
L2 = 1e-4
ONE_RATE, ONE_LAST_SHARE = 1e-3, 0.01
"""Where one camera moves at a time: the rate at first, and the share of it that is left at the end of a decay."""


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
        """How far cameras have turned, in degrees, and moved, in units of the translations: means over the photos."""
        moves, turns = self.corrections[:, :3].norm(dim=1), self.corrections[:, 3:].norm(dim=1)
        return math.degrees(float(turns.mean())), float(moves.mean())

    def gather(self, gradient: torch.Tensor, *, step: int, field_rate: float) -> None:  # [N, 6]
        """Adds a gradient; `step` counts them from 1, every `INTERVAL` cameras move."""
        self.gathered += gradient
        if step % INTERVAL != 0:
            return
        moves = step // INTERVAL
        rate = max(RATE * RATE_DECAY ** (moves / RATE_STEPS), RATE_SHARE * field_rate)
        self._step(self.gathered / INTERVAL, step=moves, rate=rate)
        self.gathered.zero_()

    def move(
        self,
        photo: int,
        gradient: torch.Tensor,  # [6]
        places: torch.Tensor,  # [N, 3] of the cameras about their middle
        *,
        step: int,
        decayed: float,
    ) -> None:
        """A step for one photo's camera; `decayed` runs from 0 to 1 over the decay of the rate."""
        gradients = torch.zeros_like(self.corrections)
        gradients[photo] = gradient
        self._step(gradients, step=step, rate=ONE_RATE * ONE_LAST_SHARE**decayed)
        # Nor may all together go away from the middle, from where a larger scene looks the same.
        moves = self.corrections[:, :3]
        moves -= places * ((moves * places).sum() / places.square().sum().clamp_min(1e-12))

    def _step(self, gradient: torch.Tensor, *, step: int, rate: float) -> None:  # [N, 6]
        adam_step(self.rows, gradient, step=step, options=AdamOptions(learning_rate=rate, l2=L2, skip_zero_rows=True))
        self.rows.values.sub_(self.rows.values.mean(dim=0))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        return self.rows.tensors("cameras") | {"cameras.gathered": self.gathered}

    @staticmethod
    def from_tensors(tensors: Mapping[str, torch.Tensor]) -> CameraRefinement:
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


def corrected_viewmat(
    viewmat: torch.Tensor,  # [4, 4], world to camera, a rigid motion
    correction: torch.Tensor,  # [6]
    unit: float,
) -> torch.Tensor:  # [4, 4]
    """The camera moved and turned as its rays would be; `unit` is the length of a translation of 1. Differentiable."""
    rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
    position = -(rotation.T @ shift)
    scaled = torch.cat([unit * correction[:3], correction[3:]])
    # The rows of the rotation are the camera's axes in the world.
    positions, axes = corrected(position.expand(3, 3), rotation, scaled.expand(3, 6))
    moved = torch.cat([axes, -(axes @ positions[0])[:, None]], dim=1)
    return torch.cat([moved, viewmat[3:]])


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
