"""Proves the optimiser: torch's Adam where every row moves, and the stated rules where rows are skipped, come or go."""

from __future__ import annotations

import pytest
import torch

from h3d.renderers.adam import BETA1, BETA2, AdamOptions, AdamRows, adam_step, wild_rows
from h3d.renderers.backends import num_threads, set_num_threads
from h3d.renderers.cuda import adam as torch_twin


def gradients(steps: int, rows: int, features: int) -> torch.Tensor:
    return torch.randn(steps, rows, features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_with_every_row_touched_it_is_torchs_adam(l2: float):
    start = torch.randn(37, 2, generator=torch.Generator().manual_seed(0))
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=1e-2, betas=(BETA1, BETA2), eps=1e-15, weight_decay=l2)
    ours = AdamRows.of(start)
    for step, gradient in enumerate(gradients(30, 37, 2), start=1):
        theirs.grad = gradient.clone()
        optimiser.step()
        adam_step(ours, gradient, step=step, options=AdamOptions(l2=l2))
    torch.testing.assert_close(ours.values, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_a_skipped_row_stands_still_and_counts_its_own_steps():
    start = torch.ones(2, 2)
    rows, alone = AdamRows.of(start), AdamRows.of(start[1:])
    options = AdamOptions(skip_zero_rows=True)
    for step, gradient in enumerate(gradients(9, 2, 2), start=1):
        gradient[0] = 0.0
        if step % 3 != 0:
            gradient[1] = 0.0
        else:
            adam_step(alone, gradient[1:].clone(), step=step // 3, options=options)
        adam_step(rows, gradient, step=step, options=options)
    assert torch.equal(rows.values[0], start[0])
    assert rows.counts.tolist() == [0, 3]
    torch.testing.assert_close(rows.values[1], alone.values[0])


def test_the_average_of_skipped_rows_is_that_of_an_average_taken_at_every_step():
    decay, options = 0.9, AdamOptions(decay=0.9, skip_zero_rows=True)
    rows = AdamRows.of(torch.zeros(3, 2))
    plain = rows.values.clone()
    for step, gradient in enumerate(gradients(20, 3, 2), start=1):
        gradient[step % 3] = 0.0
        adam_step(rows, gradient, step=step, options=options)
        plain = decay * plain + (1.0 - decay) * rows.values
    torch.testing.assert_close(rows.averaged(20, decay), plain, rtol=1e-5, atol=1e-6)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    before, results = num_threads(), []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            rows = AdamRows.of(torch.zeros(20_000, 2))
            for step, gradient in enumerate(gradients(3, 20_000, 2), start=1):
                adam_step(rows, gradient, step=step, options=AdamOptions())
            results.append(rows.values)
    finally:
        set_num_threads(before)
    assert torch.equal(*results)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="gradient"):
        adam_step(AdamRows.of(torch.zeros(4, 2)), torch.zeros(4, 3), step=1, options=AdamOptions())


def test_all_arrays_survive_being_written_by_name():
    rows = AdamRows.of(torch.randn(5, 2))
    adam_step(rows, torch.ones(5, 2), step=1, options=AdamOptions())
    again = AdamRows.from_tensors("table", rows.tensors("table"))
    assert all(torch.equal(a, b) for a, b in zip(rows.tensors("x").values(), again.tensors("x").values(), strict=True))


def test_rows_that_are_not_live_stand_still_whatever_their_gradient():
    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    live = torch.tensor([True, False, True, True, False, True])
    rows, alone = AdamRows.of(start), AdamRows.of(start[live])
    for step, gradient in enumerate(gradients(5, 6, 3), start=1):
        adam_step(rows, gradient, step=step, options=AdamOptions(), live=live)
        adam_step(alone, gradient[live].clone(), step=step, options=AdamOptions())
    still, untouched = rows.keep(~live), AdamRows.of(start[~live])
    for name in ("values", "first", "second", "average", "counts", "last"):
        assert torch.equal(getattr(rows.keep(live), name), getattr(alone, name))
        assert torch.equal(getattr(still, name), getattr(untouched, name))


def test_with_the_second_beta_of_gaussians_it_is_torchs_adam():
    start = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=1e-3, betas=(BETA1, 0.999), eps=1e-15)
    ours = AdamRows.of(start, averaged=False)
    for step, gradient in enumerate(gradients(20, 11, 4), start=1):
        theirs.grad = gradient.clone()
        optimiser.step()
        adam_step(ours, gradient, step=step, options=AdamOptions(learning_rate=1e-3, beta2=0.999))
    torch.testing.assert_close(ours.values, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_without_an_average_the_values_are_the_same_and_are_what_is_displayed():
    start = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    plain, averaged = AdamRows.of(start, averaged=False), AdamRows.of(start)
    for step, gradient in enumerate(gradients(4, 9, 2), start=1):
        for rows in (plain, averaged):
            adam_step(rows, gradient, step=step, options=AdamOptions())
    assert torch.equal(plain.values, averaged.values) and torch.equal(plain.averaged(4, 0.95), plain.values)
    again = AdamRows.from_tensors("means", plain.tensors("means"))
    assert again.average.shape == (9, 0)


def test_rows_that_come_and_go_take_their_moments_along():
    rows = AdamRows.of(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    for step, gradient in enumerate(gradients(3, 4, 2), start=1):
        adam_step(rows, gradient, step=step, options=AdamOptions())
    turned = rows.keep(torch.tensor([2, 0])).append(torch.ones(1, 2))
    assert torch.equal(turned.first[:2], rows.first[[2, 0]]) and turned.counts.tolist() == [3, 3, 0]
    assert not bool(turned.second[2].any()) and torch.equal(turned.average[2], torch.ones(2))
    rows.restart(torch.tensor([1]), torch.zeros(1, 2))
    assert rows.counts.tolist() == [3, 0, 3, 3] and not bool(rows.first[1].any() or rows.values[1].any())
    assert bool(rows.first[0].any())


def test_the_twin_in_torch_follows_the_same_rules():
    live = torch.tensor([True, True, False, True])
    options, factors = AdamOptions(skip_zero_rows=True, beta2=0.999, l2=1e-3), torch.tensor([1.0, 0.05, 0.5])
    for averaged in (True, False):
        start = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        ours, theirs = AdamRows.of(start, averaged=averaged), AdamRows.of(start, averaged=averaged)
        for step, gradient in enumerate(gradients(6, 4, 3), start=1):
            gradient[step % 4] = 0.0
            adam_step(ours, gradient, step=step, options=options, live=live, factors=factors)
            torch_twin.adam_step(theirs, gradient, step=step, options=options, live=live, factors=factors)
        for name, array in ours.tensors("x").items():
            torch.testing.assert_close(array, theirs.tensors("x")[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("live", [torch.ones(3, dtype=torch.bool), torch.ones(4)])
def test_a_mask_of_another_size_or_type_is_refused(live: torch.Tensor):
    with pytest.raises(ValueError, match="live"):
        adam_step(AdamRows.of(torch.zeros(4, 2)), torch.zeros(4, 2), step=1, options=AdamOptions(), live=live)


def test_columns_may_be_learnt_at_rates_of_their_own():
    start = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    both, slow = AdamRows.of(start), AdamRows.of(start[:, 2:].contiguous())
    fast = AdamRows.of(start[:, :2].contiguous())
    for step, gradient in enumerate(gradients(5, 9, 4), start=1):
        adam_step(both, gradient, step=step, options=AdamOptions(), factors=torch.tensor([1.0, 1.0, 0.25, 0.25]))
        adam_step(fast, gradient[:, :2], step=step, options=AdamOptions())
        adam_step(slow, gradient[:, 2:], step=step, options=AdamOptions(learning_rate=0.25e-2))
    torch.testing.assert_close(both.values, torch.cat([fast.values, slow.values], dim=1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("factors", [torch.ones(3), torch.ones(2, dtype=torch.float64)])
def test_factors_of_another_size_or_type_are_refused(factors: torch.Tensor):
    with pytest.raises(ValueError, match="factors"):
        adam_step(AdamRows.of(torch.zeros(4, 2)), torch.zeros(4, 2), step=1, options=AdamOptions(), factors=factors)


def test_rows_that_adam_could_not_square_are_counted():
    gradient = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0))
    assert wild_rows(gradient) == 0 and wild_rows(torch.zeros(0, 5)) == 0
    gradient[3, 1] = gradient[3, 2] = float("nan")
    gradient[40, 0], gradient[41, 4], gradient[999, 4] = float("inf"), float("-inf"), 2e19
    gradient[500] = 1e19
    assert wild_rows(gradient) == 4
    rows = AdamRows.of(torch.zeros(1000, 5))
    adam_step(rows, torch.where(gradient.abs() <= 1.8e19, gradient, 0.0), step=1, options=AdamOptions())
    assert bool(rows.second.isfinite().all()) and bool(rows.values.isfinite().all())
