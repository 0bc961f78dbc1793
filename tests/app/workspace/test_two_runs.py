"""Proves that two runs are compared only where both were measured, and along straight lines between measurements."""

from __future__ import annotations

import pytest

from h3d.app.workspace.runs import Judged, RunStatus
from h3d.app.workspace.two_runs import Gap, common_metric, gap, losses_of


def run(*judged: tuple[int, float, float], metric: str = "psnr", **more) -> RunStatus:
    """A run that was judged at these steps and seconds to be so good."""
    found = tuple(Judged(step, seconds, {metric: value}, "3 test photos") for step, seconds, value in judged)
    return RunStatus(1, "run", "gaussians", "running", judged=found, **more)


A = run((100, 4.0, 20.0), (200, 8.0, 22.0), (300, 12.0, 23.0))
B = run((50, 4.0, 18.0), (120, 9.0, 24.0))


def test_at_equal_time_the_one_that_is_ahead_is_read_between_two_measurements():
    found = gap(A, B, "psnr", "seconds")
    assert isinstance(found, Gap) and found.at == 9.0 and found.b == 24.0
    assert found.a == pytest.approx(22.25) and found.difference == pytest.approx(1.75)


def test_at_equal_step_another_place_is_common():
    found = gap(A, B, "psnr", "steps")
    assert isinstance(found, Gap) and found.at == 120.0
    assert found.a == pytest.approx(20.4) and found.b == 24.0


def test_where_both_have_not_come_nothing_is_made_up():
    assert gap(A, run(), "psnr", "seconds") == "B has not been judged yet"
    late = run((400, 30.0, 25.0))
    assert gap(A, late, "psnr", "seconds") == "no common point: judged from A 4.0 s to 12.0 s, B 30.0 s to 30.0 s"
    assert (
        gap(A, late, "psnr", "steps") == "no common point: judged from A step 100 to step 300, B step 400 to step 400"
    )


def test_a_metric_must_be_of_both():
    assert common_metric(A, B) == "psnr"
    assert common_metric(A, run((1, 1.0, 0.5), metric="iou")) is None
    assert common_metric(A, run()) is None


def test_losses_stand_at_the_seconds_of_their_steps():
    status = run(losses=((10, 0.5), (20, 0.4), (30, 0.3)), clock=((10, 1.0), (30, 2.0)))
    seconds, losses = losses_of(status, "seconds")
    assert seconds == pytest.approx([1.0, 1.5, 2.0]) and losses == pytest.approx([0.5, 0.4, 0.3])
    assert losses_of(status, "steps")[0] == pytest.approx([10.0, 20.0, 30.0])
    assert len(losses_of(run(), "seconds")[0]) == 0
