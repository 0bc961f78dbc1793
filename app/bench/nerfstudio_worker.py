"""The other side of `peer_nerfstudio`: a program of its own that encodes when a line on its standard input says so.

Run by an interpreter that has nerfstudio and not necessarily this package; imports nothing of it. Takes the number of
threads and of points, and says `ready`. A line `forward 14` or `forward_backward 19` names a piece of work and the
table's size; when the work is done a line says `done`.
"""

from __future__ import annotations

import sys
from functools import cache

import torch

LEVELS, FEATURES, COARSEST, FINEST = 16, 2, 16, 2048


def main() -> None:
    # Here and not above: the bench reads the constants, and has no nerfstudio.
    from nerfstudio.field_components.encodings import HashEncoding  # type: ignore[reportMissingImports]

    @cache
    def encoding(log2_table_size: int) -> torch.nn.Module:
        return HashEncoding(LEVELS, COARSEST, FINEST, log2_table_size, FEATURES, implementation="torch")

    threads, points = (int(argument) for argument in sys.argv[1:])
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(points, 3, generator=generator)
    gradient = torch.randn(points, LEVELS * FEATURES, generator=generator)
    print("ready", flush=True)
    for line in sys.stdin:
        work, log2_table_size = line.split()
        module = encoding(int(log2_table_size))
        if work == "forward":
            with torch.no_grad():
                module(positions)
        else:
            torch.autograd.grad(module(positions), list(module.parameters()), gradient)
        print("done", flush=True)


if __name__ == "__main__":
    main()
