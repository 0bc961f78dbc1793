"""Snapshots of instant-ngp and checkpoints of nerfstudio, written here by hand from the documented keys and layouts.

Nothing is shared with the readers and writers that they test, but the count of a grid's entries.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from h3d.renderers.hash_encoding import HashGridConfig, num_entries

GRID = HashGridConfig(levels=4, features=2, log2_table_size=8, base_resolution=4, per_level_scale=1.5)
"""Of the small snapshots: 8 features, so that inputs of the density network are filled up to 16."""
HIDDEN = 16


def parameters(seed: int = 0, multiple: int = 16) -> dict[str, np.ndarray]:
    """Halves by place: matrices as they are stored, filled up, and the grid."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0.0, 0.5, (rows, columns)).astype("<f2")

    inputs, outputs = -(-GRID.width // multiple) * multiple, -(-3 // multiple) * multiple
    return {
        "density_in": matrix(HIDDEN, inputs),
        "density_out": matrix(16, HIDDEN),
        "rgb_in": matrix(HIDDEN, 32),
        "rgb_hidden": matrix(HIDDEN, HIDDEN),
        "rgb_out": matrix(outputs, HIDDEN),
        "grid": matrix(num_entries(GRID), 2),
    }


def density_cells(cascades: int, seed: int = 0) -> np.ndarray:  # [cascades, 128^3] halves
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.01, 0.05, (cascades, 128**3)).astype("<f2")


def snapshot(side: int = 2, *, cascades: int = 2, multiple: int = 16) -> dict[str, Any]:
    """The keys of a small snapshot of two training photos."""
    params = b"".join(part.tobytes() for part in parameters(multiple=multiple).values())
    network = {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None", "n_neurons": HIDDEN}
    pose = [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, -1.0]]
    cube = {"min": [0.5 - side / 2] * 3, "max": [0.5 + side / 2] * 3}
    dataset = {
        "n_images": 2, "paths": ["a.jpg", "b.jpg"], "xforms": [{"start": pose, "end": pose}] * 2,
        "metadata": [{"resolution": [8, 6], "focal_length": [9.0, 9.0]}] * 2, "render_aabb": cube,
        "up": [0.0, 1.0, 0.0], "offset": [0.25, 0.5, 0.75], "scale": 0.125, "aabb_scale": side, "from_mitsuba": False,
        "is_hdr": False, "n_extra_learnable_dims": 0,
    }  # fmt: skip
    return {
        "encoding": {
            "otype": "HashGrid", "n_levels": GRID.levels, "n_features_per_level": GRID.features,
            "log2_hashmap_size": GRID.log2_table_size, "base_resolution": GRID.base_resolution,
            "per_level_scale": GRID.per_level_scale, "n_pos_dims": 3,
        },
        "network": {**network, "n_hidden_layers": 1},
        "rgb_network": {**network, "n_hidden_layers": 2},
        "dir_encoding": {
            "otype": "Composite",
            "nested": [
                {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 4},
                {"otype": "Identity", "n_bins": 4, "degree": 4},
            ],
        },
        "loss": {"otype": "Huber"},
        "optimizer": {"otype": "Ema", "decay": 0.95},
        "snapshot": {
            "version": 1, "mode": "nerf", "n_params": len(params) // 2, "params_type": "__half",
            "params_binary": params, "density_grid_size": 128,
            "density_grid_binary": density_cells(cascades).tobytes(), "training_step": 35000, "loss": 0.001,
            "aabb": cube, "bounding_radius": 1.0, "render_aabb": cube, "up_dir": [0.0, 1.0, 0.0], "exposure": 0.5,
            "camera": {"matrix": pose, "zoom": 1.0},
            "nerf": {"aabb_scale": side, "rgb": {"rays_per_batch": 4096}, "dataset": dataset},
        },
    }  # fmt: skip


def write_snapshot(path: Path, content: dict[str, Any]) -> Path:
    data = msgspec.msgpack.encode(content)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".ingp" else data)
    return path


def nerfstudio_state(implementation: str, *, levels: int = 2, size: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """The model's part of a small checkpoint of nerfstudio 1.1.5: 4 levels up to 32 corners, 3 photos."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int, scale: float = 0.3) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    state = {
        "scene_aabb": torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]),
        "field.aabb": torch.tensor([[-1.0] * 3, [1.0] * 3]),
        "field.max_res": torch.tensor(32),
        "field.num_levels": torch.tensor(4),
        "field.log2_hashmap_size": torch.tensor(size),
        "field.embedding_appearance.embedding.weight": some(3, 32),
        "occupancy_grid.resolution": torch.tensor([128] * 3, dtype=torch.int32),
        "occupancy_grid.binaries": torch.rand(levels, 128, 128, 128, generator=generator) > 0.7,
        "lpips.net.weight": some(2, 2),
    }
    if implementation == "torch":
        state["field.mlp_base.model.0.hash_table"] = some(4 * 2**size, 2)
        sizes = {"mlp_base.model.1": (8, 64, 16), "mlp_head": (63, 64, 64, 3)}
        for name, widths in sizes.items():
            for i, (fan_in, fan_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
                state[f"field.{name}.layers.{i}.weight"] = some(fan_out, fan_in)
                state[f"field.{name}.layers.{i}.bias"] = some(fan_out)
    else:
        config = HashGridConfig(levels=4, features=2, log2_table_size=size, per_level_scale=2 ** (1 / 3))
        state["field.mlp_base.model.params"] = some(64 * 16 + 16 * 64 + 2 * num_entries(config))
        state["field.mlp_head.tcnn_encoding.params"] = some(64 * 64 + 64 * 64 + 16 * 64)
        state["field.direction_encoding.tcnn_encoding.params"] = torch.zeros(0)
    return {f"_model.{name}": value for name, value in state.items()}


def splatfacto_state(count: int = 20, *, degree: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """The model's part of a small checkpoint of splatfacto, as nerfstudio 1.1.5 has it."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = {
        "means": some(count, 3),
        "scales": some(count, 3) - 3.0,
        "quats": some(count, 4),
        "features_dc": some(count, 3),
        "features_rest": some(count, (degree + 1) ** 2 - 1, 3),
        "opacities": some(count, 1),
    }
    named = {f"_model.gauss_params.{name}": value for name, value in state.items()}
    return {**named, "_model.device_indicator_param": torch.empty(0), "_model.lpips.net.weight": some(2, 2)}


def write_checkpoint(path: Path, state: dict[str, torch.Tensor], step: int = 29999) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    schedulers = {"fields": {"last_epoch": step, "_last_lr": [np.float64(1e-4)], "lr_lambdas": [None]}}
    content = {"step": step, "pipeline": state, "optimizers": {}, "schedulers": schedulers, "scalers": {"scale": 1.0}}
    torch.save(content, path)
    return path
