"""What a full pass and a hit cost, in multiply-adds, counted without computing: on the meta device, in milliseconds.

Two sums, as torch's own counter sees them when the model runs: layers (convolutions and linear layers, what the
paper's 16.9 % and most published "MACs" mean) and the products of attention (queries with keys, weights with values),
which grow with the square of the pixels and weigh more in a hit, for it runs at full resolution: at Stable Diffusion's
64 x 64 a hit costs 17 % of the layers and 22 % of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .cut import capturing, thin

ATTENTION = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
"""Batched products; a linear layer is mm or addmm."""


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one row of a batch."""

    full_layers: int
    hit_layers: int
    full_attention: int
    hit_attention: int

    @property
    def layers_share(self) -> float:
        """A hit's convolutions and linear layers, of a full pass's."""
        return self.hit_layers / self.full_layers

    @property
    def share(self) -> float:
        """All of a hit, of all of a full pass."""
        return (self.hit_layers + self.hit_attention) / (self.full_layers + self.full_attention)


def cost(config: Mapping[str, Any], height: int, width: int, tokens: int = 77) -> Cost:
    """Cost of a UNet2DConditionModel of this configuration at a latent of height x width, without weights."""
    from diffusers.models.attention_processor import AttnProcessor
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(config))
        assert isinstance(unet, UNet2DConditionModel)
        # Products written out, which the counter knows on every device.
        unet.set_attn_processor(AttnProcessor())
        arguments = {
            "sample": torch.empty(1, unet.config["in_channels"], height, width),
            "timestep": torch.empty(1),
            "encoder_hidden_states": torch.empty(1, tokens, _width(unet.config["cross_attention_dim"])),
            "class_labels": _class_labels(unet),
        }
        with torch.no_grad(), FlopCounterMode(display=False) as full:
            _, feature = capturing(unet, lambda: unet(**arguments))
        with torch.no_grad(), FlopCounterMode(display=False) as hit:
            type(unet).forward(thin(unet, feature), **arguments)
    full_layers, full_attention = _counted(full)
    hit_layers, hit_attention = _counted(hit)
    return Cost(full_layers, hit_layers, full_attention, hit_attention)


def _counted(counter: FlopCounterMode) -> tuple[int, int]:
    """Multiply-adds of layers and of attention; a flop is half of one."""
    by_operator = counter.get_flop_counts()["Global"]
    attention = sum(flops for operator, flops in by_operator.items() if operator in ATTENTION)
    return (sum(by_operator.values()) - attention) // 2, attention // 2


def _width(dimension: int | tuple[int, ...] | list[int]) -> int:
    return dimension if isinstance(dimension, int) else dimension[0]


def _class_labels(unet: Any) -> torch.Tensor | None:
    if unet.config["class_embed_type"] in ("projection", "simple_projection"):
        return torch.empty(1, unet.config["projection_class_embeddings_input_dim"])
    if unet.config["class_embed_type"] == "timestep":
        return torch.empty(1)
    if unet.config["num_class_embeds"] is not None:
        return torch.zeros(1, dtype=torch.long)
    return None


STABLE_DIFFUSION_1_5: Mapping[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""What the folder unet/ of Stable Diffusion 1.5 says."""
