"""nerfstudio's instant-ngp field in float64, formula by formula and corner by corner; slow, and shared with nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from grid_reference import encode

from h3d.renderers.hash_encoding import HashGridConfig

PRIMES = (1, 2654435761, 805459861)
SCALINGS = (16, 20, 25, 32)
"""Corners of the small checkpoint's levels: floor(16 * 2^(l / 3)), which float32 leaves as it is."""


def contracted(position: np.ndarray) -> np.ndarray:  # [3] -> [3]
    """Of mip-NeRF 360, with the largest norm; then from [-2, 2] to [0, 1]."""
    reach = float(np.abs(position).max())
    inner = position if reach < 1 else (2 - 1 / reach) * position / reach
    return (inner + 2) / 4


def hashed_features(place: np.ndarray, table: np.ndarray, size: int) -> np.ndarray:  # [3], [4 * 2^size, 2] -> [8]
    """The torch implementation's: every level hashed, corners at the floor and the ceiling."""
    features = []
    for level, scaling in enumerate(SCALINGS):
        scaled = place * scaling
        low, high = np.floor(scaled).astype(int), np.ceil(scaled).astype(int)
        share = scaled - low
        total = np.zeros(2)
        for upper in itertools.product((False, True), repeat=3):
            corner = [int(high[d] if upper[d] else low[d]) for d in range(3)]
            weight = math.prod(share[d] if upper[d] else 1 - share[d] for d in range(3))
            index = (corner[0] * PRIMES[0]) ^ (corner[1] * PRIMES[1]) ^ (corner[2] * PRIMES[2])
            total += weight * table[index % 2**size + level * 2**size]
        features.append(total)
    return np.concatenate(features)


def grid_features(place: np.ndarray, table: np.ndarray, size: int) -> np.ndarray:  # [3], [E, 2] -> [8]
    """tiny-cuda-nn's."""
    config = HashGridConfig(levels=4, features=2, log2_table_size=size, per_level_scale=2 ** (1 / 3))
    return encode(torch.from_numpy(place[None]), torch.from_numpy(table), config)[0].numpy()


def harmonics(direction: np.ndarray, sign: int) -> np.ndarray:  # [3] -> [16]
    """Degree 4; tiny-cuda-nn alternates signs (-1), nerfstudio's torch code does not (1)."""
    x, y, z = direction
    odd = [
        0.28209479177387814, 0.4886025119029199 * y, 0.4886025119029199 * z, 0.4886025119029199 * x,
        1.0925484305920792 * x * y, 1.0925484305920792 * y * z, 0.9461746957575601 * z * z - 0.31539156525251999,
        1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y),
        0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z,
        0.4570457994644658 * y * (5 * z * z - 1), 0.3731763325901154 * z * (5 * z * z - 3),
        0.4570457994644658 * x * (5 * z * z - 1), 1.445305721320277 * z * (x * x - y * y),
        0.5900435899266435 * x * (x * x - 3 * y * y),
    ]  # fmt: skip
    signs = np.ones(16)
    signs[[1, 3, 5, 7, 9, 11, 13, 15]] = sign
    return np.array(odd) * signs


def mlp(values: np.ndarray, matrices: list[np.ndarray], biases: list[np.ndarray] | None = None) -> np.ndarray:
    for index, matrix in enumerate(matrices):
        values = matrix @ values + (0 if biases is None else biases[index])
        if index < len(matrices) - 1:
            values = np.maximum(values, 0)
    return values


class Reference:
    """The field of a checkpoint that `snapshot_files.nerfstudio_state` made."""

    def __init__(self, state: dict[str, torch.Tensor], *, contraction: bool, size: int = 6) -> None:
        self.state = {k.removeprefix("_model.field."): v.double().numpy() for k, v in state.items()}
        self.contraction, self.size = contraction, size
        self.is_torch = "mlp_base.model.0.hash_table" in self.state

    def query(self, position: np.ndarray, direction: np.ndarray) -> tuple[float, np.ndarray]:  # [3], [3]
        """Density per length of nerfstudio's coordinates, and colour, as evaluation has them (no appearance)."""
        place = contracted(position) if self.contraction else (position + 1) / 2
        inside = bool(((place > 0) & (place < 1)).all())
        place = place * inside
        head = self._layers("mlp_head.layers") if self.is_torch else None
        if head is not None:
            features = hashed_features(place, self.state["mlp_base.model.0.hash_table"], self.size)
            out = mlp(features, *self._layers("mlp_base.model.1.layers"))
            inputs = np.concatenate([harmonics((direction + 1) / 2, 1), out[1:], np.zeros(32)])
            raw = mlp(inputs, *head)
        else:
            flat = self.state["mlp_base.model.params"]
            matrices, rest = self._matrices(flat, [(64, 16), (16, 64)])
            features = grid_features(place, rest.reshape(-1, 2), self.size)
            out = mlp(np.concatenate([features, np.zeros(8)]), matrices)
            head_matrices, _ = self._matrices(
                self.state["mlp_head.tcnn_encoding.params"], [(64, 64), (64, 64), (16, 64)]
            )
            inputs = np.concatenate([harmonics(direction, -1), out[1:], np.zeros(32), np.ones(1)])
            raw = mlp(inputs, head_matrices)[:3]
        return inside * math.exp(out[0]), 1 / (1 + np.exp(-raw))

    def _layers(self, prefix: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        count = sum(key.startswith(prefix) and key.endswith("weight") for key in self.state)
        weights, biases = ([self.state[f"{prefix}.{i}.{kind}"] for i in range(count)] for kind in ("weight", "bias"))
        return weights, biases

    @staticmethod
    def _matrices(flat: np.ndarray, shapes: list[tuple[int, int]]) -> tuple[list[np.ndarray], np.ndarray]:
        matrices = []
        for rows, columns in shapes:
            matrices.append(flat[: rows * columns].reshape(rows, columns))
            flat = flat[rows * columns :]
        return matrices, flat
