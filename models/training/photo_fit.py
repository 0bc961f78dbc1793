"""What is learnt of each photo beside the scene, where that is wanted: where its camera stood, and how it exposed.

A step shows one photo of P: `view` gives its camera and its map of colours as the run knows them by now, with leaves
that the loss's gradient reaches, and `step` moves them. Both are off at first, can be turned on and off at any step,
and stay where they have got to when turned off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .camera_refinement import CameraRefinement, corrected_viewmat
from .exposure import Exposure, exposed

CAMERAS, EXPOSURE = "refine_cameras", "exposure"
"""The fields of a config that turn them on."""


@dataclass(frozen=True, eq=False)
class PhotoView:
    """One photo in one step."""

    viewmat: torch.Tensor  # [4, 4]
    deviation: torch.Tensor | None  # [12], None = as the scene is
    leaves: Mapping[str, torch.Tensor]  # what is learnt of the photo, of each [F]

    def exposed(self, rgb: torch.Tensor, alpha: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """The picture [H, W, 3] with the photo's exposure; `alpha` is [H, W], `background` [3]."""
        return rgb if self.deviation is None else exposed(rgb, alpha, background, self.deviation.to(rgb.device))

    @property
    def gradients(self) -> dict[str, torch.Tensor]:  # of each [1, F]
        """After `backward`, of what the loss depends on."""
        return {name: leaf.grad[None] for name, leaf in self.leaves.items() if leaf.grad is not None}


@dataclass(eq=False)
class PhotoFit:
    """The state of both, a few numbers a photo, on the CPU whatever learns the scene. Changed in place."""

    places: torch.Tensor  # [P, 3] of the cameras about their middle, in units of `extent`
    extent: float  # of the scene; translations are shares of it
    cameras: CameraRefinement | None = None  # None = they are where the data set has them
    exposure: Exposure | None = None  # None = all photos are as the scene is
    refining: bool = False
    exposing: bool = False

    @staticmethod
    def of(positions: torch.Tensor, extent: float) -> PhotoFit:  # [P, 3] of the cameras
        """Before the first step, both off."""
        return PhotoFit((positions - positions.mean(dim=0)) / extent, extent)

    def turn(self, name: str, on: bool) -> None:
        """Turns `CAMERAS` or `EXPOSURE` on or off from the next step on."""
        if name == CAMERAS:
            self.refining = on
            self.cameras = self.cameras or (CameraRefinement.of(len(self.places)) if on else None)
        else:
            self.exposing = on
            self.exposure = self.exposure or (Exposure.of(len(self.places)) if on else None)

    def view(self, photo: int, viewmat: torch.Tensor) -> PhotoView:
        """The photo as the run knows it by now."""
        leaves, deviation = {}, None
        if self.exposure is not None:
            deviation = self.exposure.deviations[photo].clone().requires_grad_(self.exposing)
            leaves |= {EXPOSURE: deviation} if self.exposing else {}
        if self.cameras is not None:
            correction = self.cameras.corrections[photo].clone().requires_grad_(self.refining)
            leaves |= {CAMERAS: correction} if self.refining else {}
            viewmat = corrected_viewmat(viewmat, correction, self.extent)
        return PhotoView(viewmat, deviation, leaves)

    def step(self, photo: int, gradients: Mapping[str, torch.Tensor], *, step: int, decayed: float) -> None:
        """Moves what there is a gradient of; `decayed` runs from 0 to 1 over the decay of the rates."""
        if self.cameras is not None and CAMERAS in gradients:
            self.cameras.move(photo, gradients[CAMERAS][0], self.places, step=step, decayed=decayed)
        if self.exposure is not None and EXPOSURE in gradients:
            self.exposure.move(photo, gradients[EXPOSURE][0], step=step, decayed=decayed)

    @property
    def facts(self) -> dict[str, str]:
        """How far it has gone, as a person reads it."""
        facts = {}
        if self.cameras is not None:
            degrees, share = self.cameras.moved
            facts["cameras moved"] = f"{degrees:.3f} degrees, {100.0 * share:.3f} % of the scene (mean)"
        if self.exposure is not None:
            facts["exposure"] = f"{100.0 * self.exposure.changed:.2f} % (root mean square)"
        return facts

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name."""
        tensors = {} if self.cameras is None else self.cameras.tensors()
        return tensors if self.exposure is None else tensors | self.exposure.tensors()

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`. Raises: KeyError for something that is missing."""
        self.cameras = CameraRefinement.from_tensors(tensors) if "cameras.gathered" in tensors else None
        self.exposure = Exposure.from_tensors(tensors) if "exposure.values" in tensors else None
