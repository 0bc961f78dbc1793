"""Proves how a field's occupancy grid is kept: it finds what is there, forgets what is not, knows what nobody sees."""

from __future__ import annotations

import numpy as np
import torch

from h3d.models.hash_grid import THICKNESS_THRESHOLD
from h3d.models.training import occupancy
from h3d.models.training.occupancy import View
from h3d.renderers.cameras import look_at
from h3d.renderers.fields import GRID_CELLS, cell_centers

CELLS = torch.arange(GRID_CELLS)


def ball(positions: torch.Tensor) -> torch.Tensor:
    """Density 1000 within 0.2 of the middle."""
    return 1000.0 * ((positions - 0.5).norm(dim=1) < 0.2)


def test_a_few_rough_updates_find_a_ball_and_empty_the_rest():
    generator = torch.Generator().manual_seed(0)
    grid = occupancy.initial(1, [])
    grid[grid < 0] = 0.0
    for _ in range(6):
        occupancy.update(grid, [0], ball, generator, step=8, share=1 / 32)
    distance = (cell_centers(CELLS, 0) - 0.5).norm(dim=1)
    occupied = grid[0] > THICKNESS_THRESHOLD
    assert bool(occupied[distance < 0.19].all())
    assert not bool(occupied[distance > 0.23].any())


def test_later_updates_keep_what_is_there_and_forget_what_has_gone():
    generator = torch.Generator().manual_seed(0)
    grid = torch.where((cell_centers(CELLS, 0) - 0.5).norm(dim=1) < 0.3, 1.0, 0.0)[None]
    for step in range(256, 256 + 16 * 100, 16):
        occupancy.update(grid, [0], ball, generator, step=step, share=1 / 32)
    distance = (cell_centers(CELLS, 0) - 0.5).norm(dim=1)
    occupied = grid[0] > THICKNESS_THRESHOLD
    assert bool(occupied[distance < 0.19].all())
    assert not bool(occupied[distance > 0.21].any())


def test_only_cells_before_a_camera_count_as_seen_and_stay_so():
    camera = look_at(np.array([0.5, 0.5, -1.0]), np.array([0.5, 0.5, 0.5]), np.array([0.0, 1.0, 0.0]))
    half = np.tan(0.5 * camera.fov_y_radians)
    view = View(torch.from_numpy(camera.viewmat), (-0.2, 0.2, -float(half), float(half)))
    grid = occupancy.initial(2, [view])
    for cascade in range(2):
        points = cell_centers(CELLS, cascade).double()
        x, y, z = (points @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]).unbind(1)
        inside = (z > 0) & (x.abs() < 0.2 * z) & (y.abs() < half * z)
        assert bool((grid[cascade][inside] == 0).all())
        far = (x.abs() > 0.2 * z + 0.2 * 2**cascade) | (z < -0.2 * 2**cascade)
        assert bool((grid[cascade][far] < 0).all())
    updated = grid.clone()
    occupancy.update(updated, [0, 1], ball, torch.Generator().manual_seed(0), step=8, share=1 / 32)
    assert torch.equal(updated < 0, grid < 0) and not torch.equal(updated, grid)


def test_cascades_take_turns_so_that_no_step_updates_many():
    for cascades in (1, 3, 5, 8):
        assert occupancy.due(0, cascades) == tuple(range(cascades))
        for first, interval in ((8, 8), (occupancy.WARMUP_STEPS, 16)):
            turns = [occupancy.due(step, cascades) for step in range(first, first + interval)]
            assert sorted(c for turn in turns for c in turn) == list(range(cascades))
            assert max(len(turn) for turn in turns) == 1
