"""A program for `test_hash_encoding_cuda`: the Triton twin beside the CPU's and the float64 reference, as JSON.

Run with a device, cpu (then TRITON_INTERPRET=1 must be set, before Triton is imported) or cuda. Prints for each case
the largest differences of the features and of the positions' and the table's gradients.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from grid_reference import away_from_borders, encode

from h3d.renderers.cpu import hash_encoding as definition
from h3d.renderers.cuda import hash_encoding as twin
from h3d.renderers.hash_encoding import HashGridConfig, layout, num_entries

POINTS = twin.BLOCK + 44  # More than a block of points, and no multiple of it.
REFERENCE_POINTS = 12
SMALL = HashGridConfig(levels=3, log2_table_size=8, base_resolution=6, per_level_scale=2.0)
"""Has hashed levels and dense ones that are no power of two, in two and in three dimensions."""

Case = tuple[HashGridConfig, torch.dtype, int]  # with the type of the table and the levels that are on
Encode = Callable[[torch.Tensor, torch.Tensor, HashGridConfig, int], torch.Tensor]


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for dims in (2, 3):
        for features in (1, 2, 4, 8):
            for dtype in (torch.float32, torch.float16):
                config = replace(SMALL, dims=dims, features=features)
                assert {level.dense for level in layout(config)} == {True, False}
                found[f"{dims}D F{features} {str(dtype)[6:]}"] = (config, dtype, 0b111)
    found["a level off"] = (SMALL, torch.float32, 0b101)
    found["all levels off"] = (SMALL, torch.float32, 0)
    found["32 levels, the last on"] = (replace(SMALL, levels=32, per_level_scale=1.2), torch.float32, 1 << 31)
    found["nerfstudio"] = (replace(SMALL, indexing="nerfstudio"), torch.float32, 0b111)
    return found


def passed(
    function: Encode,
    positions: torch.Tensor,  # [P, D]
    table: torch.Tensor,  # [E, F]
    config: HashGridConfig,
    mask: int,
    weights: torch.Tensor,  # [P, L * F]
) -> list[torch.Tensor]:
    """Features, and the gradients of their weighted sum, on the CPU in float64."""
    positions, table = positions.clone().requires_grad_(), table.clone().requires_grad_()
    features = function(positions, table, config, mask)
    # With every level off the reference depends on nothing, and autograd needs something to go by.
    loss = (features * weights).sum() + 0.0 * positions.nan_to_num().sum()
    gradients = torch.autograd.grad(loss, [positions, table], materialize_grads=True)
    assert gradients[1].dtype == table.dtype
    return [array.detach().cpu().double() for array in (features, *gradients)]


def ours(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, mask: int) -> torch.Tensor:
    return twin.hash_encode(positions, table, config, level_mask=mask)


def cpus(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, mask: int) -> torch.Tensor:
    return definition.hash_encode(positions, table, config, level_mask=mask)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference; NaN, which is below no bound, where something is not a number."""
    return float((a - b).abs().max())


def compared(case: Case, device: str, seed: int) -> dict[str, float]:
    """One case on random points: inside, beyond the borders, at a corner of the cube, and one that is not a number."""
    config, dtype, mask = case
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(POINTS, config.dims, generator=generator) * 1.2 - 0.1
    positions[-2:], positions[-3, 0] = 1.0, float("nan")
    referred = config.indexing == "tiny-cuda-nn" and config.levels < 10
    if referred:  # The reference's slope must be that of the same cell.
        positions[:REFERENCE_POINTS] = away_from_borders(config, REFERENCE_POINTS, seed=seed, margin=1e-4)
    table = (torch.rand(num_entries(config), config.features, generator=generator) - 0.5).to(dtype)
    weights = torch.randn(POINTS, config.width, generator=generator)
    there = (positions.to(device), table.to(device))
    found = passed(ours, *there, config, mask, weights.to(device))
    known = passed(cpus, positions, table, config, mask, weights)
    names = ("features", "positions", "table")
    differences = {name: apart(a, b) for name, a, b in zip(names, found, known, strict=True)}
    if referred:
        few = slice(REFERENCE_POINTS)
        exact = passed(encode, positions[few].double(), table.double(), config, mask, weights[few].double())
        differences |= {f"{name}, exact": apart(found[i][few], exact[i]) for i, name in enumerate(names[:2])}
    return differences


def main(device: str) -> None:
    results = {name: compared(case, device, seed) for seed, (name, case) in enumerate(cases().items())}
    nothing, table = torch.zeros(0, 3, device=device), torch.ones(num_entries(SMALL), 2, device=device)
    shapes = [list(array.shape) for array in passed(ours, nothing, table, SMALL, 0b111, torch.zeros(0, 6).to(device))]
    print(json.dumps({"cases": results, "no points": shapes}))


if __name__ == "__main__":
    main(sys.argv[1])
