"""A hash-grid radiance field under score distillation: every pixel of a view is a ray.

Colours do not depend on the direction's details: the colour network sees it, as in every field here, and learns what
the views agree on. The subject lies in the unit cube of NGP space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from h3d.models.datasets.ngp_space import NgpSpace
from h3d.models.encodings import encode, fresh_table
from h3d.models.hash_grid import DENSITY_FEATURES, HashGridField, Weights, density_of, occupancy, rgb_of
from h3d.models.knobs import Setting
from h3d.models.procedural import OBJECT_RADIUS
from h3d.renderers import harmonics
from h3d.renderers.adam import AdamOptions, AdamRows, adam_step
from h3d.renderers.cameras import Camera, pixel_directions
from h3d.renderers.fields import GRID_CELLS, Samples, composite, march
from h3d.renderers.hash_encoding import HashGridConfig, per_level_scale
from h3d.renderers.mlp import initial_weights, mlp

from . import occupancy as occupancy_grid
from .distilled_config import Distillation
from .distilled_scene import DistilledScene, ScenePictures
from .sampling import kept

LEVELS, FEATURES, LOG2_TABLE_SIZE, FINEST = 8, 4, 15, 256
HIDDEN = 64
NETWORK_L2 = 1e-6
AVERAGE_DECAY = 0.9
GRID_SHARE = 1 / 32
MARGIN = 1.05
"""The cube's half side, in radii of the ball that holds the subject."""
SPACE = NgpSpace(scale=0.5 / (MARGIN * OBJECT_RADIUS))


