"""Hash3D: what a hit costs in multiply-adds and in time, and what the cache itself costs, as shares of a full pass.

The UNet that is timed is small (5 M parameters, 32 x 32, random weights, with guidance); Stable Diffusion 1.5 is only
counted. Shares are of times taken in turns, so that the machine's mood cancels.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from h3d.models.hash3d import ADAPTIVE_GRIDS, Config, Grid, Hash3D
from h3d.models.hash3d.cost import STABLE_DIFFUSION_1_5, cost
from h3d.models.hash3d.cut import capturing, thin
from h3d.models.hash3d.query import Query
from h3d.models.hash3d.table import Limits, Table

from .metrics import EXACT, RATIO_TOLERANCE, Effort, Metric, in_turns, milliseconds, timed

SMALL: Mapping[str, Any] = {
    "sample_size": 32,
    "in_channels": 6,
    "out_channels": 3,
    "block_out_channels": (40, 72, 104),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
}
CASES = {"one_grid": (Grid(),), "adaptive": ADAPTIVE_GRIDS}
CYCLE = 20
"""Calls between two readings of the cache's own time."""
CROWD = 10_000
"""Cells of a cache that is drawn."""


def costs(effort: Effort) -> Iterator[Metric]:
    """Counted, so they do not vary."""
    for name, config, size, tokens in (("sd15", STABLE_DIFFUSION_1_5, 64, 77), ("small", SMALL, 32, 1)):
        found = cost(config, size, size, tokens)
        yield Metric(f"hash3d/hit_multiply_adds_share/{name}", found.layers_share, "of layers", "lower", EXACT)
        yield Metric(f"hash3d/hit_multiply_adds_share/{name}_with_attention", found.share, "of all", "lower", EXACT)


@torch.no_grad()
def times(effort: Effort) -> Iterator[Metric]:
    """Of a hit against a full pass, and of look-up and insertion against a full pass."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(**SMALL).eval()
    arguments = {
        "sample": torch.randn(2, 6, 32, 32),
        "timestep": 500,
        "encoder_hidden_states": torch.randn(2, 1, 64),
    }
    _, feature = capturing(unet, lambda: unet(**arguments))
    hit, full = in_turns(
        lambda: type(unet).forward(thin(unet, feature), **arguments), lambda: unet(**arguments), effort
    )
    yield Metric("hash3d/hit_time_share/small", hit / full, "of a full pass", "lower", RATIO_TOLERANCE)
    for name, grids in CASES.items():
        seconds = min(_own_seconds(unet, grids, arguments) for _ in range(effort.blocks))
        yield Metric(f"hash3d/lookup_share/{name}", seconds / full, "of a full pass", "lower", 1.0)
    yield Metric("hash3d/statistics_ms/10000_cells", 1e3 * _statistics_seconds(effort), "ms", "lower", 1.0)


def _own_seconds(unet: Any, grids: tuple[Grid, ...], arguments: Mapping[str, Any]) -> float:
    """Median of what a call spends outside the UNet: a try that misses, with its insertion, or a hit."""
    own = []
    with Hash3D(unet, Config(eta=0.5, grids=grids, camera_inputs=("image",))) as cache:
        for step in range(CYCLE):
            before = cache.passes
            cache.set_camera(azimuth_degrees=3.0 * (step % 4), elevation_degrees=10.0, radius=1.0)
            unet(**arguments)
            after = cache.passes
            passes = after.full_seconds + after.hit_seconds - before.full_seconds - before.hit_seconds
            own.append(after.total_seconds - before.total_seconds - passes)
    return statistics.median(own)


def _statistics_seconds(effort: Effort) -> float:
    table = _crowded_table()
    return min(timed(lambda: table.statistics(0)) for _ in range(effort.blocks * effort.repeats))


def sphere(effort: Effort) -> Iterator[Metric]:
    """From what a cache of many cells shows of itself to the coloured tiles that a browser is sent."""
    from h3d.app.panels.sphere_scene import Look, sphere_file
    from h3d.models.hash3d.sphere import patches

    counted, look = _crowded_table().statistics(CROWD), Look(radius=2.0)
    seconds = min(
        timed(lambda: sphere_file(patches(counted, "occupancy"), look)) for _ in range(effort.blocks * effort.repeats)
    )
    yield milliseconds("hash3d/sphere_10000_cells_ms", 1e3 * seconds)


def _crowded_table() -> Table:
    """Of `CROWD` cells, an entry in the middle of each."""
    table = Table([Grid(3.6, 1.8, 1.0, 1000.0)], Limits())
    latent = value = torch.zeros(1)
    for i in range(CROWD):
        table.insert(Query((3.6 * (i % 100) + 1.8, 1.8 * (i // 100) - 89.1, 1.0, 0.0), latent), value, i)
    assert len(table.statistics(0).grid) == CROWD
    return table
