"""Proves sphere tracing by a ball, whose hits are known: distances along rays, cuts, eyes inside, costs, cancelling."""

from __future__ import annotations

import numpy as np
import pytest

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.sphere_tracing import (
    CUT,
    MISSED,
    SURFACE,
    Clearance,
    TracingOptions,
    box_spans,
    trace_spheres,
)

BOX = np.array([[-1.0] * 3, [1.0] * 3])
RADIUS = 0.6


def ball(points: np.ndarray) -> np.ndarray:
    return (np.linalg.norm(points, axis=1) - RADIUS).astype(np.float32)


def clearance(cells: int = 24) -> Clearance:
    along = (np.arange(cells) + 0.5) / cells * 2.0 - 1.0
    grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    return Clearance.of(ball(grid).reshape((cells,) * 3), BOX)


def rays(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """From all around towards somewhere near the middle."""
    draws = np.random.default_rng(0)
    origins = draws.normal(size=(count, 3))
    origins *= 3.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    directions = draws.uniform(-0.9, 0.9, (count, 3)) - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return origins.astype(np.float32), directions.astype(np.float32)


def exact(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance to the ball along each ray, NaN where it passes."""
    along = -(origins * directions).sum(axis=1)
    inside = RADIUS**2 - ((origins * origins).sum(axis=1) - along**2)
    return along - np.sqrt(np.where(inside > 0.0, inside, np.nan))


def test_rays_meet_the_ball_where_the_formula_says():
    origins, directions = rays()
    spans, _ = box_spans(origins, directions, BOX)
    traced = trace_spheres(ball, origins, directions, spans, clearance=clearance())
    expected = exact(origins, directions)
    assert 100 < np.isfinite(expected).sum() < 450
    # Rays that graze may be taken either way: they come nearer than a thousandth of the box.
    nearest = np.linalg.norm(origins - (origins * directions).sum(axis=1)[:, None] * directions, axis=1) - RADIUS
    sure = np.abs(nearest) > 2e-3
    assert np.array_equal(traced.met[sure] == SURFACE, np.isfinite(expected[sure]))
    deep = nearest < -0.05
    assert np.allclose(traced.t[deep], expected[deep], atol=1e-3)


def test_free_space_is_crossed_without_asking():
    origins, directions = rays()
    spans, _ = box_spans(origins, directions, BOX)
    blind = Clearance(np.zeros((1, 1, 1), np.float32), BOX)
    asked = trace_spheres(ball, origins, directions, spans, clearance=blind)
    spared = trace_spheres(ball, origins, directions, spans, clearance=clearance())
    assert spared.counts.sum() < 0.6 * asked.counts.sum()
    assert (asked.met == spared.met).mean() > 0.99


def test_what_is_said_to_be_free_is_free():
    grid = clearance()
    points = np.random.default_rng(1).uniform(-1.0, 1.0, (5000, 3)).astype(np.float32)
    free = grid.at(points)
    assert (np.abs(free) <= np.abs(ball(points)) + 1e-6).all()
    assert (free[free != 0.0] * ball(points)[free != 0.0] > 0.0).all()
    assert (free > 0.0).any() and (free < 0.0).any()


def test_a_ray_that_enters_the_box_within_the_solid_is_cut_there():
    half = np.array([[-1.0, -1.0, -1.0], [0.1, 1.0, 1.0]])
    origins = np.array([[3.0, 0.0, 0.0], [3.0, 0.9, 0.0], [-3.0, 0.0, 0.0]], np.float32)
    directions = np.array([[-1.0, 0, 0], [-1.0, 0, 0], [1.0, 0, 0]], np.float32)
    spans, axis = box_spans(origins, directions, half)
    traced = trace_spheres(ball, origins, directions, spans, clearance=clearance())
    assert traced.met.tolist() == [CUT, MISSED, SURFACE]
    assert traced.t[0] == np.float32(2.9) and np.isclose(traced.t[2], 3.0 - RADIUS, atol=1e-3)
    assert axis[0] == 0


def test_an_eye_inside_sees_the_surface_from_behind():
    origins, directions = np.zeros((1, 3), np.float32), np.array([[0.6, 0.8, 0.0]], np.float32)
    traced = trace_spheres(ball, origins, directions, box_spans(origins, directions, BOX)[0], clearance=clearance())
    assert traced.met[0] == SURFACE and np.isclose(traced.t[0], RADIUS, atol=1e-3)


def test_a_distance_that_promises_too_much_is_stepped_back_from():
    origins, directions = rays()
    spans, _ = box_spans(origins, directions, BOX)
    blind = Clearance(np.zeros((1, 1, 1), np.float32), BOX)
    traced = trace_spheres(lambda p: 1.4 * ball(p), origins, directions, spans, clearance=blind)
    expected = exact(origins, directions)
    deep = expected < 2.6
    assert (traced.met[deep] == SURFACE).all() and np.allclose(traced.t[deep], expected[deep], atol=1e-3)


def test_boxes_are_entered_and_left_where_they_are():
    origins = np.array([[-3.0, 0, 0], [0, 0, 0], [-3, 5, 0], [-3, 1, 0]], np.float32)
    directions = np.array([[1.0, 0, 0], [0, 0, -1], [1, 0, 0], [1, 0, 0]], np.float32)
    spans, axis = box_spans(origins, directions, BOX)
    assert spans[0].tolist() == [2.0, 4.0] and spans[1].tolist() == [0.0, 1.0]
    assert spans[2, 0] == spans[2, 1]
    # Along a wall a ray is in the box.
    assert spans[3].tolist() == [2.0, 4.0]
    assert axis[0] == 0


def test_a_set_flag_ends_it():
    origins, directions = rays(10)
    spans, flag = box_spans(origins, directions, BOX)[0], CancelFlag()
    flag.set()
    blind = Clearance(np.zeros((1, 1, 1), np.float32), BOX)
    with pytest.raises(Cancelled):
        trace_spheres(ball, origins, directions, spans, clearance=blind, cancel=flag)


def test_no_ray_costs_more_than_it_may():
    origins, directions = rays()
    spans, _ = box_spans(origins, directions, BOX)
    blind, options = Clearance(np.zeros((1, 1, 1), np.float32), BOX), TracingOptions(max_steps=5)
    traced = trace_spheres(ball, origins, directions, spans, clearance=blind, options=options)
    assert traced.counts.max() == 5
