"""Denoisers: diffusion priors behind one protocol, for score distillation and for sampling.

`load_embedded` is the one that is shipped; `load_stable_diffusion` and `load_zero123` read folders of pretrained
weights.
Importing this is free: diffusers and transformers are loaded with the first denoiser.
"""

from .denoiser import Denoiser, Reference, Subject, UNetInputs, run_unet
from .embedded import EmbeddedDenoiser, load_embedded
from .folders import WeightsError
from .sampling import sample
from .schedule import NoiseSchedule
from .stable_diffusion import StableDiffusion, load_stable_diffusion
from .zero123 import Zero123, load_zero123

__all__ = [
    "Denoiser",
    "EmbeddedDenoiser",
    "NoiseSchedule",
    "Reference",
    "StableDiffusion",
    "Subject",
    "UNetInputs",
    "WeightsError",
    "Zero123",
    "load_embedded",
    "load_stable_diffusion",
    "load_zero123",
    "run_unet",
    "sample",
]
