"""Small random UNets of diffusers in many shapes, and what they are called with."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

ATTENTION_OUTSIDE: dict[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
"""As Stable Diffusion."""
ATTENTION_INSIDE: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
"""As Stable Diffusion XL and the embedded denoiser."""
TEXT = 16


def tiny_unet(seed: int = 0, **config: Any) -> Any:
    """A UNet of two levels with weights that differ from one another and from their initial zeros."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 2,
        "cross_attention_dim": TEXT,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    unet = UNet2DConditionModel(**(shape | ATTENTION_OUTSIDE | config)).eval()
    for parameter in unet.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return unet


def tiny_inputs(unet: Any, rows: int = 2, seed: int = 0, size: int = 8) -> dict[str, Any]:
    """Arguments of a call with `rows` rows that differ, timesteps too."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(unet.dtype)

    arguments: dict[str, Any] = {
        "sample": normal(rows, unet.config["in_channels"], size, size),
        "timestep": torch.randint(0, 1000, (rows,), generator=generator),
        "encoder_hidden_states": normal(rows, 5, TEXT),
    }
    kind = unet.config["class_embed_type"]
    if kind in ("projection", "simple_projection"):
        arguments["class_labels"] = normal(rows, unet.config["projection_class_embeddings_input_dim"])
    elif kind == "timestep" or unet.config["num_class_embeds"] is not None:
        arguments["class_labels"] = torch.arange(rows)
    if unet.config["time_cond_proj_dim"] is not None:
        arguments["timestep_cond"] = normal(rows, unet.config["time_cond_proj_dim"])
    if unet.config["addition_embed_type"] == "text_time":
        arguments["added_cond_kwargs"] = {"text_embeds": normal(rows, 8), "time_ids": normal(rows, 6)}
    return arguments
