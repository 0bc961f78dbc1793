"""The hash encoding on a GPU in Triton: levels, indexing, names, meaning of `renderers/cpu/hash_encoding.py`.

A program of the forward pass encodes a block of points at one level, so that a level's table stays in the cache while
the programs that run together read it. The table's gradient is summed by atomics: its last bits change from run to run,
unlike the CPU's, whose order is fixed. Two dimensions are three of which the last is 0. Where points lie in a grid is
worked out by one fused multiply-add, as on the CPU: a rounding more would put some of them in the next cell. The door
has checked the arguments.
P points, D dimensions, L levels, F features, E entries.
"""

# Kernels are read by Triton's compiler; the types of Python that they are written in are not theirs.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.hash_encoding import HashGridConfig, layout

try:
    import triton  # type: ignore[reportMissingImports]
    import triton.language as tl  # type: ignore[reportMissingImports]
except ImportError as error:
    raise RuntimeError(
        f"cuda: hash grids need Triton, which does not load ({error}); pip install triton, or move the arrays to cpu"
    ) from error

BLOCK = 256
"""Points of a program."""


def hash_encode(
    positions: torch.Tensor,  # [P, D]
    table: torch.Tensor,  # [E, F]
    config: HashGridConfig,
    *,
    level_mask: int,
) -> torch.Tensor:  # [P, L * F]
    """See the door."""
    return _HashEncode.apply(positions, table, config, level_mask)  # type: ignore[reportReturnType]


