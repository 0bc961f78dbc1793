"""Keeping the occupancy grid of a field up to date while it trains.

The grid holds optical thickness, density times the finest step, per cell in Morton order; a cell below 0 is one that no
camera sees. An update decays every cell and raises those that were sampled to what the network says there. Instant-NGP
samples as many points as there are cells in every early update and half as many later; on a CPU that would cost more
than the training itself, so cells take turns here: `share` of all, and those that are occupied. The grid lies where the
field does; what is random is drawn on the CPU, so that it is the same for all devices. C cascades, M cells.
Source: Mueller et al. 2022, appendix E.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from h3d.models.hash_grid import THICKNESS_THRESHOLD
from h3d.renderers.fields import GRID_CELLS, GRID_SIDE, SMALLEST_STEP, cell_centers

DECAY = 0.95
WARMUP_STEPS = 256
WARMUP_DECAY = 0.8
UNSEEN = -1.0
BLOCK = 8
"""Cells of an aligned block of 2x2x2: neighbours in Morton order."""
OCCUPIED_SHARES = 4
COARSE = 4
"""Cells along a side of the blocks that are tested against the cameras together."""

Density = Callable[[torch.Tensor], torch.Tensor]
"""Positions [P, 3] in NGP space to density [P]."""


@dataclass(frozen=True)
class View:
    """What one camera sees: a pyramid, in NGP space."""

    world_to_camera: torch.Tensor  # [4, 4], rigid, OpenCV axes
    tangents: tuple[float, float, float, float]  # x/z at the left and right, y/z at the upper and lower border


def due(step: int, cascades: int) -> tuple[int, ...]:
    """The cascades that are updated before this step: each every 8 steps at first, every 16 later.

    In turn, so that no step takes much longer than the others; before the first step all.
    """
    if step == 0:
        return tuple(range(cascades))
    interval = 8 if step < WARMUP_STEPS else 16
    return tuple(c for c in range(cascades) if step % interval == c * interval // cascades)


def update(
    thickness: torch.Tensor,  # [C, 128^3], changed
    cascades: Sequence[int],
    density: Density,
    generator: torch.Generator,
    *,
    step: int,
    share: float,
) -> None:
    """One update of these cascades: rough and everywhere at first, then `share` of the cells in turn."""
    rough = step < WARMUP_STEPS
    for cascade in cascades:
        row = thickness[cascade]
        cells = None if rough else _due(row, share, generator)
        row[:] = torch.where(row < 0, row, row * (WARMUP_DECAY if rough else DECAY))
        if cells is None:
            _raise_blocks(row, cascade, density, generator)
        else:
            row[cells] = torch.maximum(row[cells], _sampled(cells, cascade, density, generator))


def _raise_blocks(row: torch.Tensor, cascade: int, density: Density, generator: torch.Generator) -> None:
    """One point in each block of 2x2x2 cells speaks for all eight; `row` [128^3] is changed."""
    blocks = row.view(-1, BLOCK)
    seen = (blocks[:, 0] >= 0).nonzero()[:, 0]
    member = torch.randint(BLOCK, seen.shape, generator=generator).to(seen.device)
    found = _sampled(BLOCK * seen + member, cascade, density, generator)
    blocks[seen] = torch.maximum(blocks[seen], found[:, None])


def _sampled(cells: torch.Tensor, cascade: int, density: Density, generator: torch.Generator) -> torch.Tensor:
    """Optical thickness [M] at a random point in each of the cells [M]."""
    jitter = torch.rand(cells.shape[0], 3, generator=generator).to(cells.device)
    return density(cell_centers(cells, cascade, jitter)) * SMALLEST_STEP


def _due(thickness: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:  # [128^3] -> [M] int64
    """Cells to sample, in order (which is coherent): a stride through all that are seen, and the occupied ones."""
    occupied = (thickness > THICKNESS_THRESHOLD).nonzero()[:, 0]
    crowd = math.ceil(occupied.shape[0] / (OCCUPIED_SHARES * share * thickness.shape[0]))
    due = torch.zeros(thickness.shape[0], dtype=torch.bool, device=thickness.device)
    due[_every(occupied, crowd, generator)] = True
    due[_every(torch.arange(thickness.shape[0], device=thickness.device), round(1.0 / share), generator)] = True
    return (due & (thickness >= 0)).nonzero()[:, 0]


def _every(cells: torch.Tensor, stride: int, generator: torch.Generator) -> torch.Tensor:  # [M] -> [M / stride]
    """One cell of `stride`, from a random start."""
    stride = max(stride, 1)
    return cells[int(torch.randint(stride, (), generator=generator)) :: stride]


def initial(cascades: int, views: Sequence[View]) -> torch.Tensor:  # [C, 128^3]
    """A grid that knows which cells a camera sees, and nothing yet of what they hold."""
    # Not a guess above the threshold: guesses fade alike everywhere, and the moment they pass it all cells go out.
    grid = torch.zeros(cascades, GRID_CELLS)
    block = COARSE**3
    # Morton order keeps the cells of an aligned block together, so one test stands for a run of the row.
    firsts = torch.arange(0, GRID_CELLS, block)
    for cascade in range(cascades):
        side = 2.0**cascade / GRID_SIDE
        centers = cell_centers(firsts, cascade) + 0.5 * (COARSE - 1) * side
        seen = _seen(centers, 0.5 * 3.0**0.5 * COARSE * side, views)
        grid[cascade].view(-1, block)[~seen] = UNSEEN
    return grid


def _seen(centers: torch.Tensor, radius: float, views: Sequence[View]) -> torch.Tensor:  # [M, 3] -> [M] bool
    """Whether balls of this radius reach into the pyramid of at least one camera."""
    seen = torch.zeros(centers.shape[0], dtype=torch.bool)
    for view in views:
        rest = (~seen).nonzero()[:, 0]
        if rest.shape[0] == 0:
            break
        matrix = view.world_to_camera.to(centers.dtype)
        x, y, z = (centers[rest] @ matrix[:3, :3].T + matrix[:3, 3]).unbind(1)
        inside = z > -radius
        for along, (low, high) in ((x, view.tangents[:2]), (y, view.tangents[2:])):
            inside &= along - low * z > -radius * (1.0 + low * low) ** 0.5
            inside &= high * z - along > -radius * (1.0 + high * high) ** 0.5
        seen[rest] = inside
    return seen
