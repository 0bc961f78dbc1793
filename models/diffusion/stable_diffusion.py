"""Stable Diffusion 1.x and 2.x from a folder: pictures from words, with a word for the side that the camera is on.

Source: Rombach et al. 2022; the view words and their angles are DreamFusion's (Poole et al. 2022) as threestudio has
them. threestudio adds guidance to the conditional prediction, c + s (c - u); here it is u + s (c - u) everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .denoiser import Denoiser, Prediction, Subject, UNetInputs
from .folders import WeightsError, load_part, read_schedule, require_parts, transformers_classes
from .latents import decode_latents, encode_latents, pixels_per_latent
from .schedule import NoiseSchedule

WHAT = "Stable Diffusion"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
VIEW_WORDS = ("front view", "side view", "back view", "overhead view")
FRONT_DEGREES, BACK_DEGREES, OVERHEAD_DEGREES = 45.0, 135.0, 60.0


@dataclass(frozen=True, eq=False)
class TextDescription:
    """A prompt from each side, and what it is guided away from."""

    views: torch.Tensor  # [4, T, D], in the order of VIEW_WORDS
    negative: torch.Tensor  # [1, T, D]


@dataclass(frozen=True, eq=False)
class StableDiffusionParts:
    """Stock networks of a folder."""

    unet: Any  # UNet2DConditionModel
    vae: Any  # AutoencoderKL
    text_encoder: Any  # CLIPTextModel
    tokenizer: Any  # CLIPTokenizer
    schedule: NoiseSchedule
    prediction: Prediction


class StableDiffusion(Denoiser[TextDescription]):
    """Text to picture."""

    background = 1.0
    guidance_scale = 7.5

    def __init__(self, parts: StableDiffusionParts):
        self.parts = parts
        self.unet, self.schedule, self.prediction = parts.unet, parts.schedule, parts.prediction
        size = int(parts.unet.config.sample_size)
        self.latent_shape = (int(parts.unet.config.in_channels), size, size)
        self.picture_size = size * pixels_per_latent(parts.vae)

    def encode(self, rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.parts.vae, rgb, self.picture_size)

    def decode(self, latents: torch.Tensor) -> tuple[torch.Tensor, None]:
        return decode_latents(self.parts.vae, latents), None

    def describe(self, subject: Subject) -> TextDescription:
        if subject.prompt is None:
            raise ValueError("Stable Diffusion reads a prompt and there is none; give one, or use a Zero123 folder")
        views = [f"{subject.prompt}, {words}" for words in VIEW_WORDS]
        return TextDescription(self._read(views), self._read([subject.negative_prompt]))

    def inputs(self, description: TextDescription, poses: torch.Tensor) -> tuple[UNetInputs, UNetInputs]:
        known = description.views[view_indices(poses).to(description.views.device)]
        return UNetInputs(known), UNetInputs(description.negative.expand(len(poses), -1, -1))

    @torch.no_grad()
    def _read(self, texts: list[str]) -> torch.Tensor:  # -> [len(texts), T, D]
        tokenizer, encoder = self.parts.tokenizer, self.parts.text_encoder
        length = encoder.config.max_position_embeddings
        read = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return encoder(read.input_ids.to(encoder.device)).last_hidden_state


def view_indices(poses: torch.Tensor) -> torch.Tensor:  # [B, 3] -> [B] int64
    """Which of VIEW_WORDS tells where a camera stands; azimuth 0 is the front."""
    turned = (poses[:, 0] + 180.0) % 360.0 - 180.0
    index = torch.ones(len(poses), dtype=torch.int64, device=poses.device)
    index[turned.abs() < FRONT_DEGREES] = 0
    index[turned.abs() > BACK_DEGREES] = 2
    index[poses[:, 1] > OVERHEAD_DEGREES] = 3
    return index


def load_stable_diffusion(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StableDiffusion:
    """Stable Diffusion 1.x or 2.x.

    Raises:
        WeightsError: the folder is not there, lacks a part or does not load; the sentence says which to give.
    """
    require_parts(folder, PARTS, WHAT)
    text_class, tokenizer_class = transformers_classes("CLIPTextModel", "CLIPTokenizer")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    schedule, prediction = read_schedule(folder)
    unet = load_part(UNet2DConditionModel, folder, "unet", dtype)
    if unet.config.in_channels != unet.config.out_channels:
        raise WeightsError(
            f"{folder}: its UNet takes {unet.config.in_channels} channels and gives {unet.config.out_channels}, which "
            "is no text-to-picture model; give a Stable Diffusion 1.x or 2.x folder"
        )
    vae = load_part(AutoencoderKL, folder, "vae", dtype)
    text = load_part(text_class, folder, "text_encoder", dtype)
    try:
        tokenizer = tokenizer_class.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{folder / 'tokenizer'}: it does not load ({error}); fetch it again") from error
    parts = StableDiffusionParts(unet.to(device), vae.to(device), text.to(device), tokenizer, schedule, prediction)
    return StableDiffusion(parts)
