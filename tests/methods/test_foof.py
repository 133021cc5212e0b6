"""FOOF and ISAAC: dense least squares, the two ways to compute it, its limits, its schedule."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets import load_dataset
from new_algorithm.back_projection.layer_problem import weight_change_exact
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import foof
from new_algorithm.methods.method import Problem
from tests.training import final_weights

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(1, 6))  # n, d, m
DAMPING = st.floats(1e-3, 1e3)
SEED = st.integers(0, 1000)


def layer(shape, seed=0, dtype=np.float64):
    """H̃ (n, d + 1) and Δ (n, m)."""
    n, d, m = shape
    rng = np.random.default_rng(seed)
    inputs = np.maximum(rng.standard_normal((n, d + 1)), 0).astype(dtype)
    inputs[:, -1] = 1
    return inputs, rng.standard_normal((n, m)).astype(dtype)


def direction(inputs, residual, damping):
    out = np.full((inputs.shape[1], residual.shape[1]), np.nan, inputs.dtype)
    foof.conditioned(damping, inputs, residual / len(inputs), out)
    return out


def in_both_forms(inputs, residual, damping):
    """By rows, and by columns."""
    for by_rows in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(foof, "by_rows_is_cheaper", lambda *_, by_rows=by_rows: by_rows)
            yield direction(inputs, residual, damping)


@given(SHAPES, DAMPING, SEED)
def test_direction_solves_the_damped_least_squares_problem(shape, damping, seed):
    inputs, residual = layer(shape, seed)
    n, d = inputs.shape
    # ‖Δ − H̃ δW̃‖²/n + λ ‖δW̃‖² as one least-squares problem of n + d rows
    rows = np.vstack([inputs / np.sqrt(n), np.sqrt(damping) * np.eye(d)])
    targets = np.vstack([residual / np.sqrt(n), np.zeros((d, residual.shape[1]))])
    solution = np.linalg.lstsq(rows, targets, rcond=None)[0]
    np.testing.assert_allclose(
        direction(inputs, residual, damping), damping * solution, rtol=1e-6, atol=1e-9
    )


@given(SHAPES, DAMPING, SEED)
def test_rows_and_columns_agree(shape, damping, seed):
    inputs, residual = layer(shape, seed)
    by_rows, by_columns = in_both_forms(inputs, residual, damping)
    np.testing.assert_allclose(by_rows, by_columns, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(40, 10, 3), (10, 40, 3)])
def test_it_is_back_projection_with_fixed_inputs(shape):
    inputs, residual = layer(shape)
    weights = np.ones((inputs.shape[1], residual.shape[1]))
    change = weight_change_exact(inputs, weights, residual, 0.3, np.inf)
    np.testing.assert_allclose(direction(inputs, residual, 0.3), 0.3 * change, rtol=1e-9)


def test_much_damping_leaves_the_gradient():
    inputs, residual = layer((12, 30, 4))
    weights = torch.zeros(31, 4, dtype=torch.float64, requires_grad=True)
    fit = torch.tensor(inputs) @ weights - torch.tensor(residual)
    (fit.square().sum() / (2 * len(inputs))).backward()
    moment = -weights.grad.numpy()
    for damping in (1e3, 1e6):
        error = np.abs(direction(inputs, residual, damping) - moment).max()
        # λ/(g + λ) = 1 − g/λ + …
        largest = np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1]
        assert 0 < error <= largest / damping * np.linalg.norm(moment)


@given(SHAPES, DAMPING, SEED)
def test_it_is_a_direction_of_descent(shape, damping, seed):
    inputs, residual = layer(shape, seed)
    moment = inputs.T @ residual / len(inputs)
    change = direction(inputs, residual, damping)
    # Theorem 2; and conditioning only shortens
    assert 0 < np.vdot(change, moment) <= np.vdot(moment, moment) * (1 + 1e-12)


def test_the_cheaper_form_is_chosen():
    assert foof.by_rows_is_cheaper(64, 785, 64)
    assert not foof.by_rows_is_cheaper(256, 65, 64)
    inputs, residual = layer((64, 784, 8), dtype=np.float32)
    by_rows, by_columns = in_both_forms(inputs, residual, 0.1)
    chosen = direction(inputs, residual, 0.1)
    np.testing.assert_array_equal(chosen, by_rows)
    assert (chosen != by_columns).any()


def test_moving_conditioner_inverts_the_average_of_all_batches():
    rho, damping = 0.9, 0.2
    conditioner = foof.MovingConditioner(damping, rho, inverse_every=1)
    total, weight = 0.0, 0.0
    for seed in range(5):
        inputs, residual = layer((16, 6, 3), seed)
        total = rho * total + inputs.T @ inputs / len(inputs)
        weight = rho * weight + 1
        out = np.empty((7, 3))
        conditioner(inputs, residual / len(inputs), out)
        damped = total / weight + damping * np.eye(7)
        expected = damping * np.linalg.solve(damped, inputs.T @ residual / len(inputs))
        np.testing.assert_allclose(out, expected, rtol=1e-9)


def test_first_batch_of_an_average_is_isaac():
    inputs, residual = layer((16, 6, 3))
    out = np.empty((7, 3))
    foof.MovingConditioner(0.2, 0.95, 100)(inputs, residual / len(inputs), out)
    np.testing.assert_allclose(out, direction(inputs, residual, 0.2), rtol=1e-9)


def test_inversions_come_at_equal_intervals_after_the_first(monkeypatch):
    made = []
    inverse = foof.dense_inverse
    monkeypatch.setattr(foof, "dense_inverse", lambda *a: made.append(inverse(*a)) or made[-1])
    conditioner = foof.MovingConditioner(0.2, 0.95, 20)
    inputs, residual = layer((16, 6, 3))
    inverted = []
    for iteration in range(70):
        before = len(made)
        conditioner(inputs, residual, np.empty((7, 3)))
        inverted += [iteration] * (len(made) - before)
    assert inverted == [0, 1, 2, 4, 8, 16, 20, 40, 60]


def test_ten_batches_enter_the_average_between_two_inversions(monkeypatch):
    conditioner = foof.MovingConditioner(0.2, 0.95, 20)
    monkeypatch.setattr(foof, "is_inverse_due", lambda *_: False)
    entered = []
    conditioner._gram.update = lambda total, rows: entered.append(iteration)
    conditioner._inverse = foof.dense_inverse(np.eye(7), 0.2)
    inputs, residual = layer((16, 6, 3))
    for iteration in range(20):  # noqa: B007 the number is recorded by the update
        conditioner(inputs, residual, np.empty((7, 3)))
    assert entered == [*range(0, 20, 2)]


@pytest.mark.parametrize("average", [0.0, 0.95])
@pytest.mark.parametrize(("which", "expected"), [("all", 3), ("hidden", 2), (1, 1)])
def test_so_many_layers_are_conditioned_from_the_input_on(which, expected, average):
    settings = {**foof.METHOD.defaults, "layers": which, "gram_average": average}
    changes = foof.conditioners(settings, hidden_layers=2)
    assert len(changes) == expected
    inputs, residual = layer((16, 6, 3))
    for change in changes:
        out = np.empty((7, 3))
        change(inputs, residual / 16, out)
        np.testing.assert_allclose(out, direction(inputs, residual, 10.0), rtol=1e-9)


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layers": "all", "damping": 0.1, "lr": 3.0},
        {"gram_average": 0.95, "momentum": 0.9, "lr": 0.2},
    ],
)
def test_it_learns(problem, settings):
    weights = final_weights(foof.METHOD, problem, **settings)
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.75


def test_a_rate_far_too_large_diverges_by_name(problem):
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=r"lr|loss"):
        final_weights(foof.METHOD, problem, lr=1e30)


def test_the_uniform_start_is_that_of_torch_in_distribution():
    weights = initial_weights(np.random.default_rng(0), (400, 300, 20))
    foof.uniform(np.random.default_rng(1), weights)
    for weight, fan_in in zip(weights, (400, 300), strict=True):
        ours = np.sort(np.abs(weight).ravel())
        linear = torch.nn.Linear(fan_in, weight.shape[1])
        for part in (linear.weight, linear.bias):  # both uniform in ± 1/√d_in
            assert part.abs().max() <= 1 / np.sqrt(fan_in)
        assert ours[-1] <= 1 / np.sqrt(fan_in)
        np.testing.assert_allclose(ours.mean(), 0.5 / np.sqrt(fan_in), rtol=0.02)
        assert np.abs(weight[-1]).max() > 0
