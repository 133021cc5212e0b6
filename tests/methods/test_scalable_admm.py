"""Scalable ADMM: every sub-problem against an oracle, the Lagrangian's descent, learning."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import scalable_admm, splitting
from new_algorithm.methods.method import Problem
from new_algorithm.methods.scalable_admm import gram_pseudo_inverse, hinge_step, squared_step
from tests.training import final_weights

VALUE = st.floats(-3, 3).map(lambda value: round(value, 6))
BETA = st.floats(0.05, 20)


def hinge(z, y):
    return y * np.maximum(1 - z, 0) + (1 - y) * np.maximum(z, 0)


def squared(z, y):
    return (z - y) ** 2 / 2


@given(st.sampled_from([0.0, 1.0]), VALUE, VALUE, BETA)
@example(1.0, 1.0, 0.0, 1.0)  # at the bend
@example(0.0, 0.0, 0.0, 1.0)
@example(1.0, 0.5, 0.0, 1.0)  # just reaches the bend
@example(0.0, 0.5, 0.0, 1.0)
@example(1.0, 1.5, 1.0, 1.0)
@example(1.0, -2.0, 0.0, 1.0)
@example(0.0, 2.0, 0.0, 1.0)
def test_the_hinges_output_is_the_best_on_the_line(y, fit, multiplier, beta):
    assert_best(hinge, hinge_step, y, fit, multiplier, beta)


@given(VALUE, VALUE, VALUE, BETA)
def test_the_squared_loss_output_is_the_best_on_the_line(y, fit, multiplier, beta):
    assert_best(squared, squared_step, y, fit, multiplier, beta)


def assert_best(loss, step, y, fit, multiplier, beta):
    def cost(z):
        return loss(z, y) + z * multiplier + beta * (z - fit) ** 2

    found = step(*(np.array([value]) for value in (y, fit, multiplier)), beta)[0]
    # convex; the golden section halts where the values no longer differ
    least = minimize_scalar(cost, bracket=(-1.0, 1.0), method="golden").fun
    assert cost(found) <= least + 1e-12 * (1 + abs(least))


def test_a_batch_of_outputs_is_done_entry_by_entry():
    y = np.array([[1.0, 0.0], [0.0, 1.0]])
    fit = np.array([[5.0, -5.0], [5.0, -5.0]])
    z = hinge_step(y, fit, np.zeros((2, 2)), 1.0)
    np.testing.assert_array_equal(z, [[5.0, -5.0], [4.5, -4.5]])


@given(st.integers(0, 1000), st.integers(1, 15), st.integers(1, 8))
def test_pseudo_inverse_is_that_of_the_activations(seed, n, d):
    inputs = np.random.default_rng(seed).standard_normal((n, d))
    left = gram_pseudo_inverse(inputs) @ inputs.T
    expected = np.linalg.pinv(inputs)
    np.testing.assert_allclose(left, expected, atol=1e-6 * np.abs(expected).max() ** 3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dead_and_repeated_units_get_the_least_norm_solution(dtype):
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.standard_normal((200, 8)), 0).astype(dtype)
    inputs[:, 2] = 0
    inputs[:, 5] = inputs[:, 1]
    inputs[:, 6] = inputs[:, 0] + inputs[:, 3]
    left = gram_pseudo_inverse(inputs) @ inputs.T.astype(np.float64)
    expected = np.linalg.pinv(inputs.astype(np.float64), rcond=1e-5)
    np.testing.assert_allclose(left, expected, atol=100 * np.finfo(dtype).eps)


def test_all_units_dead_leaves_zero_weights():
    assert not gram_pseudo_inverse(np.zeros((9, 4), np.float32)).any()


def start(step=hinge_step, gamma=10.0, beta=1.0, warm_start=3, rows=60, dtype=np.float64):
    rng = np.random.default_rng(0)
    inputs = append_ones(rng.standard_normal((rows, 5)).astype(dtype))
    targets = (rng.random((rows, 3)) < 0.4).astype(dtype)
    return scalable_admm.ScalableADMM(
        inputs, targets, (8, 6), step, rng, gamma=gamma, beta=beta, warm_start=warm_start
    )


def epoch(training):
    for _ in training.updates():
        pass


def lagrangian(admm, loss):
    output = admm.pre[-1]
    total = loss(output, admm.targets).sum() + np.vdot(output, admm.multiplier)
    for hidden, weight, pre in zip(admm.hidden, admm.weights, admm.pre, strict=True):
        total += admm.beta * np.square(pre - hidden @ weight).sum()
    for hidden, pre in zip(admm.hidden[1:], admm.pre, strict=False):
        total += admm.gamma * np.square(hidden[:, :-1] - np.maximum(pre, 0)).sum()
    return float(total)


@pytest.mark.parametrize("rows_at_once", [7, 4096])
@pytest.mark.parametrize(("loss", "step"), [(hinge, hinge_step), (squared, squared_step)])
@pytest.mark.parametrize(("gamma", "beta"), [(10.0, 1.0), (0.3, 2.0), (1.0, 0.05)])
def test_every_block_lowers_the_lagrangian(monkeypatch, rows_at_once, loss, step, gamma, beta):
    monkeypatch.setattr(splitting, "ROWS_AT_ONCE", rows_at_once)
    admm = start(step, gamma, beta)
    value, order = lagrangian(admm, loss), []
    first = value
    for _ in range(6):
        for name, index in admm.updates():
            order.append((name, index))
            now = lagrangian(admm, loss)
            if name != "λ":  # which is a step of ascent
                assert now <= value + 1e-9 * abs(first)
            value = now
    primal = [*((name, index) for index in (0, 1) for name in "Waz"), ("W", 2), ("z", 2)]
    assert order == 3 * primal + 3 * [*primal, ("λ", 2)]
    assert value < 0.5 * first


def test_each_block_is_where_no_move_of_it_helps():
    admm = start()
    rng = np.random.default_rng(1)
    for name, index in admm.updates():
        now = lagrangian(admm, hinge)
        block = {"W": admm.weights, "z": admm.pre}.get(name)
        block = admm.hidden[index + 1][:, :-1] if block is None else block[index]
        for size in (1e-3, 0.1, 3.0):
            move = size * rng.standard_normal(block.shape)
            block += move
            assert lagrangian(admm, hinge) > now
            block -= move


def test_multiplier_waits_and_then_adds_up_the_residual_of_the_output():
    admm = start(beta=0.5, warm_start=2)
    for _ in range(2):
        epoch(admm)
        assert not admm.multiplier.any()
    expected = 0.0
    for _ in range(2):
        epoch(admm)
        expected += 0.5 * (admm.pre[-1] - admm.hidden[-1] @ admm.weights[-1])
        np.testing.assert_allclose(admm.multiplier, expected, atol=1e-12)
        assert np.abs(admm.multiplier).max() > 0.01


def test_it_starts_from_unit_normals():
    admm = start(rows=5000)
    for block in (*admm.pre, *(hidden[:, :-1] for hidden in admm.hidden[1:])):
        assert abs(block.mean()) < 0.02
        assert abs(block.std() - 1) < 0.02


def test_dead_units_do_not_blow_up():
    admm = start(dtype=np.float32)
    for pre, hidden in zip(admm.pre[:-1], admm.hidden[1:], strict=True):
        pre[:, :4] = -5
        hidden[:, :4] = 0
    admm.weights[1][:4] = admm.weights[2][:4] = 0
    for _ in range(5):
        epoch(admm)
        assert max(np.abs(weight).max() for weight in admm.weights) < 100


def test_the_layer_that_cannot_be_solved_is_named():
    admm = start()
    admm.hidden[1][0, 0] = admm.hidden[2][0, 0] = np.inf
    with pytest.raises(DivergedError, match=r"layer 2: .*not finite.*gamma"):
        admm._fitted_weight(1)


@pytest.fixture(scope="module")
def four_classes():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=20, seed=0)


@pytest.fixture(scope="module")
def two_classes(four_classes):
    data = four_classes.data
    halves = replace(data, y_train=data.y_train // 2, y_test=data.y_test // 2, num_classes=2)
    return replace(four_classes, data=halves)


def trained(problem, **settings):
    return final_weights(scalable_admm.METHOD, problem, **settings)


def accuracy(weights, problem):
    output = forward(weights, append_ones(problem.data.x_test))[1]
    return problem.loss.accuracy(output, problem.data.y_test)


@pytest.mark.parametrize(
    ("settings", "at_least"),  # chance: 0.25
    [({}, 0.35), ({"gamma": 1.0}, 0.7), ({"gamma": 1.0, "warm_start": 3}, 0.4)],
)
def test_it_learns_in_single_precision(four_classes, settings, at_least):
    weights = trained(four_classes, **settings)
    assert all(weight.dtype == np.float32 for weight in weights)
    assert accuracy(weights, four_classes) > at_least


def test_it_learns_two_classes_with_the_threshold_at_zero(two_classes):
    weights = trained(two_classes)
    assert accuracy(weights, two_classes) > 0.65  # chance: 0.5
    shifted = [*weights[:-1], weights[-1].copy()]
    shifted[-1][-1] += 0.5  # outputs as the hinge has them
    output = forward(shifted, append_ones(two_classes.data.x_test))[1][:, 0]
    decided = (output > 0.5) == (two_classes.data.y_test == 1)
    assert decided.mean() == accuracy(weights, two_classes)
    assert 0.3 < np.median(output) < 0.7  # labels 0 and 1 are equally many


def test_it_fits_numbers(four_classes):
    data = four_classes.data
    targets = [1 - 4 * np.eye(4, dtype=np.float32)[y][:, :2] for y in (data.y_train, data.y_test)]
    numbers = replace(data, y_train=targets[0], y_test=targets[1], num_classes=None)
    problem = replace(four_classes, data=numbers)
    output = forward(trained(problem), append_ones(data.x_test))[1]
    assert problem.loss.value(output, targets[1]) < 0.5 * targets[1].var(axis=0).sum()
