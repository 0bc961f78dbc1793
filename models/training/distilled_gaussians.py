"""3D Gaussians under score distillation: drawn by the differentiable rasteriser, moved by Adam, thinned by a strategy.

Colours do not depend on the direction: a denoiser's views do not agree well enough to learn that from.
Source: Tang et al. 2023 (DreamGaussian), section 3.1, for the start in a ball and the rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from h3d.models.density import DefaultStrategy
from h3d.models.gaussians import Gaussians
from h3d.models.initial_gaussians import initial_gaussians
from h3d.models.knobs import Setting
from h3d.models.similarity import IDENTITY, Similarity
from h3d.models.trained_gaussians import StepInfo, TrainedGaussians
from h3d.renderers.cameras import Camera
from h3d.renderers.differentiable_gaussians import TrainingPictures, rasterize_for_training
from h3d.renderers.gaussians import RasterOptions

from .distilled_config import Distillation, strategy_of
from .distilled_scene import DistilledScene, ScenePictures
from .edited_rows import edit_rows, frame_from, frame_tensor, shown
from .edits import RowEdit
from .soundness import INTERVAL, drop_bad_rows, wild_gradients

EXTENT = 1.0
"""Of the scene, against which sizes are judged: the subject lies in a ball of three quarters of it."""
START_GREY = 0.5


class GaussiansScene(DistilledScene[Gaussians]):
    """Rows, and what the last pictures said of them."""

    def __init__(self, config: Distillation, generator: torch.Generator) -> None:
        points = _in_a_ball(config.initial_points, config.initial_radius, generator)
        colors = torch.full_like(points, START_GREY)
        self.rows = TrainedGaussians.of(initial_gaussians(points, colors, generator, 0))
        self.frame: Similarity = IDENTITY
        self._leaves: dict[str, torch.Tensor] = {}
        self._seen: TrainingPictures | None = None

    @property
    def count(self) -> int:
        return int(self.rows.live.sum())

    def pictures(
        self, cameras: Sequence[Camera], background: float, generator: torch.Generator, *, depth: bool = False
    ) -> ScenePictures:
        del generator
        self._leaves = leaves = {name: rows.values.requires_grad_() for name, rows in self.rows.groups.items()}
        viewmats = torch.stack([torch.from_numpy(camera.viewmat) for camera in cameras]).float()
        Ks = torch.stack([torch.from_numpy(camera.K) for camera in cameras]).float()
        self._seen = rasterize_for_training(
            leaves["means"],
            leaves["quats"],
            leaves["log_scales"].exp(),
            leaves["logit_opacities"][:, 0].sigmoid() * self.rows.live,
            leaves["sh"].view(len(self.rows), -1, 3),
            viewmats,
            Ks,
            cameras[0].width,
            cameras[0].height,
            options=RasterOptions(background=(background, background, background), sh_degree=0, depth=depth),
        )
        seen = self._seen
        rgb, alpha = seen.pictures.rgb.permute(0, 3, 1, 2), seen.pictures.alpha[:, None]
        far = None if seen.pictures.depth is None else seen.pictures.depth.detach()
        return ScenePictures(rgb, alpha, int((seen.radii > 0).any(dim=0).sum()), far)

    def descend(
        self, loss: torch.Tensor, config: Distillation, step: int, generator: torch.Generator
    ) -> tuple[Mapping[str, Setting], str]:
        assert self._seen is not None
        loss.backward()
        gradients = {name: leaf.grad for name, leaf in self._leaves.items() if leaf.grad is not None}
        for leaf in self._leaves.values():
            leaf.requires_grad_(False)
            leaf.grad = None
        wild = wild_gradients(gradients) or ("" if math.isfinite(float(loss.detach())) else "the loss is no number")
        if wild:
            dropped = drop_bad_rows(self.rows)
            return {}, f"{wild} at step {step}, left out" + (f"; {dropped}" if dropped else "")
        rates, strategy = _rates(config, step), strategy_of(config)
        info = self._info(self._seen, isinstance(strategy, DefaultStrategy) and strategy.absgrad, rates["means"])
        self.rows.step(gradients, rates, step=step, visible=info.visible)
        change = strategy.after_step(self.rows, step, info, generator)
        dropped = drop_bad_rows(self.rows) if step % INTERVAL == 0 else ""
        return change.noted, f"{dropped} after step {step}" if dropped else ""

    def snapshot(self, remark: str) -> Gaussians:
        return shown(self, 0, remark=remark)

    def edit(self, edit: RowEdit) -> RowEdit:
        return edit_rows(self, self.snapshot(""), edit)

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.rows.tensors("rows") | {"frame": frame_tensor(self.frame)}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.rows = TrainedGaussians.from_tensors("rows", dict(tensors))
        self.frame = frame_from(tensors["frame"])

    def _info(self, seen: TrainingPictures, absgrad: bool, means_rate: float) -> StepInfo:
        """Of each row the mean over the cameras that drew it."""
        norms = seen.abs_gradient_norms if absgrad else seen.gradient_norms
        drawn = seen.radii > 0
        side = seen.pictures.rgb.shape[1]
        return StepInfo(
            gradients=norms.sum(dim=0) / drawn.sum(dim=0).clamp(min=1) * (0.5 * side),
            radii=seen.radii.amax(dim=0),
            visible=drawn.any(dim=0),
            longest_side=side,
            extent=EXTENT,
            means_rate=means_rate,
        )


def _rates(config: Distillation, step: int) -> dict[str, float]:
    rates, progress = config.rates, min(step / config.steps, 1.0)
    return {
        "means": rates.means * (rates.means_end / rates.means) ** progress,
        "log_scales": rates.scales,
        "quats": rates.quats,
        "logit_opacities": rates.opacities,
        "sh": rates.sh,
    }


def _in_a_ball(count: int, radius: float, generator: torch.Generator) -> torch.Tensor:  # [count, 3]
    """Evenly in the volume."""
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    return directions * radius * torch.rand(count, 1, generator=generator) ** (1 / 3)
