"""The embedded denoiser's network: a stock UNet2DConditionModel in pixels, and a reader of captions.

What it is given beside the noisy picture: a reference picture, concatenated to the channels; a pose, through the
projection that is added to the time embedding; a caption, through cross-attention. Any of them may be left out, which
is what it was trained for by dropout. It predicts v. Pictures have four channels, colour and cover, in [-1, 1].
The last up block is narrow: what feature reuse has to compute again, from the input of that block's second resnet on,
is a seventh of the network. B pictures of s x s pixels, T tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from h3d.models.procedural import MAX_TOKENS, VOCABULARY

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

CHANNELS = 4
POSE_DIMENSIONS = 12
NORMAL_RADIUS = 2.0
"""Camera distance that the pose vector counts from."""


@dataclass(frozen=True)
class NetworkConfig:
    """The plan of the network."""

    size: int = 32
    """Pixels along each side."""
    channels: tuple[int, ...] = (32, 64, 128, 160)
    """Of each level; every level after the first has half the resolution of the one before."""
    attention: tuple[bool, ...] = (False, False, True, True)
    """Which levels attend, to themselves and to the caption; from 8 x 8 down, for it is the slowest part to train."""
    layers: tuple[int, ...] = (2, 1, 1, 1)
    """Resnets of each level on the way down; one more on the way up."""
    heads: int = 4
    groups: int = 8
    """Of the group normalisations; every number of channels is a multiple."""
    text_width: int = 64


class EmbeddedNetwork(nn.Module):
    """Predicts v of a noisy picture from what it is given."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.unet = _unet(config)
        self.captions = CaptionEncoder(config.text_width, config.heads)

    def forward(
        self,
        noisy: torch.Tensor,  # [B, 4, s, s]
        timesteps: torch.Tensor,  # [B] int64
        reference: torch.Tensor,  # [B, 4, s, s], 0 where there is none
        pose: torch.Tensor,  # [B, POSE_DIMENSIONS], see pose_vector
        tokens: torch.Tensor,  # [B, MAX_TOKENS] int64, all 0 where there is no caption
    ) -> torch.Tensor:  # [B, 4, s, s]
        stacked = torch.cat([noisy, reference], dim=1)
        return self.unet(stacked, timesteps, self.captions(tokens), class_labels=pose).sample


class CaptionEncoder(nn.Module):
    """Words and their places, which look at one another once."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.places = nn.Parameter(torch.randn(MAX_TOKENS, width) / math.sqrt(width))
        self.mixer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # [B, T] int64 -> [B, T, width]
        return self.norm(self.mixer(self.words(tokens) + self.places))


def pose_vector(
    target: torch.Tensor,  # [B, 3] azimuth and elevation in degrees, radius
    reference: torch.Tensor | None = None,  # [B, 3], of the reference picture
    *,
    absolute: bool = False,
) -> torch.Tensor:  # [B, POSE_DIMENSIONS]
    """What the network is told of the camera.

    Six numbers compare it with the reference's (all 0 without one): sin and cos of the azimuths' difference,
    differences of elevation (radians) and radius, elevation and radius of the reference. Four say where it stands about
    an object whose front is known, with `absolute`: sin and cos of azimuth, elevation, radius. Two flags say which are
    given.
    """
    vector = target.new_zeros(len(target), POSE_DIMENSIONS)
    angles = torch.deg2rad(target[:, :2])
    if reference is not None:
        seen = torch.deg2rad(reference[:, :2])
        turned = angles[:, 0] - seen[:, 0]
        vector[:, 0], vector[:, 1] = torch.sin(turned), torch.cos(turned)
        vector[:, 2] = angles[:, 1] - seen[:, 1]
        vector[:, 3] = target[:, 2] - reference[:, 2]
        vector[:, 4], vector[:, 5] = seen[:, 1], reference[:, 2] - NORMAL_RADIUS
        vector[:, 10] = 1.0
    if absolute:
        vector[:, 6], vector[:, 7] = torch.sin(angles[:, 0]), torch.cos(angles[:, 0])
        vector[:, 8], vector[:, 9] = angles[:, 1], target[:, 2] - NORMAL_RADIUS
        vector[:, 11] = 1.0
    return vector


def _unet(config: NetworkConfig) -> UNet2DConditionModel:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    plan: dict[str, Any] = {
        "sample_size": config.size,
        "in_channels": 2 * CHANNELS,
        "out_channels": CHANNELS,
        "block_out_channels": config.channels,
        "layers_per_block": config.layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in config.attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in config.attention[::-1]),
        "cross_attention_dim": config.text_width,
        "attention_head_dim": config.heads,  # diffusers takes this for the number of heads.
        "norm_num_groups": config.groups,
        "resnet_time_scale_shift": "scale_shift",
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": POSE_DIMENSIONS,
    }
    return UNet2DConditionModel(**plan)
