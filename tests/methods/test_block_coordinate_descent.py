"""Block coordinate descent: closed forms against dense solves, descent, fixed point, learning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods import block_coordinate_descent as bcd
from new_algorithm.methods import splitting
from new_algorithm.methods.method import Problem
from tests.training import final_weights

WIDTHS = (5, 8, 6, 3)
PENALTY = st.floats(0.05, 20)
SEED = st.integers(0, 1000)
SIZE = st.integers(1, 12)


def squares(a):
    return float(np.vdot(a, a))


def stacked(rows, targets):
    """The least-squares solution of Σ ‖rows_k W − targets_k‖²."""
    return np.linalg.lstsq(np.vstack(rows), np.vstack(targets), rcond=None)[0]


@given(st.lists(PENALTY, min_size=1, max_size=3), SEED)
def test_a_weighted_mean_is_where_its_terms_balance(weights, seed):
    arrays = np.random.default_rng(seed).standard_normal((len(weights), 7, 3))
    before = arrays.copy()
    found = bcd.weighted_mean(*zip(weights, arrays, strict=True))
    gradient = sum(w * (found - a) for w, a in zip(weights, arrays, strict=True))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    np.testing.assert_array_equal(arrays, before)


@given(PENALTY, PENALTY, PENALTY, SEED)
def test_every_block_minimises_its_own_problem(gamma, rho, alpha, seed):
    training = start(gamma, rho, alpha, seed, rows=7)
    rng = np.random.default_rng(seed)
    before, last = {k: b.copy() for k, b in blocks(training).items()}, len(training.weights) - 1
    for key in training.updates():
        block = blocks(training)[key]
        proximal = key[0] == "W" or (key[0] == "V") == (key[1] == last)

        def cost(key=key, block=block, proximal=proximal):
            near = alpha / 2 * squares(block - before[key]) if proximal else 0.0
            return objective(training) + near

        least = cost()
        for size in (1e-2, 1.0):
            move = size * rng.standard_normal(block.shape)
            block += move
            assert cost() >= least * (1 - 1e-12)
            block -= move


def epoch(training):
    for _ in training.updates():
        pass


def objective(training):
    total = 0.5 * squares(training.output - training.targets)
    last = len(training.weights) - 1
    for i, (weight, u) in enumerate(zip(training.weights, training.pre, strict=True)):
        v = training.output if i == last else training.hidden[i + 1][:, :-1]
        activation = u if i == last else np.maximum(u, 0)
        total += training.gamma / 2 * squares(v - activation)
        total += training.rho / 2 * squares(u - training.hidden[i] @ weight)
    return total


def blocks(training):
    return {
        **{("U", i): u for i, u in enumerate(training.pre)},
        **{("W", i): w for i, w in enumerate(training.weights)},
        **{("V", i): v[:, :-1] for i, v in enumerate(training.hidden[1:])},
        ("V", len(training.weights) - 1): training.output,
    }


def start(gamma=1.0, rho=1.0, alpha=5.0, seed=0, rows=40):
    rng = np.random.default_rng(seed)
    inputs = append_ones(rng.standard_normal((rows, WIDTHS[0])))
    targets = rng.standard_normal((rows, WIDTHS[-1]))
    weights = initial_weights(rng, WIDTHS, np.float64)
    return bcd.BlockCoordinateDescent(inputs, targets, weights, gamma=gamma, rho=rho, alpha=alpha)


@pytest.mark.parametrize("rows_at_once", [7, 4096])
@pytest.mark.parametrize(
    ("gamma", "rho", "alpha"), [(1, 1, 5), (1, 1, 0.01), (10, 0.1, 1), (0.1, 10, 0.5)]
)
def test_every_block_lowers_the_objective_enough(monkeypatch, rows_at_once, gamma, rho, alpha):
    monkeypatch.setattr(splitting, "ROWS_AT_ONCE", rows_at_once)
    training = start(gamma, rho, alpha)
    order = []
    for _ in range(8):
        before, value = {k: b.copy() for k, b in blocks(training).items()}, objective(training)
        for kind, index in training.updates():
            order.append((kind, index))
            last = index == len(training.weights) - 1
            now = objective(training)
            moved = squares(blocks(training)[kind, index] - before[kind, index])
            # a sub-problem's minimiser costs at most what the block before it costs there, where
            # its proximal term is 0; without one, half its strong convexity stands for α/2
            at_least = {"V": alpha if last else gamma, "U": gamma + rho if last else alpha}
            assert value - now >= at_least.get(kind, alpha) / 2 * moved - 1e-9 * value
            value = now
    layers = (2, 1, 0)
    assert order == [(kind, i) for i in layers for kind in "VUW"] * 8


def test_a_cycle_changes_every_block_and_the_objective_goes_down_far():
    training = start()
    before, first = {k: b.copy() for k, b in blocks(training).items()}, objective(training)
    epoch(training)
    assert all(np.abs(b - before[k]).max() > 1e-6 for k, b in blocks(training).items())
    for _ in range(100):
        epoch(training)
    assert objective(training) < 0.2 * first


def test_a_network_that_fits_stays():
    training = start()
    training.targets = training.output.copy()
    before = {k: b.copy() for k, b in blocks(training).items()}
    for _ in range(3):
        epoch(training)
    for key, block in blocks(training).items():
        np.testing.assert_allclose(block, before[key], rtol=1e-10, atol=1e-12)


def test_in_single_precision_it_goes_the_same_way():
    double = start(rows=200)
    single = bcd.BlockCoordinateDescent(
        double.hidden[0].astype(np.float32),
        double.targets.astype(np.float32),
        [weight.astype(np.float32) for weight in double.weights],
        gamma=1.0, rho=1.0, alpha=5.0,
    )  # fmt: skip
    for _ in range(5):
        epoch(double)
        epoch(single)
    for a, b in zip(single.weights, double.weights, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_layer_that_cannot_be_solved_is_named():
    training = start()
    training.hidden[2][:, 2] = 0
    training.alpha = 0.0  # leaves the weights of an input that is always zero undetermined
    with pytest.raises(DivergedError, match=r"layer 3: .*larger alpha"):
        epoch(training)


def test_a_start_that_overflows_ends_with_one_line(problem):
    with pytest.raises(DivergedError, match=r"epoch 1|layer \d"):
        trained(problem, initial_scale=1e30)


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=12, seed=0)


def trained(problem, **settings):
    return final_weights(bcd.METHOD, problem, **settings)


@pytest.mark.parametrize(
    ("settings", "at_least"),  # chance: 0.25; from weights as large as He's it learns slowly
    [({}, 0.7), ({"initial_scale": "he"}, 0.35)],
)
def test_it_learns(problem, settings, at_least):
    output = forward(trained(problem, **settings), append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > at_least


def test_the_authors_start_is_small_and_the_other_is_that_of_all_methods(problem):
    small, he = (bcd.initial_weights(problem, scale) for scale in (0.01, "he"))
    np.testing.assert_allclose(small[0][:-1].std(), 0.01, rtol=0.1)
    np.testing.assert_array_equal(small[0][-1], np.float32(0.1))
    for weight, expected in zip(he, problem.start()[1], strict=True):
        np.testing.assert_array_equal(weight, expected)
