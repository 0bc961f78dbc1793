"""Hash3D (arXiv 2404.06091): reuse of a denoiser's features between nearby cameras and timesteps, counted exactly.

with Hash3D(unet, Config()) as cache:
    cache.set_camera(azimuth_degrees=..., elevation_degrees=..., radius=...)
    noise = unet(latents, t, encoder_hidden_states=embeddings).sample  # as always
"""

from __future__ import annotations

from .cache import Hash3D, Looked
from .cells import ADAPTIVE_GRIDS, Grid
from .config import Config
from .ledger import Column
from .passes import Passes
from .statistics import Statistics
from .view import CacheView, Stored, view_of
from .warp import Sight

__all__ = [
    "ADAPTIVE_GRIDS",
    "CacheView",
    "Column",
    "Config",
    "Grid",
    "Hash3D",
    "Looked",
    "Passes",
    "Sight",
    "Statistics",
    "Stored",
    "view_of",
]
