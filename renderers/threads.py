"""Torch beside the kernels: they have threads of their own, and torch's, woken for each small operation, cost more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """While it lasts, torch's own operations run on the caller's thread alone; the kernels' pool is not touched."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def torch_threads() -> Iterator[None]:
    """Within `one_torch_thread`: large networks of torch's own have as many threads again as the kernels."""
    from .backends import num_threads  # Not before the kernels are wanted anyway.

    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, num_threads()))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
