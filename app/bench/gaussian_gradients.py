"""What a training step of Gaussians spends in the rasteriser: a picture, and its gradients to every parameter.

50,000 made-up Gaussians with degree-3 colour, all in view at 400x400; the gradient that comes in is that of noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from h3d.renderers import RasterOptions
from h3d.renderers.cameras import Camera
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training

from . import scenes
from .metrics import Effort, Metric, best_of_blocks, milliseconds, timed

ROWS, SIDE = 50_000, 400
OPTIONS = RasterOptions(depth=False)


@dataclass(frozen=True)
class Parameters:
    """What is learnt, in activated form, and from where it is seen."""

    means: torch.Tensor  # [N, 3]
    quats: torch.Tensor  # [N, 4]
    scales: torch.Tensor  # [N, 3]
    opacities: torch.Tensor  # [N]
    sh: torch.Tensor  # [N, 16, 3]
    camera: Camera

    def draw(self) -> TrainingPictures:
        rows = self.means, self.quats, self.scales, self.opacities, self.sh
        viewmats, Ks = torch.from_numpy(self.camera.viewmat)[None], torch.from_numpy(self.camera.K)[None]
        return rasterize_for_training(*rows, viewmats, Ks, SIDE, SIDE, options=OPTIONS)

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [self.means, self.quats, self.scales, self.opacities, self.sh]


def parameters(rows: int = ROWS) -> Parameters:
    asset = scenes.synthetic(rows).with_sh_degree(3)
    scene = scenes.splat_scene(asset)
    names = ("means", "quats", "scales", "opacities", "sh")
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in names}
    return Parameters(**leaves, camera=scenes.camera(asset, scenes.FAR, SIDE, SIDE))


def forward_backward(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of a picture that can be learnt from, alone and with its gradients."""
    learnt = parameters()
    gradient = torch.randn(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))

    def both() -> None:
        torch.autograd.grad(learnt.draw().pictures.rgb, learnt.leaves, gradient)

    yield milliseconds("gaussians/train/forward_50k_400_ms", 1e3 * best_of_blocks(lambda: timed(learnt.draw), effort))
    ms = 1e3 * best_of_blocks(lambda: timed(both), effort)
    yield milliseconds("gaussians/train/forward_backward_50k_400_ms", ms)
