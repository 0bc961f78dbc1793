"""One training batch: which pictures, what the network is told of them, how much noise.

All chance of step k comes from (seed, k): a run that is resumed draws what it would have drawn. B samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from h3d.models.diffusion.network import pose_vector

from .dataset import VIEWS, PosedViews

KNOWN = ("reference", "reference and caption", "caption and place", "place", "caption", "nothing")
SHARES = (0.42, 0.23, 0.20, 0.05, 0.02, 0.08)
"""What is told, and how often: one model learns all that classifier-free guidance subtracts."""


@dataclass(frozen=True)
class Batch:
    """What the network sees and should say."""

    latents: torch.Tensor  # [B, 4, s, s] in [-1, 1]
    noise: torch.Tensor  # [B, 4, s, s]
    timesteps: torch.Tensor  # [B] int64
    reference: torch.Tensor  # [B, 4, s, s]
    pose: torch.Tensor  # [B, POSE_DIMENSIONS]
    tokens: torch.Tensor  # [B, MAX_TOKENS] int64


def draw_batch(dataset: PosedViews, size: int, timesteps: int, *, seed: int, step: int) -> Batch:
    """The batch of a step."""
    rng = np.random.default_rng((seed, step))
    objects = rng.integers(len(dataset), size=size)
    target, seen = rng.integers(VIEWS, size=size), rng.integers(VIEWS, size=size)
    latents = latents_of(dataset.pictures(objects, target))
    reference = latents_of(dataset.pictures(objects, seen))
    known = rng.choice(len(KNOWN), size=size, p=SHARES)
    has_reference = torch.from_numpy(known <= 1)
    has_place = torch.from_numpy((known == 2) | (known == 3))
    has_caption = torch.from_numpy((known == 1) | (known == 2) | (known == 4))
    poses = torch.from_numpy(dataset.poses[objects, target])
    compared = pose_vector(poses, torch.from_numpy(dataset.poses[objects, seen]))
    placed = pose_vector(poses, absolute=True)
    return Batch(
        latents,
        torch.from_numpy(rng.standard_normal(tuple(latents.shape), np.float32)),
        torch.from_numpy(rng.integers(timesteps, size=size)),
        reference * has_reference[:, None, None, None],
        compared * has_reference[:, None] + placed * has_place[:, None],
        torch.from_numpy(dataset.tokens[objects].astype(np.int64)) * has_caption[:, None],
    )


def latents_of(pictures: np.ndarray) -> torch.Tensor:  # [B, s, s, 4] uint8 premultiplied -> [B, 4, s, s] float32
    """Pictures as the network sees them: in front of mid-grey, which is 0, and cover from -1 to 1."""
    values = torch.from_numpy(pictures.astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    alpha = values[:, 3:]
    # Over a grey of 0.5, then 2x - 1: premultiplied colour less cover.
    return torch.cat([2.0 * values[:, :3] - alpha, 2.0 * alpha - 1.0], dim=1).contiguous()
