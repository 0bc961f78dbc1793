"""Zero123, Zero123-XL and stable-zero123 from a folder: what a pictured object looks like from another side.

The reference picture goes in twice: its CLIP embedding, joined with the relative pose and projected, is the one token
to attend to; the mean of its latents, not scaled, is concatenated to the noisy latents. Without knowledge both are 0.
Source: Liu et al. 2023, "Zero-1-to-3"; the pose vectors are those of the published diffusers folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch.nn import functional

from .denoiser import Denoiser, Prediction, Subject, UNetInputs
from .folders import (
    WeightsError,
    load_part,
    read_json,
    read_schedule,
    require_parts,
    transformers_classes,
    weights_variant,
)
from .latents import decode_latents, encode_latents, pixels_per_latent
from .schedule import NoiseSchedule

Kind = Literal["zero123", "stable-zero123"]
WHAT = "Zero123"
PARTS = ("unet", "vae", "image_encoder", "scheduler")
PROJECTIONS = {"clip_camera_projection": "proj", "cc_projection": "projection"}
"""Folders of the projection, and the name of the layer in each."""
POSE_NUMBERS = 4
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class ViewDescription:
    """What is known of the reference picture."""

    embedding: torch.Tensor  # [1, 768] of CLIP
    latents: torch.Tensor  # [1, C, h, w] mean, not scaled
    pose: torch.Tensor  # [1, 3]


@dataclass(frozen=True, eq=False)
class Zero123Parts:
    """Stock networks of a folder."""

    unet: Any  # UNet2DConditionModel
    vae: Any  # AutoencoderKL
    image_encoder: Any  # CLIPVisionModelWithProjection
    projection: torch.nn.Linear
    schedule: NoiseSchedule
    prediction: Prediction


class Zero123(Denoiser[ViewDescription]):
    """Picture and relative pose to picture."""

    background = 1.0

    def __init__(self, parts: Zero123Parts, kind: Kind):
        self.parts = parts
        self.kind: Kind = kind
        self.guidance_scale = 3.0
        self.unet, self.schedule, self.prediction = parts.unet, parts.schedule, parts.prediction
        size = int(parts.unet.config.sample_size)
        self.latent_shape = (int(parts.unet.config.out_channels), size, size)
        self.picture_size = size * pixels_per_latent(parts.vae)

    def encode(self, rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return encode_latents(self.parts.vae, rgb, self.picture_size)

    def decode(self, latents: torch.Tensor) -> tuple[torch.Tensor, None]:
        return decode_latents(self.parts.vae, latents), None

    @torch.no_grad()
    def describe(self, subject: Subject) -> ViewDescription:
        if subject.reference is None:
            raise ValueError("Zero123 needs a reference picture and there is none; give one, or use Stable Diffusion")
        if subject.prompt is not None:
            raise ValueError("Zero123 reads no prompt; leave it out, or use Stable Diffusion beside it")
        encoder = self.parts.image_encoder
        rgb = subject.reference.over(self.background).to(encoder.device)
        embedding = encoder(_clip_pixels(rgb, encoder.config.image_size).to(encoder.dtype)).image_embeds
        latents = encode_latents(self.parts.vae, rgb, self.picture_size, scaled=False)
        return ViewDescription(embedding, latents, torch.tensor([subject.reference.pose], device=rgb.device))

    def inputs(self, description: ViewDescription, poses: torch.Tensor) -> tuple[UNetInputs, UNetInputs]:
        count = len(poses)
        numbers = pose_numbers(poses, description.pose.to(poses).expand(count, -1), self.kind)
        embedding = description.embedding.expand(count, -1)
        joined = torch.cat([embedding, numbers.to(embedding)], dim=1)
        tokens = self.parts.projection(joined)[:, None]
        channels = description.latents.expand(count, -1, -1, -1)
        return UNetInputs(tokens, channels), UNetInputs(torch.zeros_like(tokens), torch.zeros_like(channels))


def pose_numbers(
    target: torch.Tensor,  # [B, 3] azimuth and elevation in degrees, radius
    reference: torch.Tensor,  # [B, 3]
    kind: Kind,
) -> torch.Tensor:  # [B, 4]
    """Difference of polar angle (from the zenith, radians), sin and cos of that of azimuth, and a fourth: the
    difference of radius, or in stable-zero123 the polar angle of the reference."""
    polar, reference_polar = torch.deg2rad(90.0 - target[:, 1]), torch.deg2rad(90.0 - reference[:, 1])
    turned = torch.deg2rad(target[:, 0] - reference[:, 0])
    fourth = reference_polar if kind == "stable-zero123" else target[:, 2] - reference[:, 2]
    return torch.stack([polar - reference_polar, torch.sin(turned), torch.cos(turned), fourth], dim=1)


def load_zero123(
    folder: Path, *, kind: Kind | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Zero123:
    """Zero123 of either kind; with none given, "stable" in the name of the folder tells.

    Raises:
        WeightsError: the folder is not there, lacks a part or does not load; the sentence says which to give.
    """
    require_parts(folder, PARTS, WHAT)
    (vision_class,) = transformers_classes("CLIPVisionModelWithProjection")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    schedule, prediction = read_schedule(folder)
    unet = load_part(UNet2DConditionModel, folder, "unet", dtype)
    vae = load_part(AutoencoderKL, folder, "vae", dtype)
    if unet.config.in_channels != 2 * unet.config.out_channels:
        raise WeightsError(
            f"{folder}: its UNet takes {unet.config.in_channels} channels and gives {unet.config.out_channels}, so no "
            "reference fits beside the noise; give a Zero123, Zero123-XL or stable-zero123 folder"
        )
    encoder = load_part(vision_class, folder, "image_encoder", dtype)
    projection = _projection(folder).to(dtype)
    expected = (unet.config.cross_attention_dim, encoder.config.projection_dim + POSE_NUMBERS)
    if tuple(projection.weight.shape) != expected:
        found = tuple(projection.weight.shape)
        raise WeightsError(
            f"{folder}: the projection of pose and picture is {found}; with these networks it is {expected}"
        )
    parts = Zero123Parts(
        unet.to(device), vae.to(device), encoder.to(device), projection.to(device), schedule, prediction
    )
    return Zero123(parts, kind or _kind_of(folder))


def _kind_of(folder: Path) -> Kind:
    index = folder / "model_index.json"
    named = str(read_json(index).get("_name_or_path", "")) if index.is_file() else ""
    return "stable-zero123" if "stable" in folder.resolve().name.lower() + Path(named).name.lower() else "zero123"


def _projection(folder: Path) -> torch.nn.Linear:
    """The layer that joins picture and pose; both published layouts."""
    for part, layer in PROJECTIONS.items():
        if not (folder / part).is_dir():
            continue
        weights_variant(folder / part)
        path = sorted((folder / part).glob("*.safetensors"), key=lambda p: ".fp16." in p.name)[0]
        try:
            tensors = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise WeightsError(f"{path}: it cannot be read as safetensors ({error}); fetch it again") from error
        if {f"{layer}.weight", f"{layer}.bias"} - set(tensors):
            raise WeightsError(f"{path}: it has no {layer}.weight and {layer}.bias; it holds {sorted(tensors)}")
        weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        return linear.eval().requires_grad_(False)
    raise WeightsError(f"{folder}: {WHAT} needs {' or '.join(PROJECTIONS)}, which the folder has not; fetch it again")


def _clip_pixels(rgb: torch.Tensor, size: int) -> torch.Tensor:  # [B, 3, H, W] sRGB -> [B, 3, size, size]
    """As CLIP wants pictures; from 256 to 224 by bicubic resampling in float, as the published pipelines do."""
    small = functional.interpolate(rgb, (size, size), mode="bicubic", antialias=True, align_corners=True)
    mean, std = (torch.tensor(v, device=rgb.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (small - mean) / std
