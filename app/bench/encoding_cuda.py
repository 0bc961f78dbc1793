"""The hash encoding's Triton kernels at the size that GPUs are measured at: 2^20 points, T = 2^19.

Backward is to the table, as in training. There is no peer beside it: tiny-cuda-nn has no wheel to install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from h3d.renderers.backends import why_no_fields_on_cuda
from h3d.renderers.hash_encoding import HashGridConfig, hash_encode, initial_table, per_level_scale

from .encoding import COARSEST, FINEST, SHAPES
from .metrics import TIME_TOLERANCE, Effort, Metric, Skipped, best_of_blocks

POINTS = 1 << 20
LOG2_TABLE_SIZE = 19
CALLS = 10
"""Calls that are timed together: one alone is as short as its launch."""


def encode(effort: Effort) -> Iterator[Metric]:
    """Points a second on the GPU: features alone, and with their gradient to the table; float32 and half tables."""
    reason = why_no_fields_on_cuda()
    if reason:
        raise Skipped(f"{reason}; the kernels are measured where there is a GPU")
    positions = torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(0)).cuda()
    for shape, (levels, features) in SHAPES.items():
        scale = per_level_scale(COARSEST, FINEST, levels)
        config = HashGridConfig(
            levels=levels, features=features, log2_table_size=LOG2_TABLE_SIZE, per_level_scale=scale
        )
        for kind, dtype in (("", torch.float32), ("_half", torch.float16)):
            table = initial_table(config).to("cuda", dtype)
            for direction, work in _works(positions, table, config).items():
                seconds = best_of_blocks(lambda w=work: _device_seconds(w), effort)
                key = f"fields/encode_cuda/{direction}_T{LOG2_TABLE_SIZE}{shape}{kind}_mpts"
                yield Metric(key, 1e-6 * POINTS / seconds, "Mpts/s", "higher", TIME_TOLERANCE)


def _works(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    learnt = table.clone().requires_grad_()
    gradient = torch.randn(POINTS, config.width, device=table.device)
    return {
        "forward": lambda: hash_encode(positions, table, config),
        "forward_backward": lambda: torch.autograd.grad(hash_encode(positions, learnt, config), learnt, gradient),
    }


def _device_seconds(work: Callable[[], object]) -> float:
    """Seconds of one call, by the GPU's own clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(CALLS):
        work()
    end.record()
    end.synchronize()
    return 1e-3 * begin.elapsed_time(end) / CALLS
