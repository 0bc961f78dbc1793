"""The fused networks compute what matrix products would, forward and backward, at any widths and number of points.

Most numbers here are -1, 0 and 1: their sums are exact in float32, so results must be equal, in whatever order they are
added, and no neuron lies so near to its kink that rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from grid_reference import network
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.renderers import num_threads, set_num_threads
from h3d.renderers.mlp import initial_weights, mlp


def case(widths: tuple[int, ...], points: int, seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Inputs, weights, and the weights of a loss that sums all outputs; half of the numbers are 0."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(points, widths[0]), *zip(widths[1:], widths[:-1], strict=True), (points, widths[-1])]
    values = torch.tensor([-1.0, 0.0, 0.0, 1.0])
    inputs, *weights, loss = (values[torch.randint(0, 4, shape, generator=generator)] for shape in shapes)
    return inputs, weights, loss


def real_case(widths: tuple[int, ...], points: int, seed: int = 0):
    """The same with any numbers."""
    generator = torch.Generator().manual_seed(seed)
    inputs, loss = (torch.randn(points, n, generator=generator) for n in (widths[0], widths[-1]))
    return inputs, initial_weights(widths, generator), loss


def gradients(run, inputs: torch.Tensor, weights: list[torch.Tensor], loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
    inputs, *weights = (array.clone().requires_grad_() for array in (inputs, *weights))
    return torch.autograd.grad((run(inputs, weights) * loss).sum(), [inputs, *weights])


def assert_right(widths: tuple[int, ...], points: int, seed: int = 0) -> None:
    inputs, weights, loss = case(widths, points, seed)
    exact_inputs, exact_weights = inputs.double(), [matrix.double() for matrix in weights]
    assert torch.equal(mlp(inputs, weights).double(), network(exact_inputs, exact_weights))
    expected = gradients(network, exact_inputs, exact_weights, loss.double())
    for actual, exact in zip(gradients(mlp, inputs, weights, loss), expected, strict=True):
        assert float(exact.abs().max() if exact.numel() > 0 else 0.0) < 2**24
        assert torch.equal(actual.double(), exact)


@pytest.fixture
def threads() -> Iterator[None]:
    before = num_threads()
    yield
    set_num_threads(before)


@pytest.mark.parametrize("widths", [(32, 64, 16), (32, 64, 64, 3), (32, 16, 1), (27, 128, 128, 4), (5, 2)])
@pytest.mark.parametrize("points", [1, 63, 64, 65, 1000])
def test_outputs_and_gradients_are_those_of_matrix_products(widths, points):
    assert_right(widths, points)


@settings(max_examples=25, deadline=None)
@given(widths=st.lists(st.integers(1, 70), min_size=2, max_size=5), points=st.integers(0, 150), seed=st.integers(0, 99))
def test_any_widths_and_any_number_of_points_work(widths, points, seed):
    assert_right(tuple(widths), points, seed)


def test_sums_of_any_numbers_are_rounded_no_worse_than_float32_must():
    inputs, weights, _ = real_case((32, 64, 64, 16), 500)
    expected = network(inputs.double(), [matrix.double() for matrix in weights])
    torch.testing.assert_close(mlp(inputs, weights).double(), expected, rtol=1e-5, atol=1e-5)


def test_finite_differences_agree_with_the_gradients():
    inputs, weights, loss = real_case((6, 16, 16, 2), 2000, seed=3)
    hidden = [inputs @ weights[0].T]
    hidden.append(torch.relu(hidden[0]) @ weights[1].T)
    smooth = torch.stack([layer.abs().min(1).values for layer in hidden]).min(0).values > 0.02
    inputs, loss = inputs[smooth], loss[smooth]
    assert 20 < inputs.shape[0] < 2000
    by_inputs, *by_weights = gradients(mlp, inputs, weights, loss)
    direction = [torch.randn(a.shape, generator=torch.Generator().manual_seed(4)) for a in (inputs, *weights)]
    step = 2.0**-11  # Moves a neuron by some thousandths, so none crosses its kink.

    def value(sign: float) -> float:
        moved, *matrices = (a + sign * step * d for a, d in zip((inputs, *weights), direction, strict=True))
        return float((mlp(moved, matrices).double() * loss).sum())

    expected = sum(float((g * d).sum()) for g, d in zip((by_inputs, *by_weights), direction, strict=True))
    assert (value(1.0) - value(-1.0)) / (2.0 * step) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("points", [1, 200, 9000])
def test_the_same_bits_at_every_number_of_threads(threads, points):
    inputs, weights, loss = real_case((32, 64, 64, 3), points)
    results = []
    for count in (1, 2, 3, 7):
        set_num_threads(count)
        results.append((mlp(inputs, weights), *gradients(mlp, inputs, weights, loss)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_only_the_wanted_gradients_are_given():
    inputs, weights, loss = case((8, 16, 3), 50)
    expected = gradients(mlp, inputs, weights, loss)
    alone = inputs.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad((mlp(alone, weights) * loss).sum(), alone)[0], expected[0])
    last = weights[1].clone().requires_grad_()
    assert torch.equal(torch.autograd.grad((mlp(inputs, [weights[0], last]) * loss).sum(), last)[0], expected[2])
    assert not mlp(inputs, weights).requires_grad


def test_a_nan_reaches_the_output_of_its_own_point_alone():
    inputs, weights, _ = case((8, 16, 3), 100)
    before = mlp(inputs, weights)
    inputs[41, 2] = float("nan")
    after = mlp(inputs, weights)
    others = torch.arange(100) != 41
    assert torch.equal(after[others], before[others])
    assert bool(torch.isnan(after[41]).all())


def test_fresh_weights_are_xavier_uniform_and_follow_their_seed():
    first, again = (initial_weights((32, 64, 16), torch.Generator().manual_seed(5)) for _ in range(2))
    assert [list(matrix.shape) for matrix in first] == [[64, 32], [16, 64]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for matrix in first:
        bound = (6.0 / sum(matrix.shape)) ** 0.5
        assert 0.95 * bound < float(matrix.abs().max()) <= bound


def test_wrong_arrays_are_refused_with_a_sentence():
    inputs, weights, _ = case((8, 16, 3), 5)
    with pytest.raises(ValueError, match="weights: there is no layer; at least one is needed"):
        mlp(inputs, [])
    with pytest.raises(ValueError, match=r"weights\[1\]: its shape is \[16, 8\]; it must be \[O, I\] with I = 16"):
        mlp(inputs, [weights[0], weights[0]])
    with pytest.raises(ValueError, match=r"inputs: its shape is \[5\]; it must be \[P, I\]"):
        mlp(inputs[:, 0], weights)
    with pytest.raises(ValueError, match=r"weights\[0\]: it is torch.float64; must be torch.float32"):
        mlp(inputs, [weights[0].double(), weights[1]])
    with pytest.raises(ValueError, match=r"weights\[0\]: its shape is \[1025, 8\]; each size must be 1 to 1024"):
        mlp(inputs, [torch.zeros(1025, 8)])