@lru_cache(maxsize=64)
def _levels(config: HashGridConfig, mask: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Scales [L] float32; corners a side, entries, whether dense, first entry, whether on, [L, 5] int64; the origin."""
    levels = layout(config)
    scales = torch.tensor([level.scale for level in levels], dtype=torch.float32, device=device)
    numbers = [
        [level.resolution, level.size, int(level.dense), level.offset, mask >> index & 1]
        for index, level in enumerate(levels)
    ]
    return scales, torch.tensor(numbers, dtype=torch.int64, device=device), levels[0].origin


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, level_mask: int):
        positions, table = positions.detach().contiguous(), table.detach().contiguous()
        out = torch.empty(positions.shape[0], config.width, device=positions.device)
        grid = (triton.cdiv(positions.shape[0], BLOCK), config.levels)
        _launch(_encode, grid, positions, (table, out), config, level_mask)
        ctx.save_for_backward(positions, table)
        ctx.options = (config, level_mask)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        positions, table = ctx.saved_tensors
        config, level_mask = ctx.options
        grad_out, blocks = grad_outputs[0].contiguous(), triton.cdiv(positions.shape[0], BLOCK)
        grad_positions = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_positions = torch.empty_like(positions)
            _launch(_position_gradient, (blocks,), positions, (table, grad_out, grad_positions), config, level_mask)
        if ctx.needs_input_grad[1]:
            # In float32 for half tables too: a half cannot hold the sum of thousands of small parts.
            sums = torch.zeros(table.shape, device=table.device)
            _launch(_table_gradient, (blocks, config.levels), positions, (grad_out, sums), config, level_mask)
            grad_table = sums.to(table.dtype)
        return grad_positions, grad_table, None, None


def _launch(
    kernel: Any,
    grid: tuple[int, ...],
    positions: torch.Tensor,  # [P, D]
    arrays: tuple[torch.Tensor, ...],
    config: HashGridConfig,
    level_mask: int,
) -> None:
    if positions.shape[0] == 0:
        return
    scales, numbers, origin = _levels(config, level_mask, positions.device)
    sizes = {"DIMS": config.dims, "LEVELS": config.levels, "FEATURES": config.features, "POINTS": BLOCK}
    with torch.cuda.device_of(positions):
        # Fusing is asked for: what Triton does by default differs between its versions.
        kernel[grid](positions, *arrays, scales, numbers, origin, positions.shape[0], enable_fp_fusion=True, **sizes)


@triton.jit
def _coordinate(positions, point, mask, dim: tl.constexpr, DIMS: tl.constexpr):
    """One coordinate of the points moved into [0, 1], NaN to 0, as the CPU does; 0 beyond the last dimension."""
    if dim < DIMS:
        x = tl.load(positions + point * DIMS + dim, mask=mask, other=0.0)
        return tl.where(x > 0.0, tl.where(x < 1.0, x, 1.0), 0.0)
    return tl.zeros_like(point).to(tl.float32)


@triton.jit
def _cell(x, scale, origin, dim: tl.constexpr, DIMS: tl.constexpr):
    """The lower corner along a dimension, uint32, and how far beyond it the points lie."""
    if dim < DIMS:
        at = tl.fma(x, scale, origin)
        corner = at.to(tl.int32)
        return corner.to(tl.uint32), at - corner.to(tl.float32)
    return x.to(tl.uint32), x


@triton.jit
def _entry(cx, cy, cz, k: tl.constexpr, numbers, level):
    """Entry of corner k in its level, int64: bit d of k moves it along dimension d."""
    resolution = tl.load(numbers + level * 5).to(tl.uint32)
    size = tl.load(numbers + level * 5 + 1).to(tl.uint32)
    dense = tl.load(numbers + level * 5 + 2)
    x, y, z = cx + (k & 1), cy + (k >> 1 & 1), cz + (k >> 2 & 1)
    row_by_row = x + y * resolution + z * (resolution * resolution)
    wrapped = tl.where(row_by_row >= size, row_by_row - size, row_by_row)
    hashed = (x ^ (y * 2654435761) ^ (z * 805459861)) & (size - 1)
    return tl.where(dense != 0, wrapped, hashed).to(tl.int64) + tl.load(numbers + level * 5 + 3)


@triton.jit
def _share(fraction, bit: tl.constexpr):
    """A corner's weight along one dimension."""
    return fraction if bit == 1 else 1.0 - fraction


@triton.jit
def _encode(
    positions, table, out, scales, numbers, origin, count,
    DIMS: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    point, level = tl.program_id(0) * POINTS + tl.arange(0, POINTS).to(tl.int64), tl.program_id(1)
    feature, mask = tl.arange(0, FEATURES)[None, :], point < count
    reading = (point < count * tl.load(numbers + level * 5 + 4))[:, None]
    scale = tl.load(scales + level)
    cx, fx = _cell(_coordinate(positions, point, mask, 0, DIMS), scale, origin, 0, DIMS)
    cy, fy = _cell(_coordinate(positions, point, mask, 1, DIMS), scale, origin, 1, DIMS)
    cz, fz = _cell(_coordinate(positions, point, mask, 2, DIMS), scale, origin, 2, DIMS)
    total = tl.zeros((POINTS, FEATURES), dtype=tl.float32)
    for k in tl.static_range(1 << DIMS):
        weight = _share(fx, k & 1) * _share(fy, k >> 1 & 1) * _share(fz, k >> 2 & 1)
        entry = _entry(cx, cy, cz, k, numbers, level)
        row = tl.load(table + entry[:, None] * FEATURES + feature, mask=reading, other=0.0)
        total += weight[:, None] * row.to(tl.float32)
    place = point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature
    tl.store(out + place, total, mask=mask[:, None])


@triton.jit
def _table_gradient(
    positions, grad_out, sums, scales, numbers, origin, count,
    DIMS: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    point, level = tl.program_id(0) * POINTS + tl.arange(0, POINTS).to(tl.int64), tl.program_id(1)
    feature, mask = tl.arange(0, FEATURES)[None, :], point < count * tl.load(numbers + level * 5 + 4)
    scale = tl.load(scales + level)
    cx, fx = _cell(_coordinate(positions, point, mask, 0, DIMS), scale, origin, 0, DIMS)
    cy, fy = _cell(_coordinate(positions, point, mask, 1, DIMS), scale, origin, 1, DIMS)
    cz, fz = _cell(_coordinate(positions, point, mask, 2, DIMS), scale, origin, 2, DIMS)
    place = point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature
    grad = tl.load(grad_out + place, mask=mask[:, None], other=0.0)
    for k in tl.static_range(1 << DIMS):
        weight = _share(fx, k & 1) * _share(fy, k >> 1 & 1) * _share(fz, k >> 2 & 1)
        entry = _entry(cx, cy, cz, k, numbers, level)
        tl.atomic_add(
            sums + entry[:, None] * FEATURES + feature, weight[:, None] * grad, mask=mask[:, None], sem="relaxed"
        )


@triton.jit
def _position_gradient(
    positions, table, grad_out, grad_positions, scales, numbers, origin, count,
    DIMS: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    point = tl.program_id(0) * POINTS + tl.arange(0, POINTS).to(tl.int64)
    feature, mask = tl.arange(0, FEATURES)[None, :], point < count
    x, y = _coordinate(positions, point, mask, 0, DIMS), _coordinate(positions, point, mask, 1, DIMS)
    z = _coordinate(positions, point, mask, 2, DIMS)
    sx, sy, sz = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    for level in range(LEVELS):
        reading = (point < count * tl.load(numbers + level * 5 + 4))[:, None]
        scale = tl.load(scales + level)
        cx, fx = _cell(x, scale, origin, 0, DIMS)
        cy, fy = _cell(y, scale, origin, 1, DIMS)
        cz, fz = _cell(z, scale, origin, 2, DIMS)
        place = point[:, None] * (LEVELS * FEATURES) + level * FEATURES + feature
        grad = tl.load(grad_out + place, mask=reading, other=0.0)
        for k in tl.static_range(1 << DIMS):
            entry = _entry(cx, cy, cz, k, numbers, level)
            row = tl.load(table + entry[:, None] * FEATURES + feature, mask=reading, other=0.0)
            dot = tl.sum(row.to(tl.float32) * grad, axis=1) * scale
            wx, wy, wz = _share(fx, k & 1), _share(fy, k >> 1 & 1), _share(fz, k >> 2 & 1)
            # The upper corner's weight grows along the dimension, the lower one's shrinks.
            sx += (2 * (k & 1) - 1) * wy * wz * dot
            sy += (2 * (k >> 1 & 1) - 1) * wx * wz * dot
            sz += (2 * (k >> 2 & 1) - 1) * wx * wy * dot
    _store_slope(grad_positions, positions, sx, point, mask, 0, DIMS)
    _store_slope(grad_positions, positions, sy, point, mask, 1, DIMS)
    _store_slope(grad_positions, positions, sz, point, mask, 2, DIMS)


@triton.jit
def _store_slope(grad_positions, positions, slope, point, mask, dim: tl.constexpr, DIMS: tl.constexpr):
    """Beyond the border the encoding is constant."""
    if dim < DIMS:
        at = tl.load(positions + point * DIMS + dim, mask=mask, other=0.0)
        tl.store(grad_positions + point * DIMS + dim, tl.where((at >= 0.0) & (at <= 1.0), slope, 0.0), mask=mask)
