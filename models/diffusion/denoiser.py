"""What score distillation asks of a denoiser, whichever it is: encode a picture, predict the noise in its latents.

Every denoiser here is a stock UNet2DConditionModel with something around it. What differs is what the UNet is given:
`describe` looks at a subject (a prompt, a reference picture) once, `inputs` turns that into the UNet's arguments for
cameras, with and without what is known. The rest is shared, so that a feature cache has one place to stand in:
`unet`, called with the B conditional rows first and the B unconditional rows after them.
B pictures, C channels of latents of h x w.
Source: Ho and Salimans 2022, "Classifier-free diffusion guidance".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch

from .schedule import NoiseSchedule

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture of what is wanted, and where it was taken from."""

    rgb: torch.Tensor  # [3, H, W] sRGB, not premultiplied; of no account where alpha is 0
    alpha: torch.Tensor  # [1, H, W]
    pose: tuple[float, float, float]
    """Azimuth and elevation in degrees, radius; the azimuth is what other azimuths are counted from."""

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[0] != 3 or self.alpha.shape != (1, *self.rgb.shape[1:]):
            raise ValueError(
                f"reference: rgb must be [3, H, W] and alpha [1, H, W]; they are {list(self.rgb.shape)} and "
                f"{list(self.alpha.shape)}"
            )
        if self.rgb.shape[1] != self.rgb.shape[2]:
            raise ValueError(
                f"reference: the picture is {self.rgb.shape[2]} x {self.rgb.shape[1]} pixels; it must be square, "
                "with the object in its middle"
            )

    def over(self, background: float) -> torch.Tensor:  # [1, 3, H, W]
        """In front of a grey of this sRGB value."""
        return (self.rgb * self.alpha + (1.0 - self.alpha) * background)[None]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is to be seen: words, a reference picture, or both."""

    prompt: str | None = None
    reference: Reference | None = None
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        if self.prompt is None and self.reference is None:
            raise ValueError("subject: neither a prompt nor a reference picture; give one of them")
        if self.prompt is not None and self.prompt.strip() == "":
            raise ValueError("subject: the prompt is empty; say what to make, such as 'a red mug with blue stripes'")


@dataclass(frozen=True, eq=False)
class UNetInputs:
    """What a UNet is given beside noisy latents and timesteps, a row for each of B pictures."""

    tokens: torch.Tensor  # [B, T, D], to attend to (encoder_hidden_states)
    channels: torch.Tensor | None = None  # [B, E, h, w], concatenated to the latents
    labels: torch.Tensor | None = None  # [B, K], projected onto the time embedding (class_labels)

    def then(self, other: UNetInputs) -> UNetInputs:  # -> 2B rows
        """These rows, and the other's after them."""
        return UNetInputs(
            torch.cat([self.tokens, other.tokens]),
            None if self.channels is None or other.channels is None else torch.cat([self.channels, other.channels]),
            None if self.labels is None or other.labels is None else torch.cat([self.labels, other.labels]),
        )


Description = TypeVar("Description")


class Denoiser(ABC, Generic[Description]):
    """A diffusion prior over pictures of what a subject looks like from a camera."""

    unet: UNet2DConditionModel
    schedule: NoiseSchedule
    prediction: Prediction
    latent_shape: tuple[int, int, int]
    """C, h, w."""
    picture_size: int
    """Pixels along the side of the square pictures that it was trained on; `encode` takes any size."""
    background: float
    """sRGB grey that pictures must be rendered in front of."""
    guidance_scale: float
    """A usual one for sampling."""

    @abstractmethod
    def encode(self, rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:  # [B, 3, H, W], [B, 1, H, W]
        """Latents [B, C, h, w] of sRGB pictures rendered over `background`, with gradients to both."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:  # [B, C, h, w]
        """sRGB pictures [B, 3, H, W] over `background`, and their cover [B, 1, H, W] where the denoiser knows it."""

    @abstractmethod
    def describe(self, subject: Subject) -> Description:
        """What the denoiser sees in a subject; done once, for every camera.

        Raises:
            ValueError: it cannot be told this (a prompt where it reads none, words that it does not know, ...).
        """

    @abstractmethod
    def inputs(self, description: Description, poses: torch.Tensor) -> tuple[UNetInputs, UNetInputs]:  # [B, 3]
        """The UNet's inputs with and without what is known, for cameras: azimuth and elevation in degrees, radius."""

    @torch.no_grad()
    def predict_noise(
        self,
        latents: torch.Tensor,  # [B, C, h, w], noisy
        timesteps: torch.Tensor,  # [B] int64
        description: Description,
        poses: torch.Tensor,  # [B, 3] azimuth and elevation in degrees, radius
        guidance_scale: float,
    ) -> torch.Tensor:  # [B, C, h, w]
        """The noise in noisy latents, with guidance u + scale (c - u): 0 ignores the subject, 1 is no guidance."""
        _check(latents, timesteps, poses, self.latent_shape)
        known, unknown = self.inputs(description, poses.to(latents))
        twice = known.then(unknown)
        out = run_unet(self.unet, torch.cat([latents, latents]), torch.cat([timesteps, timesteps]), twice)
        conditional, unconditional = out.chunk(2)
        guided = unconditional + guidance_scale * (conditional - unconditional)
        if self.prediction == "epsilon":
            return guided
        return self.schedule.noise_from_v(guided, latents, timesteps)


def run_unet(
    unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, inputs: UNetInputs
) -> torch.Tensor:  # [B, C, h, w], [B] -> [B, C, h, w]
    """One call of a UNet with what belongs to its rows."""
    stacked = latents if inputs.channels is None else torch.cat([latents, inputs.channels.to(latents)], dim=1)
    labels = None if inputs.labels is None else inputs.labels.to(latents)
    return unet(stacked, timesteps, inputs.tokens.to(latents), class_labels=labels).sample


def _check(latents: torch.Tensor, timesteps: torch.Tensor, poses: torch.Tensor, shape: tuple[int, int, int]) -> None:
    count = len(latents)
    if tuple(latents.shape[1:]) != shape:
        raise ValueError(f"predict_noise: latents are {list(latents.shape)}; this denoiser's are [B, {shape}]")
    if timesteps.shape != (count,) or poses.shape != (count, 3):
        raise ValueError(
            f"predict_noise: {count} latents need timesteps [{count}] and poses [{count}, 3]; they are "
            f"{list(timesteps.shape)} and {list(poses.shape)}"
        )
    if not bool(torch.isfinite(poses).all()):
        raise ValueError(f"predict_noise: poses must be finite; they are {poses.tolist()}")
