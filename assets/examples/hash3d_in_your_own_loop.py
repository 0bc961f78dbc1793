"""Hash3D around any diffusers UNet in a loop of your own: the three lines marked below are all that it takes.

    python hash3d_in_your_own_loop.py

The UNet here is tiny and random, so that this runs anywhere in seconds; put your pipeline's `unet` in its place.
"""

from __future__ import annotations

import random

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

from h3d.models.hash3d import Config, Grid, Hash3D

STEPS = 200


def tiny_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def main() -> None:
    torch.manual_seed(0)
    random.seed(0)
    unet = tiny_unet()
    prompt_and_nothing = torch.randn(2, 5, 16)  # the conditional row, then the unconditional one
    config = Config(eta=0.9, grids=(Grid(azimuth_degrees=45, elevation_degrees=30, radius=1, timesteps=250),))

    with Hash3D(unet, config) as cache:  # 1
        for _ in range(STEPS):
            azimuth, elevation = random.uniform(-180, 180), random.uniform(-30, 30)
            t = random.randint(20, 980)
            cache.set_camera(azimuth_degrees=azimuth, elevation_degrees=elevation, radius=2.0)  # 2
            noisy_latent = torch.randn(1, 4, 8, 8)  # yours: the picture from this camera, encoded, with noise
            with torch.no_grad():
                conditional, unconditional = unet(
                    noisy_latent.repeat(2, 1, 1, 1), t, encoder_hidden_states=prompt_and_nothing
                ).sample
            _ = unconditional + 7.5 * (conditional - unconditional)  # yours: the gradient of score distillation

        found, passes = cache.statistics(), cache.passes  # 3

    print(f"{passes.full_elements} of {STEPS} steps ran the whole UNet")
    print(f"{found.totals['hits']} hits in {found.totals['tries']} tries")
    print(f"{found.entries} entries hold {found.nbytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
