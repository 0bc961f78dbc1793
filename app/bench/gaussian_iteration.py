"""A whole iteration of training Gaussians, by the real trainer, and how many times as fast it is as one in torch.

50,000 made-up Gaussians of SH degree 3, all in view at 400x400, learn from a picture of others. The reference draws by
gsplat's functions in torch (`peer_gsplat`), with the loss of `models/losses.py` and torch's Adam; it does not count
what densification asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from h3d.models import losses
from h3d.models.datasets import PosedImage, PosedImages
from h3d.models.trained_gaussians import BETA2, TrainedGaussians
from h3d.models.training.gaussians import GaussiansTrainer, GaussiansTraining
from h3d.models.training.gaussians_state import GaussiansState
from h3d.models.training.pinhole_photos import PinholePhoto
from h3d.renderers import RasterOptions, SplatScene, rasterize_scenes
from h3d.renderers.adam import BETA1, EPSILON
from h3d.renderers.cameras import Camera
from h3d.renderers.threads import one_torch_thread

from . import scenes
from .metrics import Effort, Metric, best_of_blocks, milliseconds, ratio, timed
from .peer_gsplat import composite, project, torch_functions

ROWS, SIDE = 50_000, 400
CONFIG = GaussiansTraining(background="black", sh_interval=4, cap=ROWS)


def iteration(effort: Effort) -> Iterator[Metric]:
    """Milliseconds of drawing, loss, gradients and Adam together."""
    step = _our_step(*_trainer())
    yield milliseconds("gaussians/train/iteration_50k_400_ms", 1e3 * best_of_blocks(lambda: timed(step), effort))


def against_torch(effort: Effort) -> Iterator[Metric]:
    """How many times as fast as one in torch at the same size, which takes seconds: quickly, it is made once."""
    reference = torch_functions()
    trainer, state = _trainer()
    ours = _our_step(trainer, state)
    theirs = _their_step(trainer, state, lambda scene, camera: project(reference, scene, camera))
    before = best_of_blocks(lambda: timed(ours), effort)
    their_seconds = min(timed(theirs) for _ in range(1 if effort.quick else 3))
    our_seconds = min(before, best_of_blocks(lambda: timed(ours), effort))
    yield ratio("peers/gsplat_torch/iteration_50k_400_speedup", their_seconds / our_seconds)


def _trainer() -> tuple[GaussiansTrainer, GaussiansState]:
    """A run in which all degrees of SH are learnt, long before rows come and go."""
    asset, other = (scenes.synthetic(ROWS, seed).with_sh_degree(3) for seed in (0, 1))
    camera = scenes.camera(asset, scenes.FAR, SIDE, SIDE)
    viewmat, K = torch.from_numpy(camera.viewmat), torch.from_numpy(camera.K)
    options = RasterOptions(depth=False, backend="cpu")
    seen = rasterize_scenes([scenes.splat_scene(other)], viewmat[None], K[None], SIDE, SIDE, options=options)
    pixels = (255.0 * seen.rgb[0].clamp(0.0, 1.0)).round().to(torch.uint8)
    posed = PosedImage(Path("made up"), camera.camera_to_world, np.asarray(camera.K), SIDE, SIDE)
    dataset = PosedImages("made up", Path("made up"), (posed,), train=(0,), test=(), points=asset.means.numpy())
    trainer = GaussiansTrainer(dataset, CONFIG, (PinholePhoto(viewmat.float(), K.float(), pixels, None),))
    state = replace(trainer.start(), rows=TrainedGaussians.of(asset), step=CONFIG.sh_interval * CONFIG.sh_degree)
    return trainer, state


def _our_step(trainer: GaussiansTrainer, state: GaussiansState) -> Callable[[], object]:
    def step() -> None:
        with one_torch_thread():
            trainer.advance(state)

    return step


def _their_step(
    trainer: GaussiansTrainer,
    state: GaussiansState,
    projected: Callable[[SplatScene, Camera], tuple[torch.Tensor, ...]],
) -> Callable[[], object]:
    """The same from copies of the same rows."""
    rows = {name: group.values.clone().requires_grad_() for name, group in state.rows.groups.items()}
    rates = trainer.rates(CONFIG, state.step)
    groups = [{"params": [rows[name]], "lr": rate} for name, rate in rates.items()]
    optimizer = torch.optim.Adam(groups, betas=(BETA1, BETA2), eps=EPSILON)
    camera = scenes.camera(scenes.synthetic(ROWS), scenes.FAR, SIDE, SIDE)
    target = trainer.photos[0].over(torch.zeros(3))

    def step() -> None:
        scene = SplatScene(
            rows["means"],
            rows["quats"],
            rows["log_scales"].exp(),
            rows["logit_opacities"][:, 0].sigmoid(),
            rows["sh"].view(ROWS, -1, 3),
        )
        picture = composite((SIDE, SIDE), *projected(scene, camera))
        unlike = 1.0 - losses.ssim(picture, target, padding="same")
        share = CONFIG.ssim_share
        optimizer.zero_grad()
        ((1.0 - share) * losses.l1(picture, target) + share * unlike).backward()
        optimizer.step()

    return step