class FieldScene(DistilledScene[HashGridField]):
    """Table, networks and occupancy, and the steps taken."""

    def __init__(self, config: Distillation, generator: torch.Generator) -> None:
        del config
        scale = per_level_scale(16, FINEST, LEVELS)
        self.encoding = HashGridConfig(
            levels=LEVELS, features=FEATURES, log2_table_size=LOG2_TABLE_SIZE, per_level_scale=scale
        )
        self.aabb = torch.tensor([[0.0] * 3, [1.0] * 3])
        self.table = AdamRows.of(fresh_table(self.encoding, generator))
        density = initial_weights((self.encoding.width, HIDDEN, DENSITY_FEATURES), generator)
        rgb = initial_weights((DENSITY_FEATURES + 16, HIDDEN, HIDDEN, 3), generator)
        self.networks = [AdamRows.of(weights) for weights in (*density, *rgb)]
        self.depth = len(density)
        self.thickness = torch.zeros(1, GRID_CELLS)
        self.step = 0
        self._parameters: list[torch.Tensor] = []

    def pictures(
        self, cameras: Sequence[Camera], background: float, generator: torch.Generator, *, depth: bool = False
    ) -> ScenePictures:
        self._update_occupancy(generator)
        origins, directions = _rays(cameras)
        samples = self._samples(origins, directions, generator)
        self._parameters = [self.table.values.requires_grad_()]
        self._parameters += [network.values.requires_grad_() for network in self.networks]
        weights = tuple(self._parameters[1:])
        features = self._features(samples.positions, self._parameters[0], weights[: self.depth])
        bases = harmonics.basis(directions, 3).repeat_interleave(samples.ray_counts, dim=0)
        rgb = rgb_of(features, bases, weights[self.depth :])
        seen = composite(density_of(features), rgb, samples, background=(background, background, background))
        shape = (len(cameras), cameras[0].height, cameras[0].width)
        return ScenePictures(
            rgb=seen.rgb.view(*shape, 3).permute(0, 3, 1, 2),
            alpha=seen.alpha.view(*shape)[:, None],
            samples=len(samples.positions),
            depth=_along_axes(seen.depth.detach(), cameras) if depth else None,
        )

    def descend(
        self, loss: torch.Tensor, config: Distillation, step: int, generator: torch.Generator
    ) -> tuple[Mapping[str, Setting], str]:
        del generator
        gradients = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
        for tensor in self._parameters:
            tensor.requires_grad_(False)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients) or not math.isfinite(loss.item()):
            return {}, f"gradients that are no numbers at step {step}, left out"
        self.step += 1
        options = AdamOptions(learning_rate=config.field_rate, decay=AVERAGE_DECAY)
        adam_step(self.table, gradients[0], step=self.step, options=options)
        for network, gradient in zip(self.networks, gradients[1:], strict=True):
            adam_step(
                network,
                gradient,
                step=self.step,
                options=AdamOptions(learning_rate=config.field_rate, decay=AVERAGE_DECAY, l2=NETWORK_L2),
            )
        return {}, ""

    def snapshot(self, remark: str) -> HashGridField:
        weights = [network.averaged(self.step, AVERAGE_DECAY) for network in self.networks]
        return HashGridField(
            encoding=self.encoding,
            table=self.table.averaged(self.step, AVERAGE_DECAY),
            density_weights=tuple(weights[: self.depth]),
            rgb_weights=tuple(weights[self.depth :]),
            thickness=self.thickness.clone(),
            aabb=self.aabb,
            ngp_from_world=torch.from_numpy(SPACE.matrix),
            remark=remark,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        tensors = self.table.tensors("table") | {"thickness": self.thickness, "steps": torch.tensor([self.step])}
        for index, network in enumerate(self.networks):
            tensors |= network.tensors(f"network.{index}")
        return tensors

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        found = dict(tensors)
        self.table = AdamRows.from_tensors("table", found)
        self.networks = [AdamRows.from_tensors(f"network.{index}", found) for index in range(len(self.networks))]
        self.thickness, self.step = tensors["thickness"].clone(), int(tensors["steps"][0])

    def _features(self, positions: torch.Tensor, table: torch.Tensor, weights: Weights) -> torch.Tensor:  # [S, 16]
        return mlp(encode(positions, table, self.encoding), weights)

    def _density(self, positions: torch.Tensor) -> torch.Tensor:  # [S, 3] -> [S]
        weights = tuple(network.values for network in self.networks[: self.depth])
        with torch.no_grad():
            return density_of(self._features(positions, self.table.values, weights))

    def _update_occupancy(self, generator: torch.Generator) -> None:
        due = occupancy_grid.due(self.step, 1)
        if len(due) > 0:
            occupancy_grid.update(self.thickness, due, self._density, generator, step=self.step, share=GRID_SHARE)

    def _samples(self, origins: torch.Tensor, directions: torch.Tensor, generator: torch.Generator) -> Samples:
        """Where the rays are sampled: in occupied cells, as far as light of a ray gets through."""
        jitter = torch.rand(len(origins), generator=generator)
        grid = occupancy(self.thickness)
        samples = march(origins, directions, grid, aabb=self.aabb, cone_angle=0.0, jitter=jitter)
        density = self._density(samples.positions)
        colors = torch.zeros(len(density), 3)
        counts = composite(density, colors, samples, background=(0.0, 0.0, 0.0)).counts
        assert counts is not None
        return kept(samples, counts)


def _along_axes(distances: torch.Tensor, cameras: Sequence[Camera]) -> torch.Tensor:  # [R] -> [B, H, W]
    """Depths along the cameras' axes in the world, of distances along rays in NGP space."""
    directions = [pixel_directions(c, (0, 0, c.width, c.height)) @ c.camera_to_world[:3, 2] for c in cameras]
    shape = (len(cameras), cameras[0].height, cameras[0].width)
    return distances.view(shape) / SPACE.scale * torch.from_numpy(np.stack(directions)).to(distances).view(shape)


def _rays(cameras: Sequence[Camera]) -> tuple[torch.Tensor, torch.Tensor]:  # [R, 3] twice, in NGP space
    """Through every pixel, camera by camera, row by row."""
    pixels = cameras[0].width * cameras[0].height
    directions = np.concatenate([pixel_directions(c, (0, 0, c.width, c.height)) for c in cameras])
    origins = np.repeat(np.stack([SPACE.points_to_ngp(c.position) for c in cameras]), pixels, axis=0)
    return torch.from_numpy(origins).float(), torch.from_numpy(SPACE.directions_to_ngp(directions)).float()
