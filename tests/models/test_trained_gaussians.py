"""Proves that all of a row moves together: values, moments, ids, statistics and edit bits, to files and back."""

from __future__ import annotations

import pytest
import torch
from learnt_rows import assert_moments_are_of_their_rows, generator, learnt, some_gaussians, step_info

from h3d.models.trained_gaussians import COLUMNS, TrainedGaussians, screen_gradients


def test_a_state_that_has_not_moved_is_what_it_was_made_of():
    gaussians = some_gaussians(7, sh_degree=2)
    again = TrainedGaussians.of(gaussians).gaussians(remark="so")
    for name in ("ids", "means", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(again, name), getattr(gaussians, name))
    torch.testing.assert_close(again.quats, gaussians.quats)
    assert again.remark == "so" and again.sh.shape == (7, 9, 3)


def test_what_depends_on_the_direction_is_learnt_a_twentieth_as_fast():
    for degree in (0, 2):
        state = TrainedGaussians.of(some_gaussians(4, sh_degree=degree))
        before = state.sh.clone()
        state.step({"sh": torch.ones_like(state.sh)}, {"sh": 0.1}, step=1)
        moved = before - state.sh
        torch.testing.assert_close(moved[:, :1], torch.full((4, 1, 3), 0.1))
        torch.testing.assert_close(moved[:, 1:], torch.full((4, (degree + 1) ** 2 - 1, 3), 0.005))


def test_moments_follow_their_rows_when_others_go_and_come():
    state = learnt(some_gaussians(6))
    state.keep(torch.tensor([True, False, True, True, False, True]))
    ids = state.append(state.rows(torch.tensor([0, 1])))
    assert state.ids.tolist() == [0, 2, 3, 5, 6, 7] and ids.tolist() == [6, 7]
    assert_moments_are_of_their_rows(state, known=6)
    assert torch.equal(state.means[4:], state.means[:2])


def test_ids_are_never_given_twice():
    state = learnt(some_gaussians(3))
    given = set(state.ids.tolist())
    for _ in range(5):
        fresh = state.append(state.rows(torch.tensor([0, 0])))
        assert given.isdisjoint(fresh.tolist())
        given |= set(fresh.tolist())
        # The youngest go: the highest id in use falls, the next one given does not.
        state.keep(torch.arange(3))
        fresh = state.replace(torch.tensor([1]), state.rows(torch.tensor([2])))
        assert given.isdisjoint(fresh.tolist())
        given |= set(fresh.tolist())


def test_a_restarted_row_stays_who_it_is_and_a_replaced_one_does_not():
    state = learnt(some_gaussians(4))
    state.deleted[3] = True
    state.restart(torch.tensor([1]), {"logit_opacities": torch.tensor([[2.0]])})
    assert state.ids.tolist() == [0, 1, 2, 3] and state.values("logit_opacities")[1, 0] == 2.0
    assert state.groups["logit_opacities"].counts.tolist() == [0, 0, 2, 3]
    assert state.groups["means"].counts.tolist() == [0, 1, 2, 3]
    state.replace(torch.tensor([3]), state.rows(torch.tensor([0])))
    assert state.ids.tolist() == [0, 1, 2, 4] and not bool(state.deleted.any())
    assert state.groups["means"].counts.tolist() == [0, 1, 2, 0]


def test_edits_find_rows_by_id_wherever_they_are_and_pass_over_those_that_have_gone():
    state = learnt(some_gaussians(5))
    state.keep(torch.tensor([4, 2, 0]))
    assert state.find(torch.tensor([0, 1, 2, 99, -5])).tolist() == [2, -1, 1, -1, -1]
    assert state.mark_deleted(torch.tensor([1, 2]), True).tolist() == [2]
    assert state.mark_deleted(torch.tensor([1, 2]), True).tolist() == [], "it was deleted already"
    assert state.gaussians().ids.tolist() == [4, 0]
    assert state.mark_deleted(torch.tensor([1, 2]), False).tolist() == [2]
    assert state.gaussians().ids.tolist() == [4, 2, 0]


def test_a_row_deleted_and_brought_back_has_kept_its_values_and_moments():
    state = learnt(some_gaussians(4))
    before = state.tensors("x")
    before = {name: array.clone() for name, array in before.items()}
    gradients = {name: torch.ones_like(group.values) for name, group in state.groups.items()}
    state.mark_deleted(torch.tensor([2]), True)
    state.step(gradients, dict.fromkeys(state.groups, 1e-2), step=1)
    state.mark_deleted(torch.tensor([2]), False)
    for name, array in state.tensors("x").items():
        if array.ndim > 0 and len(array) == 4:
            assert torch.equal(array[2], before[name][2]), name
    assert not torch.equal(state.means[1], before["x.groups.means.values"][1])


def test_only_groups_with_a_rate_and_rows_in_sight_are_learnt():
    state = TrainedGaussians.of(some_gaussians(3))
    before = state.gaussians()
    gradients = {name: torch.ones_like(group.values) for name, group in state.groups.items()}
    state.step(gradients, {"means": 0.125}, step=1, visible=torch.tensor([True, False, True]))
    torch.testing.assert_close(state.means, before.means - 0.125 * torch.tensor([[1.0], [0.0], [1.0]]))
    assert torch.equal(state.values("log_scales"), before.log_scales)


def test_statistics_are_of_rows_that_were_seen():
    state = TrainedGaussians.of(some_gaussians(3))
    state.mark_deleted(torch.tensor([2]), True)
    seen = torch.tensor([True, False, True])
    for radius in (40.0, 10.0):
        state.observe(step_info(state, gradients=torch.ones(3), radii=torch.full((3,), radius), visible=seen))
    assert state.gradient_sum.tolist() == [2.0, 0.0, 0.0] and state.views.tolist() == [2, 0, 0]
    torch.testing.assert_close(state.largest_radius, torch.tensor([0.1, 0.0, 0.0]))
    state.forget()
    assert not any(bool(getattr(state, name).any()) for name in ("gradient_sum", "views", "largest_radius"))


def test_gradients_on_the_picture_are_in_halves_of_its_sides():
    assert screen_gradients(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 200, 100).tolist() == [300.0, 200.0]


def test_a_state_survives_being_written_by_name():
    state = learnt(some_gaussians(5))
    state.append(state.rows(torch.tensor([0])))
    state.observe(step_info(state, gradients=torch.rand(6, generator=generator())))
    state.mark_deleted(torch.tensor([1]), True)
    tensors = {**state.tensors("gaussians"), "cameras.values": torch.zeros(2, 6)}
    again = TrainedGaussians.from_tensors("gaussians", tensors)
    assert again.next_id == 6 and list(again.groups) == list(state.groups)
    for name, array in state.tensors("gaussians").items():
        assert torch.equal(array, again.tensors("gaussians")[name])
    again.means.add_(1.0)
    assert not torch.equal(again.means, state.means)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_file_whose_arrays_do_not_fit_together_is_refused(column: str):
    tensors = learnt(some_gaussians(5)).tensors("gaussians")
    tensors[f"gaussians.{column}"] = tensors[f"gaussians.{column}"][:3]
    with pytest.raises(ValueError, match=r"gaussians: its arrays have \[3, 5\] rows"):
        TrainedGaussians.from_tensors("gaussians", tensors)
