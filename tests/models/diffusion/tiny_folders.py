"""Folders in diffusers' layout with networks of a few thousand random weights: what real ones look like, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

EMBEDDING = 16


def _unet(in_channels: int, width: int) -> UNet2DConditionModel:
    plan: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": in_channels,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": width,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**plan)


def _common(folder: Path, in_channels: int, width: int, prediction: str) -> None:
    torch.manual_seed(0)
    _unet(in_channels, width).save_pretrained(folder / "unet")
    vae: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "latent_channels": 4,
        "norm_num_groups": 4,
        "scaling_factor": 0.18215,
    }
    AutoencoderKL(**vae).save_pretrained(folder / "vae")
    noise: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    noise["prediction_type"] = prediction
    DDIMScheduler(**noise).save_pretrained(folder / "scheduler")


def write_stable_diffusion(folder: Path, prediction: str = "epsilon") -> Path:
    from transformers import CLIPTextConfig, CLIPTextModel

    _common(folder, 4, 24, prediction)
    config = CLIPTextConfig(
        vocab_size=len(_words()),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=20,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(_words())}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 20})
    )
    return folder


def _words() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz,"
    return ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]


def write_zero123(folder: Path, part: str = "clip_camera_projection", layer: str = "proj") -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    _common(folder, 8, EMBEDDING, "epsilon")
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=EMBEDDING,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    (folder / part).mkdir()
    weights = {f"{layer}.weight": torch.randn(EMBEDDING, EMBEDDING + 4), f"{layer}.bias": torch.randn(EMBEDDING)}
    safetensors.torch.save_file(weights, folder / part / "diffusion_pytorch_model.safetensors")
    return folder
