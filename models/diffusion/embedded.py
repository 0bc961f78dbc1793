"""The denoiser that is shipped: small, in pixels, trained on our own procedural objects (`h3d.models.procedural`).

It knows views from any side of objects such as those: from a reference picture and the relative pose, from a caption
within its vocabulary and the absolute pose, or from both. Its file is safetensors in float16 with a record of its
training; how it is made: `python -m h3d.assets.make.denoiser`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

import h3d.assets
from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import FormatError
from h3d.models.formats.tensors import read_safetensors, write_safetensors
from h3d.models.procedural import MAX_TOKENS, VOCABULARY, tokens_of

from .denoiser import Denoiser, Subject, UNetInputs
from .network import CHANNELS, EmbeddedNetwork, NetworkConfig, pose_vector
from .schedule import NoiseSchedule

FORMAT = "h3d denoiser"
SHIPPED = "weights/denoiser.safetensors"
BACKGROUND = 0.5
REMAKE = "restore it from the distribution, or make one: python -m h3d.assets.make.denoiser"


@dataclass(frozen=True, eq=False)
class EmbeddedDescription:
    """What is known of a subject."""

    tokens: torch.Tensor  # [1, T, width]; of no caption where there is none
    no_tokens: torch.Tensor  # [1, T, width]
    reference: torch.Tensor  # [1, 4, s, s]; 0 where there is none
    reference_pose: torch.Tensor | None  # [1, 3]


class EmbeddedDenoiser(Denoiser[EmbeddedDescription]):
    """A trained `EmbeddedNetwork` behind the protocol."""

    prediction = "v_prediction"
    background = BACKGROUND
    guidance_scale = 2.0

    def __init__(self, network: EmbeddedNetwork, record: Mapping[str, Any] | None = None):
        self.network = network.eval().requires_grad_(False)
        self.unet = network.unet
        self.schedule = NoiseSchedule()
        self.picture_size = network.config.size
        self.latent_shape = (CHANNELS, network.config.size, network.config.size)
        self.record: Mapping[str, Any] = record or {}
        """How it was trained and what it reached, as its file says."""

    def encode(self, rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        picture = torch.cat([rgb, alpha], dim=1)
        if picture.shape[-1] != self.picture_size or picture.shape[-2] != self.picture_size:
            picture = functional.adaptive_avg_pool2d(picture, self.picture_size)
        return 2.0 * picture - 1.0

    def decode(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        picture = (0.5 * latents + 0.5).clamp(0.0, 1.0)
        return picture[:, :3], picture[:, 3:]

    @torch.no_grad()
    def describe(self, subject: Subject) -> EmbeddedDescription:
        device = next(self.network.parameters()).device
        nothing = torch.zeros(1, MAX_TOKENS, dtype=torch.int64, device=device)
        said = nothing if subject.prompt is None else torch.from_numpy(tokens_of(subject.prompt))[None].to(device)
        reference, pose = torch.zeros(1, *self.latent_shape, device=device), None
        if subject.reference is not None:
            seen = subject.reference
            reference = self.encode(seen.over(BACKGROUND).to(device), seen.alpha[None].to(device))
            pose = torch.tensor([seen.pose], device=device)
        return EmbeddedDescription(self.network.captions(said), self.network.captions(nothing), reference, pose)

    def inputs(self, description: EmbeddedDescription, poses: torch.Tensor) -> tuple[UNetInputs, UNetInputs]:
        """Guided by a picture, what is left out is everything; guided by words, the camera stays known."""
        count = len(poses)
        no_reference = torch.zeros_like(description.reference).expand(count, -1, -1, -1)
        tokens, no_tokens = description.tokens.expand(count, -1, -1), description.no_tokens.expand(count, -1, -1)
        if description.reference_pose is None:
            place = pose_vector(poses, absolute=True)
            return UNetInputs(tokens, no_reference, place), UNetInputs(no_tokens, no_reference, place)
        compared = pose_vector(poses, description.reference_pose.to(poses).expand(count, -1))
        known = UNetInputs(tokens, description.reference.expand(count, -1, -1, -1), compared)
        return known, UNetInputs(no_tokens, no_reference, torch.zeros_like(compared))


def load_embedded(path: Path | None = None, *, device: str = "cpu") -> EmbeddedDenoiser:
    """The shipped denoiser, or another of its kind.

    Raises:
        FileNotFoundError: the file is not there.
        FormatError: it is damaged, or of a network that this version does not build.
    """
    path = h3d.assets.path(SHIPPED) if path is None else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the embedded denoiser's weights are not there; {REMAKE}")
    header, tensors = read_safetensors(path, FORMAT)
    if header.get("vocabulary") != list(VOCABULARY):
        raise FormatError(path, "header", "it was trained on another vocabulary", REMAKE)
    try:
        network = EmbeddedNetwork(config_from_json(header["network"]))
        network.load_state_dict({name: value.to(torch.float32) for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(path, "network", f"its arrays do not fit its plan ({error})", REMAKE) from error
    return EmbeddedDenoiser(network.to(device), header.get("record"))


def write_embedded(network: EmbeddedNetwork, record: Mapping[str, Any], path: Path) -> None:
    """Writes weights in float16 and the record of their training."""
    header = {
        "format": FORMAT,
        "network": asdict(network.config),
        "vocabulary": list(VOCABULARY),
        "record": dict(record),
    }
    with replacing(path) as file:
        half = {name: value.detach().cpu().to(torch.float16) for name, value in network.state_dict().items()}
        write_safetensors(file, header, half)


def config_from_json(value: Mapping[str, Any]) -> NetworkConfig:
    """A plan from parsed JSON, in which tuples are lists."""
    plan: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
    return NetworkConfig(**plan)
