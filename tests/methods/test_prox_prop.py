"""ProxProp's step: its minimisation solved densely, its limits, and what the paper proves of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import prox_prop
from new_algorithm.methods.method import Problem
from tests.training import final_weights

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(1, 6))  # n, d, m
TAU = st.floats(1e-3, 10)
SEED = st.integers(0, 1000)


def layer(shape, seed=0):
    """H̃ (n, d + 1), W̃ (d + 1, m) and Δ/n (n, m)."""
    n, d, m = shape
    rng = np.random.default_rng(seed)
    inputs = append_ones(np.maximum(rng.standard_normal((n, d)), 0))
    return inputs, rng.standard_normal((d + 1, m)), rng.standard_normal((n, m)) / n


def exact(inputs, delta, tau):
    return change("exact", inputs, delta, tau)


def change(solver, inputs, delta, tau):
    out = np.full((inputs.shape[1], delta.shape[1]), np.nan)
    prox_prop.hidden_change(tau, solver)(inputs, delta, out)
    return out


@given(SHAPES, TAU, SEED)
def test_exact_step_minimises_equation_11(shape, tau, seed):
    inputs, weights, delta = layer(shape, seed)
    # 1/2 ‖H̃ W̃ − (Z + Δ/n)‖² + 1/(2τ) ‖W̃ − W̃_k‖² as one least-squares problem of n + d rows
    rows = np.vstack([inputs, np.eye(len(weights)) / np.sqrt(tau)])
    targets = np.vstack([inputs @ weights + delta, weights / np.sqrt(tau)])
    minimiser = np.linalg.lstsq(rows, targets, rcond=None)[0]
    np.testing.assert_allclose(weights + exact(inputs, delta, tau), minimiser, rtol=1e-7, atol=1e-9)


@given(SHAPES, TAU, SEED)
def test_enough_conjugate_gradients_are_exact_within_as_many_as_eigenvalues(shape, tau, seed):
    inputs, _, delta = layer(shape, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prox_prop, "CG_TOLERANCE", 1e-9)
        found = change(f"cg{inputs.shape[1] + 1}", inputs, delta, tau)
    expected = exact(inputs, delta, tau)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@given(SHAPES, TAU, SEED, st.integers(1, 5))
def test_every_change_is_a_direction_of_descent(shape, tau, seed, iterations):
    inputs, _, delta = layer(shape, seed)
    moment = inputs.T @ delta
    assert np.vdot(exact(inputs, delta, tau), moment) > 0  # Proposition 4
    assert np.vdot(change(f"cg{iterations}", inputs, delta, tau), moment) > 0  # Proposition 5


def test_step_lowers_the_penalty_energy_whatever_its_size():
    inputs, _, delta = layer((20, 8, 3))
    for tau in (1e-3, 1.0, 1e3, 1e6):
        step = exact(inputs, delta, tau)
        residual = delta - inputs @ step
        moved = np.vdot(step, step) / (2 * tau)
        assert np.vdot(residual, residual) / 2 + moved < np.vdot(delta, delta) / 2  # section 4.1


@pytest.mark.parametrize("solver", ["exact", "cg3"])
def test_small_steps_are_the_gradients_of_autograd(solver):
    inputs, weights, delta = layer((12, 30, 4))
    free = torch.tensor(weights, requires_grad=True)
    target = torch.tensor(inputs @ weights + delta)
    (0.5 * (torch.tensor(inputs) @ free - target).square().sum()).backward()
    for tau, tolerance in ((1e-4, 2e-2), (1e-7, 2e-5)):  # the error is of order τ
        out = change(solver, inputs, delta, tau)
        gradient = -free.grad.numpy()
        assert np.linalg.norm(out / tau - gradient) < tolerance * np.linalg.norm(gradient)


def test_what_is_not_finite_is_named():
    inputs, _, delta = layer((12, 5, 4))
    inputs[0, 0] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="not_finite"):
        change("cg3", inputs, delta, 1.0)


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)


@pytest.mark.parametrize("solver", ["exact", "cg3"])
@pytest.mark.parametrize("outer", ["momentum", "adam"])
def test_it_learns(problem, solver, outer):
    lr = {"momentum": 1.0, "adam": 10.0}[outer]
    weights = final_weights(prox_prop.METHOD, problem, solver=solver, outer=outer, lr=lr)
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.7


def test_a_rate_far_too_large_diverges_by_name(problem):
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=r"lr|loss"):
        final_weights(prox_prop.METHOD, problem, lr=1e30)


def test_conjugate_gradients_end_where_the_authors_tolerance_is_met():
    inputs, _, delta = layer((40, 25, 3))
    tau = 100.0  # so little damping that many iterations are needed

    def residual(solver):
        left = inputs.T @ delta - inputs.T @ inputs @ change(solver, inputs, delta, tau)
        left -= change(solver, inputs, delta, tau) / tau
        return np.linalg.norm(left) / np.linalg.norm(inputs.T @ delta)

    ended = residual("cg1000")
    residuals = [residual(f"cg{iterations}") for iterations in range(1, 30)]
    assert ended <= 1e-2
    assert ended == next(one for one in residuals if one <= 1e-2)  # the first, not a better one
